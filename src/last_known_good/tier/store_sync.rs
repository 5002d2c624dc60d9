//! The traffic between memory and store: read-through, write-through and tombstones.
//!
//! Invalidations and insertions take effect in memory at once. Each access to the store is a future. The code that
//! gets the future decides where to wait for it: before the response is handed on, or at the end of the body.
//!
//! # Read-through
//!
//! When an entry is needed, the store is read in two cases: memory has no entry, or the last access to the store for
//! the entry was at least `renew_after` ago. One read fetches three values concurrently: the entries of the key, the
//! tombstone of the URI, and the tombstone of the caller. An entry from the store goes into memory, except in
//! two cases: the entry was requested before the time of a tombstone, or memory has an entry with the same `Vary`
//! values that is at least as new.
//!
//! A read that finds no entry is not remembered. The next failed call for the key reads the store again.
//!
//! # Write-through
//!
//! An entry is written at most once per `renew_after`, together with all other variants of its key, as one value.
//! Other processes may have written variants that this process does not know. If a response varies, its key is
//! therefore read through before the write.
//!
//! # Tombstones
//!
//! An invalidation writes a tombstone, for the URI or for one caller of the URI. The name of a tombstone differs from
//! the names of entries. The tombstone holds the time of the invalidation. Every process ignores entries requested
//! before this time, even entries written after the tombstone. The entries are also overwritten, as far as their
//! names are known.
//!
//! Until the tombstone is written, this process remembers the invalidation. Tombstones are stored for `max_age`. No
//! entry may be stored for longer, since an entry must not outlive its tombstone.
//!
//! # Clock skew
//!
//! The times in a store come from the clocks of several machines. Entries and tombstones more than a minute ahead of
//! the local clock are ignored. If another clock is less than a minute ahead, or is behind, an entry can look younger
//! or older than it is. A tombstone can also miss an older entry or invalidate a newer one.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use crate::last_known_good::entry::Entry;
use crate::last_known_good::entry::wire::{self, StoredValue};
use crate::last_known_good::policy::key::Key;
use crate::last_known_good::tier::bounded_store::{BoxFuture, WaitEnd};
use crate::last_known_good::tier::state::CacheState;
use crate::last_known_good::tier::tombstone::Tombstone;

impl CacheState {
    /// Invalidates the entries of these URIs for all callers. Returns the write of the tombstones; `None` without a
    /// store.
    pub(crate) fn invalidate_uris(
        self: &Arc<Self>,
        keys: impl IntoIterator<Item = Key>,
        deadline: WaitEnd,
    ) -> Option<BoxFuture<()>> {
        let keys = keys.into_iter().inspect(|key| self.memory.invalidate_uri(key));
        self.write_tombstones(keys.map(|key| Tombstone::of_uri(&key)).collect(), deadline)
    }

    /// Invalidates the entries of the key's URI and caller. Returns the write of a tombstone; `None` if a current one
    /// was written within `renew_after`, or if no store may hold the key.
    pub(crate) fn invalidate_caller(self: &Arc<Self>, key: &Key, deadline: WaitEnd) -> Option<BoxFuture<()>> {
        self.memory.invalidate_caller(key);
        let store = self.store.as_ref().filter(|store| store.may_hold(key))?;
        let tombstone = Tombstone::of_caller(key);
        let is_written = store.has_tombstone_since(tombstone.hash, self.now().before(self.renew_after()));
        (!is_written).then(|| self.write_tombstones(vec![tombstone], deadline)).flatten()
    }

    /// Returns a future that writes tombstones with the current time. The tombstones are pending until they are
    /// written.
    fn write_tombstones(
        self: &Arc<Self>,
        tombstones: Vec<Tombstone>,
        deadline: WaitEnd,
    ) -> Option<BoxFuture<()>> {
        let (state, now) = (Arc::clone(self), self.now());
        let store = self.store.as_ref()?;
        for tombstone in &tombstones {
            store.add_pending_tombstone(tombstone.hash, now);
        }
        Some(Box::pin(async move {
            let Some(store) = &state.store else { return };
            let (end, keep_for) = (store.end(deadline), state.rules().max_age);
            for Tombstone { hash, name, entries } in tombstones {
                let put = async |name: &str| match wire::encode_tombstone(name, now) {
                    Some(value) => store.put(name, value, keep_for, end).await,
                    None => false,
                };
                // Overwrite the entries, too, as far as their names are known. Only the write of the tombstone must
                // succeed.
                let (written, ..) = tokio::join!(put(&name), put(&entries[0]), put(&entries[1]));
                if written {
                    store.add_written_tombstone(hash, now);
                }
            }
        }))
    }

