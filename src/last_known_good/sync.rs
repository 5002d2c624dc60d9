//! What the memory and the store behind it tell each other.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::behind::{BoxFuture, Until};
use super::entry::Entry;
use super::key::Key;
use super::rules::Limits;
use super::shared::Shared;
use super::vary::RequestHeaders;
use super::wire::{self, Known};

impl Shared {
    /// Forgets what is kept for these URIs, whoever asked; the store is still to be told.
    pub(super) fn forget_uris(
        self: &Arc<Self>,
        keys: impl IntoIterator<Item = Key>,
        until: Until,
    ) -> Option<BoxFuture<()>> {
        let keys: Vec<Key> = keys.into_iter().inspect(|key| self.memory.forget_uri(key)).collect();
        let names = keys.iter().map(|key| (key.clone(), gone(key))).collect();
        self.tell_gone(names, until)
    }

    /// Forgets what is kept for a URI and one caller; the store is still to be told.
    pub(super) fn forget(self: &Arc<Self>, key: &Key, until: Until) -> Option<BoxFuture<()>> {
        self.memory.forget(key);
        self.store.as_ref().filter(|store| store.may_know(key))?;
        let names = key.either_method().map(|key| (key.clone(), key.to_string()));
        self.tell_gone(names.into(), until)
    }

    /// Notes in the store, under these names, that what was asked for before now is not good any more.
    fn tell_gone(self: &Arc<Self>, names: Vec<(Key, String)>, until: Until) -> Option<BoxFuture<()>> {
        let (shared, now) = (Arc::clone(self), self.now());
        let store = self.store.as_ref()?;
        for (key, _) in &names {
            store.has_yet_to_know_gone(key, now);
        }
        Some(Box::pin(async move {
            let Some(store) = &shared.store else { return };
            let end = store.end(until);
            let mut all_told = true;
            for (_, name) in &names {
                let Some(value) = wire::encode_gone(name, now) else { return };
                all_told &= store.put(name, value, shared.rules.max_age, end).await;
            }
            for (key, _) in names.iter().filter(|_| all_told) {
                store.knows_gone(key, now);
            }
        }))
    }

    /// Tells the store of an entry, with the other variants, unless it knows of it, or may not.
    pub(super) fn tell_store(
        self: &Arc<Self>,
        key: &Key,
        entry: &Arc<Entry>,
        until: Until,
    ) -> Option<BoxFuture<()>> {
        let store = self.store.as_ref()?;
        let now = self.now();
        if !store.may_know(key) || entry.synced() > now.before(self.renew_after) {
            return None;
        }
        // Whatever comes of it: a store that fails is not asked with each call.
        entry.set_synced(now);
        let (shared, key) = (Arc::clone(self), key.clone());
        Some(Box::pin(async move { shared.put(&key, until).await }))
    }

    async fn put(&self, key: &Key, until: Until) {
        let Some(store) = &self.store else { return };
        let (name, end) = (key.to_string(), store.end(until));
        let Some(mut variants) = self.memory.find(key, |_| false).variants else { return };
        if variants.iter().any(|entry| !entry.head().vary.is_empty()) {
            // Others may know of variants that nobody asked for here.
            self.learn(key, &name, end).await;
            let Some(merged) = self.memory.find(key, |_| false).variants else { return };
            variants = merged;
        }
        let now = self.now();
        let longest = variants.iter().map(|entry| entry.left(now)).max().unwrap_or_default();
        // A note that something is gone is kept for so long, and has to outlive it.
        let keep_for = longest.min(self.rules.max_age);
        if let Some(value) = wire::encode_kept(&name, &variants) {
            store.put(&name, value, keep_for, end).await;
        }
    }

    /// Whether the store may know more of what is kept than the memory does, which has this.
    pub(super) fn may_learn(&self, key: &Key, entry: Option<&Arc<Entry>>) -> bool {
        let Some(store) = &self.store else { return false };
        let since = self.now().before(self.renew_after);
        store.may_know(key) && entry.is_none_or(|entry| entry.synced() <= since)
    }

    /// The newest entry that answers a request, if there is one in memory or in the store.
    pub(super) fn look_up(
        self: &Arc<Self>,
        key: Key,
        headers: RequestHeaders,
        limits: Limits,
        until: Until,
    ) -> BoxFuture<Option<Arc<Entry>>> {
        let shared = Arc::clone(self);
        Box::pin(async move {
            let Some(store) = &shared.store else { return None };
            shared.learn(&key, &key.to_string(), store.end(until)).await;
            let now = shared.now();
            let entry = shared.memory.find(&key, |it| it.answers(&headers, &limits, now)).entry?;
            entry.set_synced(now);
            Some(entry)
        })
    }

    /// Brings what the store knows of a key into memory.
    async fn learn(&self, key: &Key, name: &str, end: Until) {
        /// How far ahead the clock of whoever has stored it may be.
        const SKEW: Duration = Duration::from_secs(60);
        let Some(store) = &self.store else { return };
        let version = self.memory.version(key);
        let gone = gone(key);
        let (own, of_uri) = tokio::join!(store.get(name, end), store.get(&gone, end));
        let latest = self.now().after(SKEW);
        let decode = |name: &str, value: Option<Bytes>| {
            wire::decode(name, &value?, &self.rules, key.partition().is_some())
        };
        let mut kept = Vec::new();
        let mut gone_at = store.unknown_gone_at(key);
        for known in [decode(name, own), decode(&gone, of_uri)].into_iter().flatten() {
            match known {
                Known::Kept(entries) => kept = entries,
                // A clock that is far ahead is not believed.
                Known::Gone(at) if at > latest => {}
                Known::Gone(at) => gone_at = gone_at.max(at),
            }
        }
        self.memory.remove_before(key, gone_at);
        // The newest stands first, there as here.
        for entry in kept.into_iter().rev() {
            let times = entry.times();
            let found = self.memory.find(key, |it| it.head().vary == entry.head().vary);
            let is_news = found.entry.as_ref().is_none_or(|it| it.times().given < times.given);
            if is_news && times.asked >= gone_at && times.given <= latest {
                self.memory.keep(key, version, &found, &Arc::new(entry), times);
            }
        }
    }
}

/// What stands in a store for when a URI was last forgotten.
fn gone(key: &Key) -> String {
    format!("GONE {}", key.text())
}
