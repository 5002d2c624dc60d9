//! What the memory and the store behind it tell each other.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use crate::last_known_good::entry::Entry;
use crate::last_known_good::entry::wire::{self, StoredValue};
use crate::last_known_good::policy::key::Key;
use crate::last_known_good::tier::bounded_store::{BoxFuture, Deadline};
use crate::last_known_good::tier::state::CacheState;
use crate::last_known_good::tier::tombstone::Tombstone;

impl CacheState {
    /// Forgets what is kept for these URIs, whoever asked; the store is still to be told.
    pub(crate) fn invalidate_uris(
        self: &Arc<Self>,
        keys: impl IntoIterator<Item = Key>,
        deadline: Deadline,
    ) -> Option<BoxFuture<()>> {
        let keys = keys.into_iter().inspect(|key| self.memory.invalidate_uri(key));
        self.write_tombstones(keys.map(|key| Tombstone::of_uri(&key)).collect(), deadline)
    }

    /// Forgets what is kept for a URI and one caller; the store is still to be told, unless it knows.
    pub(crate) fn invalidate_caller(
        self: &Arc<Self>,
        key: &Key,
        deadline: Deadline,
    ) -> Option<BoxFuture<()>> {
        self.memory.invalidate_caller(key);
        let store = self.store.as_ref().filter(|store| store.may_hold(key))?;
        let tombstone = Tombstone::of_caller(key);
        let is_written = store.has_tombstone_since(tombstone.hash, self.now().before(self.renew_after()));
        (!is_written).then(|| self.write_tombstones(vec![tombstone], deadline)).flatten()
    }

    /// Notes in the store that what was asked for before now is not good any more.
    fn write_tombstones(
        self: &Arc<Self>,
        tombstones: Vec<Tombstone>,
        deadline: Deadline,
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
                // What it is about goes as well, as far as its name is known. The tombstone counts.
                let (written, ..) = tokio::join!(put(&name), put(&entries[0]), put(&entries[1]));
                if written {
                    store.add_written_tombstone(hash, now);
                }
            }
        }))
    }

    /// Tells the store of an entry, with the other variants, unless it knows of it, or may not.
    pub(crate) fn write_through(
        self: &Arc<Self>,
        key: &Key,
        entry: &Arc<Entry>,
        deadline: Deadline,
    ) -> Option<BoxFuture<()>> {
        let store = self.store.as_ref()?;
        let now = self.now();
        if !store.may_hold(key) || entry.synced() > now.before(self.renew_after()) {
            return None;
        }
        // Whatever comes of it: a store that fails is not asked with each call.
        entry.set_synced(now);
        store.entries_were_written(key.hash_of_caller());
        let (state, key) = (Arc::clone(self), key.clone());
        Some(Box::pin(async move { state.put(&key, deadline).await }))
    }

    async fn put(&self, key: &Key, deadline: Deadline) {
        let Some(store) = &self.store else { return };
        let (name, end) = (key.to_string(), store.end(deadline));
        let Some(mut variants) = self.memory.find(key, |_| false).variants else { return };
        if variants.iter().any(|entry| !entry.head().vary.is_empty()) {
            // Others may know of variants that nobody asked for here.
            self.read_through(key, &name, end).await;
            let Some(merged) = self.memory.find(key, |_| false).variants else { return };
            variants = merged;
        }
        let now = self.now();
        let longest = variants.iter().map(|entry| entry.left(now)).max().unwrap_or_default();
        // A tombstone that something is gone is kept for so long, and has to outlive it.
        let keep_for = longest.min(self.rules().max_age);
        if let Some(value) = wire::encode_entries(&name, &variants) {
            store.put(&name, value, keep_for, end).await;
        }
    }

    /// Whether the store may know more of what is kept than the memory does, which has this.
    pub(crate) fn needs_read_through(&self, key: &Key, entry: Option<&Arc<Entry>>) -> bool {
        let Some(store) = &self.store else { return false };
        let since = self.now().before(self.renew_after());
        store.may_hold(key) && entry.is_none_or(|entry| entry.synced() <= since)
    }

    /// Brings what the store knows of a key into memory, and does not look again for a while.
    pub(crate) fn look_up(self: &Arc<Self>, key: Key, deadline: Deadline) -> BoxFuture<()> {
        let state = Arc::clone(self);
        Box::pin(async move {
            let Some(store) = &state.store else { return };
            state.read_through(&key, &key.to_string(), store.end(deadline)).await;
            let now = state.now();
            let found = state.memory.find(&key, |_| false);
            found.variants.iter().flat_map(|it| it.iter()).for_each(|entry| entry.set_synced(now));
        })
    }

    /// Brings what the store knows of a key into memory.
    async fn read_through(&self, key: &Key, name: &str, end: Deadline) {
        /// How far ahead the clock of whoever has stored it may be.
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
                // A clock that is far ahead is not believed.
                StoredValue::Tombstone(at) if at > latest => {}
                StoredValue::Tombstone(at) => invalidated_at = invalidated_at.max(at),
            }
        }
        self.memory.invalidate_before(key, invalidated_at);
        // The newest stands first, there as here.
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
