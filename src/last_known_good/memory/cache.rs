//! What is kept in the memory of this process.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use moka::notification::RemovalCause;
use moka::ops::compute::Op;
use moka::policy::EvictionPolicy;
use moka::sync::Cache;

use crate::last_known_good::entry::unix_nanos::UnixNanos;
use crate::last_known_good::entry::{Entry, Times};
use crate::last_known_good::policy::key::Key;

/// How many variants of one response there are at most: of so many callers' languages, encodings, tenants.
const MAX_VARIANTS: usize = 16;

/// What there is for a key: the newest first, all of which vary on the same headers.
pub(crate) type Variants = Arc<[Arc<Entry>]>;

/// Good responses, bounded in bytes; the least recently used go first.
pub(crate) struct Memory {
    entries: Cache<Key, Variants>,
    max_bytes: u64,
    private_keys: Arc<PrivateKeyIndex>,
    removals: Removals,
    /// Moves on after each insertion, with the evictions that it causes, and each removal: while it stands still, what
    /// was found is still there.
    changes: AtomicU64,
}

/// What there was for a key, and of that for a request.
#[derive(Default)]
pub(crate) struct Found {
    pub(crate) variants: Option<Variants>,
    pub(crate) entry: Option<Arc<Entry>>,
    changes: u64,
}

impl Found {
    /// The body that there was; empty if there was none.
    pub(crate) fn body(&self) -> &Bytes {
        static NONE: Bytes = Bytes::new();
        self.entry.as_ref().map_or(&NONE, |entry| entry.body())
    }
}

impl Memory {
    pub(crate) fn new(max_bytes: u64) -> Self {
        let private_keys = Arc::new(PrivateKeyIndex::default());
        let ended = Arc::clone(&private_keys);
        let entries = Cache::builder()
            .max_capacity(max_bytes)
            // TinyLFU refuses new keys when it is full, and those are what an outage will be asked for.
            .eviction_policy(EvictionPolicy::lru())
            .weigher(|key: &Key, variants: &Variants| {
                let entries = variants.iter().map(|entry| entry.weight() as u64).sum::<u64>();
                (weight_of(key) + entries).try_into().unwrap_or(u32::MAX)
            })
            .eviction_listener(move |key: Arc<Key>, _, _: RemovalCause| ended.remove(&key))
            .build();
        Self { entries, max_bytes, private_keys, removals: Removals::default(), changes: AtomicU64::new(0) }
    }

    pub(crate) fn len(&self) -> u64 {
        // moka counts a removal when it gets round to it.
        self.entries.run_pending_tasks();
        self.entries.entry_count()
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.entries.run_pending_tasks();
        self.entries.weighted_size()
    }

    pub(crate) fn all(&self) -> impl Iterator<Item = (Arc<Key>, Variants)> {
        self.entries.iter()
    }

    /// What there is for a key, and of that the newest which `answers`.
    pub(crate) fn find(&self, key: &Key, answers: impl Fn(&Entry) -> bool) -> Found {
        // The count goes first: what changes in between is then looked for again.
        let changes = self.changes.load(Ordering::Acquire);
        let variants = self.entries.get(key);
        let entry = variants.as_ref().and_then(|it| it.iter().find(|entry| answers(entry)).cloned());
        Found { variants, entry, changes }
    }

    /// Changes when a key is forgotten: what was asked for before is then not to be kept.
    pub(crate) fn version(&self, key: &Key) -> u64 {
        let count = |hash| self.removals.of(hash).load(Ordering::Acquire);
        count(key.hash()).wrapping_add(count(key.hash_of_caller()))
    }

