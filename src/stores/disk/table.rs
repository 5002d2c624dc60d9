//! What is in the file: entries, the order in which they go, and how much there is, changed in one transaction.

use bytes::Bytes;
use redb::{
    Database, ReadableTable as _, ReadableTableMetadata as _, Table, TableDefinition, TableError,
    WriteTransaction,
};

use super::queue::{Batch, QueuedValue, size};
use crate::BoxError;

/// The layout of these tables.
pub(super) const VERSION: u64 = 1;

const META: TableDefinition<'_, &str, u64> = TableDefinition::new("steadfast_meta");
/// By key: a [`RowHeader`], then the value.
const ENTRIES: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("steadfast_entries");
/// Keys, by when they expire and then by number: the first goes first.
const ORDER: TableDefinition<'_, (u64, u64), &str> = TableDefinition::new("steadfast_order");

/// How much there is.
#[derive(Debug, Clone, Copy)]
pub(super) struct Totals {
    pub(super) entries: u64,
    pub(super) bytes: u64,
    /// Larger than the number of any entry.
    pub(super) next_number: u64,
}

/// What stands before a value: where its entry is in the order.
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

    /// `None` if it was not written here.
    fn split(stored: &[u8]) -> Option<(Self, &[u8])> {
        let (expires, rest) = stored.split_first_chunk()?;
        let (number, value) = rest.split_first_chunk()?;
        Some((Self { expires: u64::from_le_bytes(*expires), number: u64::from_le_bytes(*number) }, value))
    }
}

/// Makes the tables.
pub(super) fn create(database: &Database) -> Result<(), BoxError> {
    let transaction = database.begin_write()?;
    transaction.open_table(ENTRIES)?;
    transaction.open_table(ORDER)?;
    transaction.open_table(META)?.insert("version", VERSION)?;
    Ok(transaction.commit()?)
}

/// The layout of the tables, if they are there.
pub(super) fn version(database: &Database) -> Result<Option<u64>, BoxError> {
    match database.begin_read()?.open_table(META) {
        Ok(meta) => Ok(meta.get("version")?.map(|version| version.value())),
        Err(TableError::Storage(error)) => Err(error.into()),
        // There is none, or another one of that name.
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

/// The value under `key`, unless it has expired.
pub(super) fn get(database: &Database, key: &str, now: u64) -> Result<Option<Bytes>, BoxError> {
    let entries = database.begin_read()?.open_table(ENTRIES)?;
    let stored = entries.get(key)?;
    let found = stored.as_ref().and_then(|stored| RowHeader::split(stored.value()));
    Ok(found.filter(|(head, _)| head.expires > now).map(|(_, value)| Bytes::copy_from_slice(value)))
}

/// Writes a batch, and lets go what has expired and what is too much.
pub(super) fn write(
    database: &Database,
    batch: &Batch,
    now: u64,
    max_bytes: u64,
) -> Result<Totals, BoxError> {
    let mut transaction = database.begin_write()?;
    // In two phases, and with all that is needed to open the file at once after a crash.
    transaction.set_quick_repair(true);
    let totals = {
        let mut tables = Tables::open(&transaction)?;
        for (key, entry) in &batch.entries {
            tables.insert(key, entry)?;
        }
        tables.let_go(now, max_bytes)?;
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

    fn let_go(&mut self, now: u64, max_bytes: u64) -> Result<(), BoxError> {
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
