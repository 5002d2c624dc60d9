//! What the memory and the store behind it tell each other.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use crate::last_known_good::entry::Entry;
use crate::last_known_good::entry::wire::{self, Known};
use crate::last_known_good::policy::key::Key;
use crate::last_known_good::shared::Shared;
use crate::last_known_good::tier::bounded_store::{BoxFuture, Until};

impl Shared {
    /// Forgets what is kept for these URIs, whoever asked; the store is still to be told.
    pub(crate) fn forget_uris(
        self: &Arc<Self>,
        keys: impl IntoIterator<Item = Key>,
        until: Until,
    ) -> Option<BoxFuture<()>> {
        let keys = keys.into_iter().inspect(|key| self.memory.forget_uri(key));
        self.tell_gone(keys.map(|key| Note::of_uri(&key)).collect(), until)
    }

    /// Forgets what is kept for a URI and one caller; the store is still to be told, unless it knows.
    pub(crate) fn forget(self: &Arc<Self>, key: &Key, until: Until) -> Option<BoxFuture<()>> {
        self.memory.forget(key);
        let store = self.store.as_ref().filter(|store| store.may_know(key))?;
        let note = Note::of_caller(key);
        let is_known = store.has_known_gone_since(note.hash, self.now().before(self.renew_after()));
        (!is_known).then(|| self.tell_gone(vec![note], until)).flatten()
    }

    /// Notes in the store that what was asked for before now is not good any more.
    fn tell_gone(self: &Arc<Self>, notes: Vec<Note>, until: Until) -> Option<BoxFuture<()>> {
        let (shared, now) = (Arc::clone(self), self.now());
        let store = self.store.as_ref()?;
        for note in &notes {
            store.has_yet_to_know_gone(note.hash, now);
        }
        Some(Box::pin(async move {
            let Some(store) = &shared.store else { return };
            let (end, keep_for) = (store.end(until), shared.rules().max_age);
            for Note { hash, name, kept } in notes {
                let put = async |name: &str| match wire::encode_gone(name, now) {
                    Some(value) => store.put(name, value, keep_for, end).await,
                    None => false,
                };
                // What it is about goes as well, as far as its name is known. The note counts.
                let (told, ..) = tokio::join!(put(&name), put(&kept[0]), put(&kept[1]));
                if told {
                    store.knows_gone(hash, now);
                }
            }
        }))
    }

    /// Tells the store of an entry, with the other variants, unless it knows of it, or may not.
    pub(crate) fn tell_store(
        self: &Arc<Self>,
        key: &Key,
        entry: &Arc<Entry>,
        until: Until,
    ) -> Option<BoxFuture<()>> {
        let store = self.store.as_ref()?;
        let now = self.now();
        if !store.may_know(key) || entry.synced() > now.before(self.renew_after()) {
            return None;
        }
        // Whatever comes of it: a store that fails is not asked with each call.
        entry.set_synced(now);
        store.knows_more(key.hash_of_caller());
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
        let keep_for = longest.min(self.rules().max_age);
        if let Some(value) = wire::encode_kept(&name, &variants) {
            store.put(&name, value, keep_for, end).await;
        }
    }

    /// Whether the store may know more of what is kept than the memory does, which has this.
    pub(crate) fn may_learn(&self, key: &Key, entry: Option<&Arc<Entry>>) -> bool {
        let Some(store) = &self.store else { return false };
        let since = self.now().before(self.renew_after());
        store.may_know(key) && entry.is_none_or(|entry| entry.synced() <= since)
    }

    /// Brings what the store knows of a key into memory, and does not look again for a while.
    pub(crate) fn look_up(self: &Arc<Self>, key: Key, until: Until) -> BoxFuture<()> {
        let shared = Arc::clone(self);
        Box::pin(async move {
            let Some(store) = &shared.store else { return };
            shared.learn(&key, &key.to_string(), store.end(until)).await;
            let now = shared.now();
            let found = shared.memory.find(&key, |_| false);
            found.variants.iter().flat_map(|it| it.iter()).for_each(|entry| entry.set_synced(now));
        })
    }

    /// Brings what the store knows of a key into memory.
    async fn learn(&self, key: &Key, name: &str, end: Until) {
        /// How far ahead the clock of whoever has stored it may be.
        const SKEW: Duration = Duration::from_secs(60);
        let Some(store) = &self.store else { return };
        let version = self.memory.version(key);
        let notes = [Note::of_uri(key), Note::of_caller(key)];
        let [of_uri, of_caller] = &notes;
        let (own, uri, caller) = tokio::join!(
            store.get(name, end),
            store.get(&of_uri.name, end),
            store.get(&of_caller.name, end),
        );
        let latest = self.now().after(SKEW);
        let rules = self.rules();
        let decode =
            |name: &str, value: Option<Bytes>| wire::decode(name, &value?, &rules, key.partition().is_some());
        let mut kept = Vec::new();
        let mut gone_at = notes.iter().map(|note| store.unknown_gone_at(note.hash)).max().unwrap_or_default();
        let known = [decode(name, own), decode(&of_uri.name, uri), decode(&of_caller.name, caller)];
        for known in known.into_iter().flatten() {
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

/// What stands in a store for when something was last forgotten. It has a name of its own, so that an answer from before,
/// which comes late, does not take its place.
struct Note {
    hash: u64,
    name: String,
    /// The names of what it is about, as far as they are known.
    kept: [String; 2],
}

impl Note {
    fn of_uri(key: &Key) -> Self {
        let kept = key.everybodys().either_method().map(|key| key.to_string());
        Self { hash: key.hash(), name: format!("GONE * {}", key.text()), kept }
    }

    fn of_caller(key: &Key) -> Self {
        let kept = key.either_method().map(|key| key.to_string());
        let caller = key.partition().map_or_else(|| "-".to_owned(), |it| it.to_string());
        Self { hash: key.hash_of_caller(), name: format!("GONE {caller} {}", key.text()), kept }
    }
}