    /// Keeps an answer that was given to a call which began when the key had this version, unless the key was forgotten since or
    /// has a newer answer. `found` is what there was meanwhile, and may have the entry itself: then nothing but its times
    /// change. Whether it is kept.
    pub(crate) fn insert(
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
        let is_there = |variants: &Variants| variants.iter().any(|it| Arc::ptr_eq(it, entry));
        let unchanged = self.changes.load(Ordering::Acquire) == found.changes;
        if unchanged && found.variants.as_ref().is_some_and(is_there) {
            entry.renew(times);
            return true;
        }
        let mut is_inserted = false;
        self.change(key, version, |variants| {
            let others = variants.map_or(&[][..], |variants| variants);
            is_inserted = self.version(key) == version
                && !others.iter().any(|it| entry.replaces(it) && it.is_newer_than(times.received));
            if !is_inserted {
                return Change::Nothing;
            }
            entry.renew(times);
            Change::Put(with(entry, others, self.max_bytes.saturating_sub(weight_of(key))))
        });
        is_inserted && self.version(key) == version
    }

    /// Changes what there is for a key that has this version, while nobody else does but who forgets it.
    fn change(&self, key: &Key, version: u64, change: impl FnOnce(Option<&Variants>) -> Change) {
        self.entries.entry_by_ref(key).and_compute_with(|current| {
            match change(current.as_ref().map(moka::Entry::value)) {
                Change::Nothing => Op::Nop,
                Change::Remove => Op::Remove,
                Change::Put(variants) => {
                    self.private_keys.add(key);
                    Op::Put(variants)
                }
            }
        });
        self.changes.fetch_add(1, Ordering::AcqRel);
        if self.version(key) != version {
            // Forgotten meanwhile: at worst, what is newer goes too.
            self.entries.invalidate(key);
        }
        // moka puts evictions off; a bound in bytes that many large bodies can overrun meanwhile is none.
        self.entries.run_pending_tasks();
        // What it evicted is gone too.
        self.changes.fetch_add(1, Ordering::AcqRel);
    }

    /// Forgets what is kept for a URI, whichever of the methods it was asked for with, and whoever asked.
    pub(crate) fn invalidate_uri(&self, key: &Key) {
        self.removals.of(key.hash()).fetch_add(1, Ordering::AcqRel);
        let private_keys = self.private_keys.of(key);
        key.public().either_method().iter().chain(&private_keys).for_each(|key| self.entries.invalidate(key));
        self.changes.fetch_add(1, Ordering::AcqRel);
    }

    /// What is being asked for by this key's caller is not to be kept: something newer is known.
    pub(crate) fn bump_version(&self, key: &Key) {
        self.removals.of(key.hash_of_caller()).fetch_add(1, Ordering::AcqRel);
    }

    /// Forgets what is kept for a URI and one caller.
    pub(crate) fn invalidate_caller(&self, key: &Key) {
        self.bump_version(key);
        key.either_method().iter().for_each(|key| self.entries.invalidate(key));
        self.changes.fetch_add(1, Ordering::AcqRel);
    }

    /// Forgets what is kept for one key and was asked for before that moment, which was learnt from elsewhere.
    pub(crate) fn invalidate_before(&self, key: &Key, moment: UnixNanos) {
        let version = self.version(key);
        let is_older = |entry: &Arc<Entry>| entry.times().requested < moment;
        if !self.entries.get(key).is_some_and(|it| it.iter().any(is_older)) {
            return;
        }
        self.change(key, version, |variants| {
            let later = variants.into_iter().flat_map(|it| it.iter()).filter(|it| !is_older(it)).cloned();
            let later: Variants = later.collect();
            if later.is_empty() { Change::Remove } else { Change::Put(later) }
        });
    }
}

/// What becomes of what there is for a key.
enum Change {
    Nothing,
    Remove,
    Put(Variants),
}

/// An entry, and the others that it does not replace, as far as there is room: what does not fit together is not kept at all.
fn with(entry: &Arc<Entry>, others: &[Arc<Entry>], room: u64) -> Variants {
    let mut room = room.saturating_sub(entry.weight() as u64);
    let others = others.iter().filter(|it| !entry.replaces(it)).take(MAX_VARIANTS - 1);
    let fitting = others.take_while(|it| {
        let left = room.checked_sub(it.weight() as u64);
        room = left.unwrap_or_default();
        left.is_some()
    });
    std::iter::once(entry).chain(fitting).cloned().collect()
}

