//! What is kept in the memory of this process.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use moka::notification::RemovalCause;
use moka::policy::EvictionPolicy;
use moka::sync::Cache;

use super::entry::{Entry, Times};
use super::key::Key;
use super::moment::Moment;

/// How many variants of one response there are at most: of so many callers' languages, encodings, tenants.
const MAX_VARIANTS: usize = 16;

/// What there is for a key: the newest first, all of which vary on the same headers.
pub(super) type Variants = Arc<[Arc<Entry>]>;

/// Good responses, bounded in bytes; the least recently used go first.
pub(super) struct Memory {
    entries: Cache<Key, Variants>,
    somebodys: Arc<Somebodys>,
    removals: Removals,
    /// Moves on after each insertion, with the evictions that it causes, and each removal: while it stands still, what
    /// was found is still there.
    changes: AtomicU64,
}

/// What there was for a key, and of that for a request.
#[derive(Default)]
pub(super) struct Found {
    pub(super) variants: Option<Variants>,
    pub(super) entry: Option<Arc<Entry>>,
    changes: u64,
}

impl Found {
    /// The body that there was; empty if there was none.
    pub(super) fn body(&self) -> &Bytes {
        static NONE: Bytes = Bytes::new();
        self.entry.as_ref().map_or(&NONE, |entry| entry.body())
    }
}

impl Memory {
    pub(super) fn new(max_bytes: u64) -> Self {
        let somebodys = Arc::new(Somebodys::default());
        let ended = Arc::clone(&somebodys);
        let entries = Cache::builder()
            .max_capacity(max_bytes)
            // TinyLFU refuses new keys when it is full, and those are what an outage will be asked for.
            .eviction_policy(EvictionPolicy::lru())
            .weigher(|key: &Key, variants: &Variants| {
                let entries = variants.iter().map(|entry| entry.weight()).sum::<usize>();
                // That of somebody is known by its URI, too.
                let keys = (size_of::<Key>() + key.weight()) * (1 + usize::from(key.partition().is_some()));
                (keys + entries).try_into().unwrap_or(u32::MAX)
            })
            .eviction_listener(move |key: Arc<Key>, _, _: RemovalCause| ended.remove(&key))
            .build();
        Self { entries, somebodys, removals: Removals::default(), changes: AtomicU64::new(0) }
    }

    pub(super) fn len(&self) -> u64 {
        // moka counts a removal when it gets round to it.
        self.entries.run_pending_tasks();
        self.entries.entry_count()
    }

    pub(super) fn bytes(&self) -> u64 {
        self.entries.run_pending_tasks();
        self.entries.weighted_size()
    }

    pub(super) fn all(&self) -> impl Iterator<Item = (Arc<Key>, Variants)> {
        self.entries.iter()
    }

    /// What there is for a key, and of that the newest which `answers`.
    pub(super) fn find(&self, key: &Key, answers: impl Fn(&Entry) -> bool) -> Found {
        // The count goes first: what changes in between is then looked for again.
        let changes = self.changes.load(Ordering::Acquire);
        let variants = self.entries.get(key);
        let entry = variants.as_ref().and_then(|it| it.iter().find(|entry| answers(entry)).cloned());
        Found { variants, entry, changes }
    }

    /// Changes when a key is forgotten: what was asked for before is then not to be kept.
    pub(super) fn version(&self, key: &Key) -> u64 {
        let count = |hash| self.removals.of(hash).load(Ordering::Acquire);
        count(key.hash()).wrapping_add(count(key.hash_of_caller()))
    }

    /// Keeps an answer that was given to a call which began when the key had this version, unless the key was removed since or
    /// has a newer answer. `found` is what there was meanwhile, and may have the entry itself: then nothing but its times
    /// change. Whether it is kept.
    pub(super) fn keep(
        &self,
        key: &Key,
        version: u64,
        found: &Found,
        entry: &Arc<Entry>,
        times: Times,
    ) -> bool {
        if self.version(key) != version {
            return false;
        }
        let unchanged = self.changes.load(Ordering::Acquire) == found.changes;
        let variants = if unchanged { found.variants.clone() } else { self.entries.get(key) };
        let others = variants.as_deref().unwrap_or_default();
        if others.iter().any(|it| entry.replaces(it) && it.is_newer_than(times.given)) {
            return false;
        }
        entry.renew(times);
        if !others.iter().any(|it| Arc::ptr_eq(it, entry)) {
            self.insert(key, version, with(entry, others));
        }
        true
    }

