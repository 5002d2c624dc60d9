//! The tables of a disk store: entries, their order of removal, and totals. A transaction changes all three together.

use bytes::Bytes;
use redb::{
    Database, ReadableTable as _, ReadableTableMetadata as _, Table, TableDefinition, TableError,
    WriteTransaction,
};

use super::queue::{Batch, QueuedValue, size};
use crate::BoxError;

/// The layout version of these tables.
pub(super) const VERSION: u64 = 1;

const META: TableDefinition<'_, &str, u64> = TableDefinition::new("steadfast_meta");
/// Maps a key to a row, which is a [`RowHeader`] followed by the value.
const ENTRIES: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("steadfast_entries");
/// Maps expiry and sequence number to the key. Entries are removed in the order of this table.
const ORDER: TableDefinition<'_, (u64, u64), &str> = TableDefinition::new("steadfast_order");

/// The totals of a store.
#[derive(Debug, Clone, Copy)]
pub(super) struct Totals {
    pub(super) entries: u64,
    pub(super) bytes: u64,
    /// The next sequence number, larger than that of any entry.
    pub(super) next_number: u64,
}

/// The bytes before a value, which give the entry's position in the order of removal.
struct RowHeader {
    expires: u64,
    number: u64,
}

impl RowHeader {
    const LENGTH: usize = 16;

    fn join(entry: &QueuedValue) -> Vec<u8> {
        let mut stored = Vec::with_capacity(Self::LENGTH + entry.value.len());
        stored.extend_from_slice(&entry.expires.to_le_bytes());
        stored.extend_from_slice(&entry.number.to_le_bytes());
        stored.extend_from_slice(&entry.value);
        stored
    }

    /// Returns `None` for a row that is too short to have a header.
    fn split(stored: &[u8]) -> Option<(Self, &[u8])> {
        let (expires, rest) = stored.split_first_chunk()?;
        let (number, value) = rest.split_first_chunk()?;
        Some((Self { expires: u64::from_le_bytes(*expires), number: u64::from_le_bytes(*number) }, value))
    }
}

/// Creates the tables.
pub(super) fn create(database: &Database) -> Result<(), BoxError> {
    let transaction = database.begin_write()?;
    transaction.open_table(ENTRIES)?;
    transaction.open_table(ORDER)?;
    transaction.open_table(META)?.insert("version", VERSION)?;
    Ok(transaction.commit()?)
}

/// Returns the layout version, or `None` if the database is not a disk store.
pub(super) fn version(database: &Database) -> Result<Option<u64>, BoxError> {
    match database.begin_read()?.open_table(META) {
        Ok(meta) => Ok(meta.get("version")?.map(|version| version.value())),
        Err(TableError::Storage(error)) => Err(error.into()),
        // The table is missing or has another type.
        Err(_) => Ok(None),
    }
}

pub(super) fn totals(database: &Database) -> Result<Totals, BoxError> {
    let transaction = database.begin_read()?;
    let meta = transaction.open_table(META)?;
    Ok(Totals {
        entries: transaction.open_table(ENTRIES)?.len()?,
        bytes: meta.get("bytes")?.map_or(0, |bytes| bytes.value()),
        next_number: meta.get("next_number")?.map_or(0, |number| number.value()),
    })
}

/// Returns the value of `key`, unless the value has expired.
pub(super) fn get(database: &Database, key: &str, now: u64) -> Result<Option<Bytes>, BoxError> {
    let entries = database.begin_read()?.open_table(ENTRIES)?;
    let stored = entries.get(key)?;
    let found = stored.as_ref().and_then(|stored| RowHeader::split(stored.value()));
    Ok(found.filter(|(head, _)| head.expires > now).map(|(_, value)| Bytes::copy_from_slice(value)))
}

/// Writes a batch in one transaction. The same transaction removes the expired entries and, while the rest exceeds
/// `max_bytes`, the entry that expires first.
pub(super) fn write(
    database: &Database,
    batch: &Batch,
    now: u64,
    max_bytes: u64,
) -> Result<Totals, BoxError> {
    let mut transaction = database.begin_write()?;
    // Commit in two phases and save the allocator state, so that the file opens without a full repair after a crash.
    transaction.set_quick_repair(true);
    let totals = {
        let mut tables = Tables::open(&transaction)?;
        for (key, entry) in &batch.entries {
            tables.insert(key, entry)?;
        }
        tables.evict(now, max_bytes)?;
        tables.close()?
    };
    transaction.commit()?;
    Ok(totals)
}

struct Tables<'a> {
    meta: Table<'a, &'static str, u64>,
    entries: Table<'a, &'static str, &'static [u8]>,
    order: Table<'a, (u64, u64), &'static str>,
    bytes: u64,
    next_number: u64,
}

impl<'a> Tables<'a> {
    fn open(transaction: &'a WriteTransaction) -> Result<Self, BoxError> {
        let meta = transaction.open_table(META)?;
        let bytes = meta.get("bytes")?.map_or(0, |bytes| bytes.value());
        let next_number = meta.get("next_number")?.map_or(0, |number| number.value());
        let entries = transaction.open_table(ENTRIES)?;
        Ok(Self { meta, entries, order: transaction.open_table(ORDER)?, bytes, next_number })
    }

    fn insert(&mut self, key: &str, entry: &QueuedValue) -> Result<(), BoxError> {
        let stored = RowHeader::join(entry);
        if let Some(old) = self.entries.insert(key, &*stored)? {
            if let Some((head, value)) = RowHeader::split(old.value()) {
                self.order.remove((head.expires, head.number))?;
                self.bytes = self.bytes.saturating_sub(size(key, value));
            }
        }
        self.order.insert((entry.expires, entry.number), key)?;
        self.bytes += size(key, &entry.value);
        self.next_number = self.next_number.max(entry.number + 1);
        Ok(())
    }

    fn evict(&mut self, now: u64, max_bytes: u64) -> Result<(), BoxError> {
        loop {
            let Some((place, key)) =
                self.order.first()?.map(|(place, key)| (place.value(), key.value().to_owned()))
            else {
                return Ok(());
            };
            if place.0 > now && self.bytes <= max_bytes {
                return Ok(());
            }
            self.order.remove(place)?;
            if let Some(old) = self.entries.remove(&*key)? {
                let value = RowHeader::split(old.value()).map_or(&[][..], |(_, value)| value);
                self.bytes = self.bytes.saturating_sub(size(&key, value));
            }
        }
    }

    fn close(mut self) -> Result<Totals, BoxError> {
        self.meta.insert("bytes", self.bytes)?;
        self.meta.insert("next_number", self.next_number)?;
        Ok(Totals { entries: self.entries.len()?, bytes: self.bytes, next_number: self.next_number })
    }
}