    /// Returns the write of all variants of the key; `None` if `entry` was read from or written to the store within
    /// `renew_after`, or if no store may hold the key.
    pub(crate) fn write_through(
        self: &Arc<Self>,
        key: &Key,
        entry: &Arc<Entry>,
        deadline: WaitEnd,
    ) -> Option<BoxFuture<()>> {
        let store = self.store.as_ref()?;
        let now = self.now();
        if !store.may_hold(key) || entry.synced() > now.before(self.renew_after()) {
            return None;
        }
        // Set before the result of the write is known. Otherwise every call would write to a failing store.
        entry.set_synced(now);
        store.remove_written_tombstone(key.hash_of_caller());
        let (state, key) = (Arc::clone(self), key.clone());
        Some(Box::pin(async move { state.put(&key, deadline).await }))
    }

    async fn put(&self, key: &Key, deadline: WaitEnd) {
        let Some(store) = &self.store else { return };
        let (name, end) = (key.to_string(), store.end(deadline));
        let Some(mut variants) = self.memory.find(key, |_| false).variants else { return };
        if variants.iter().any(|entry| !entry.head().vary.is_empty()) {
            // Merge into memory the variants that other processes have written.
            self.read_through(key, &name, end).await;
            let Some(merged) = self.memory.find(key, |_| false).variants else { return };
            variants = merged;
        }
        let now = self.now();
        let longest = variants.iter().map(|entry| entry.left(now)).max().unwrap_or_default();
        // Tombstones live for `max_age`; entries must not outlive them.
        let keep_for = longest.min(self.rules().max_age);
        if let Some(value) = wire::encode_entries(&name, &variants) {
            store.put(&name, value, keep_for, end).await;
        }
    }

    /// True if the store must be read, because it may have a newer entry than `entry`, the one in memory.
    pub(crate) fn needs_read_through(&self, key: &Key, entry: Option<&Arc<Entry>>) -> bool {
        let Some(store) = &self.store else { return false };
        let since = self.now().before(self.renew_after());
        store.may_hold(key) && entry.is_none_or(|entry| entry.synced() <= since)
    }

    /// Merges a key's entries from the store into memory. All entries in memory then count as synchronized for
    /// `renew_after`.
    pub(crate) fn look_up(self: &Arc<Self>, key: Key, deadline: WaitEnd) -> BoxFuture<()> {
        let state = Arc::clone(self);
        Box::pin(async move {
            let Some(store) = &state.store else { return };
            state.read_through(&key, &key.to_string(), store.end(deadline)).await;
            let now = state.now();
            let found = state.memory.find(&key, |_| false);
            found.variants.iter().flat_map(|it| it.iter()).for_each(|entry| entry.set_synced(now));
        })
    }

    /// Merges the entries that the store has for a key into memory, and applies the tombstones.
    async fn read_through(&self, key: &Key, name: &str, end: WaitEnd) {
        /// The longest time by which another machine's clock may be ahead.
        const SKEW: Duration = Duration::from_secs(60);
        let Some(store) = &self.store else { return };
        let version = self.memory.version(key);
        let tombstones = [Tombstone::of_uri(key), Tombstone::of_caller(key)];
        let [of_uri, of_caller] = &tombstones;
        let (own, uri, caller) = tokio::join!(
            store.get(name, end),
            store.get(&of_uri.name, end),
            store.get(&of_caller.name, end),
        );
        let latest = self.now().after(SKEW);
        let rules = self.rules();
        let decode =
            |name: &str, value: Option<Bytes>| wire::decode(name, &value?, &rules, key.partition().is_some());
        let mut stored = Vec::new();
        let mut invalidated_at = tombstones
            .iter()
            .map(|tombstone| store.pending_tombstone_at(tombstone.hash))
            .max()
            .unwrap_or_default();
        let known = [decode(name, own), decode(&of_uri.name, uri), decode(&of_caller.name, caller)];
        for known in known.into_iter().flatten() {
            match known {
                StoredValue::Entries(entries) => stored = entries,
                // Ignore a tombstone from a clock that is too far ahead.
                StoredValue::Tombstone(at) if at > latest => {}
                StoredValue::Tombstone(at) => invalidated_at = invalidated_at.max(at),
            }
        }
        self.memory.invalidate_before(key, invalidated_at);
        // Variants are stored newest first. Insert the oldest first, so that memory has the same order.
        for entry in stored.into_iter().rev() {
            let times = entry.times();
            let found = self.memory.find(key, |it| it.head().vary == entry.head().vary);
            let is_newer = found.entry.as_ref().is_none_or(|it| it.times().received < times.received);
            if is_newer && times.requested >= invalidated_at && times.received <= latest {
                self.memory.insert(key, version, &found, &Arc::new(entry), times);
            }
        }
    }
}