    fn insert(&self, key: &Key, version: u64, variants: Variants) {
        self.somebodys.add(key);
        self.entries.insert(key.clone(), variants);
        self.changes.fetch_add(1, Ordering::AcqRel);
        if self.version(key) != version {
            // Removed meanwhile: at worst, what is newer goes too.
            self.entries.invalidate(key);
        }
        // moka puts evictions off; a bound in bytes that many large bodies can overrun meanwhile is none.
        self.entries.run_pending_tasks();
        // What it evicted is gone too.
        self.changes.fetch_add(1, Ordering::AcqRel);
    }

    /// Forgets what is kept for a URI, whichever of the methods it was asked for with, and whoever asked.
    pub(super) fn forget_uri(&self, key: &Key) {
        self.removals.of(key.hash()).fetch_add(1, Ordering::AcqRel);
        let somebodys = self.somebodys.of(key);
        key.everybodys()
            .either_method()
            .iter()
            .chain(&somebodys)
            .for_each(|key| self.entries.invalidate(key));
        self.changes.fetch_add(1, Ordering::AcqRel);
    }

    /// What is being asked for by this key's caller is not to be kept: something newer is known.
    pub(super) fn outdate(&self, key: &Key) {
        self.removals.of(key.hash_of_caller()).fetch_add(1, Ordering::AcqRel);
    }

    /// Forgets what is kept for a URI and one caller.
    pub(super) fn forget(&self, key: &Key) {
        self.outdate(key);
        key.either_method().iter().for_each(|key| self.entries.invalidate(key));
        self.changes.fetch_add(1, Ordering::AcqRel);
    }

    /// Forgets what is kept for one key and was asked for before that moment, which was learnt from elsewhere.
    pub(super) fn remove_before(&self, key: &Key, moment: Moment) {
        let Some(variants) = self.entries.get(key) else { return };
        let later: Variants = variants.iter().filter(|it| it.times().asked >= moment).cloned().collect();
        if later.is_empty() {
            self.entries.invalidate(key);
            self.changes.fetch_add(1, Ordering::AcqRel);
        } else if later.len() < variants.len() {
            self.insert(key, self.version(key), later);
        }
    }
}

/// An entry, and the others that it does not replace.
fn with(entry: &Arc<Entry>, others: &[Arc<Entry>]) -> Variants {
    let others = others.iter().filter(|it| !entry.replaces(it));
    std::iter::once(entry).chain(others.take(MAX_VARIANTS - 1)).cloned().collect()
}

/// The keys of those who have credentials, by the hash of their URI: a URI that has changed has changed for all of them.
#[derive(Default)]
struct Somebodys(Mutex<HashMap<u64, HashMap<Key, usize>>>);

impl Somebodys {
    /// Counted, since one value of a key may be told to have ended when the next is there.
    fn add(&self, key: &Key) {
        if key.partition().is_some() {
            *self.keys().entry(key.hash()).or_default().entry(key.clone()).or_default() += 1;
        }
    }

    fn remove(&self, key: &Key) {
        if key.partition().is_none() {
            return;
        }
        let mut all = self.keys();
        let Some(of_uri) = all.get_mut(&key.hash()) else { return };
        if let Some(count) = of_uri.get_mut(key) {
            *count -= 1;
            if *count == 0 {
                of_uri.remove(key);
            }
        }
        if of_uri.is_empty() {
            all.remove(&key.hash());
        }
    }

    fn of(&self, key: &Key) -> Vec<Key> {
        self.keys().get(&key.hash()).map(|keys| keys.keys().cloned().collect()).unwrap_or_default()
    }

    fn keys(&self) -> std::sync::MutexGuard<'_, HashMap<u64, HashMap<Key, usize>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Counts removals, by the hash of the URI, and of URI and caller. Two that share a count keep each other's answers from being kept now and
/// then, and there are enough of them that this is rare; an old answer is never let in.
struct Removals(Box<[AtomicU64]>);

impl Removals {
    const COUNTS: usize = 4096;

    #[allow(clippy::cast_possible_truncation)]
    fn of(&self, hash: u64) -> &AtomicU64 {
        &self.0[hash as usize % Self::COUNTS]
    }
}

impl Default for Removals {
    fn default() -> Self {
        Self((0..Self::COUNTS).map(|_| AtomicU64::new(0)).collect())
    }
}