/// What a key takes, in bytes, near enough. That of somebody is known by its URI, too.
fn weight_of(key: &Key) -> u64 {
    let times = 1 + usize::from(key.partition().is_some());
    (times * (size_of::<Key>() + key.weight())) as u64
}

/// The keys of those who have credentials, by the hash of their URI: a URI that has changed has changed for all of them.
#[derive(Default)]
struct PrivateKeyIndex(Mutex<HashMap<u64, HashMap<Key, usize>>>);

impl PrivateKeyIndex {
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

/// Counts removals, by the hash of the URI, and of URI and caller. Two that share a count insert each other's answers from being kept now and
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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use http::{HeaderMap, HeaderName, Request, Response};

    use super::*;
    use crate::last_known_good::entry::head::Draft;
    use crate::last_known_good::policy::credentials::Credentials;
    use crate::last_known_good::policy::key::SeededHasher;
    use crate::last_known_good::policy::rules::Rules;
    use crate::last_known_good::policy::vary::RequestHeaders;

    fn credentials() -> Credentials {
        Credentials::new([7; 32], Vec::new())
    }

    fn key(caller: usize) -> Key {
        let request = Request::get("http://sku.internal/me").header("authorization", caller);
        let request = request.body(String::new()).unwrap();
        Key::new(&request, credentials().of(&request), &SeededHasher(1))
    }

    fn entry(language: &str, body: &'static [u8]) -> (Arc<Entry>, Times) {
        let headers =
            HeaderMap::from_iter([(HeaderName::from_static("accept-language"), language.parse().unwrap())]);
        let response = Response::builder().header("vary", "accept-language").body(()).unwrap();
        let rules = Rules { max_age: Duration::from_secs(60), ignore_origin: false };
        let request = RequestHeaders::new(&headers, None);
        let head = Draft::new(&response, &request, &rules, true).unwrap().into_head();
        let times =
            Times { requested: UnixNanos(1), received: UnixNanos(2), generated: UnixNanos(2), date: 0 };
        (Arc::new(Entry::new(Arc::new(head), Bytes::from_static(body), times)), times)
    }

    #[test]
    fn the_index_of_callers_holds_what_is_there_and_no_more() {
        let memory = Memory::new(64 * 1024);
        for round in 0..2000 {
            let key = key(round % 50);
            let (entry, times) = entry(["de", "en", "fr"][round % 3], &[b'x'; 2000]);
            let (version, found) = (memory.version(&key), memory.find(&key, |_| false));
            assert!(memory.insert(&key, version, &found, &entry, times));
            match round % 7 {
                0 => memory.invalidate_caller(&key),
                1 => memory.invalidate_before(&key, UnixNanos(2)),
                2 => memory.invalidate_before(&key, UnixNanos(1)),
                _ => {}
            }
            memory.entries.run_pending_tasks();
            let indexed = memory.private_keys.keys().values().map(HashMap::len).sum::<usize>();
            assert_eq!(indexed as u64, memory.len(), "{round}");
        }
        assert!(memory.len() > 5);
        memory.invalidate_uri(&key(0));
        assert_eq!((memory.len(), memory.private_keys.keys().len()), (0, 0));
    }

    /// Whoever comes between whom, what was forgotten does not come back.
    #[test]
    fn what_is_forgotten_while_it_is_kept_is_not_there_after() {
        let memory = Memory::new(1 << 20);
        let key = key(1);
        for round in 0..1000 {
            let (entry, times) = entry("de", b"old");
            let version = memory.version(&key);
            let found = memory.find(&key, |_| false);
            std::thread::scope(|scope| {
                scope.spawn(|| memory.insert(&key, version, &found, &entry, times));
                scope.spawn(|| memory.invalidate_before(&key, UnixNanos(1)));
                scope.spawn(|| {
                    if round % 2 == 0 { memory.invalidate_caller(&key) } else { memory.invalidate_uri(&key) }
                });
            });
            assert!(memory.find(&key, |_| true).entry.is_none(), "{round}");
        }
    }
}
