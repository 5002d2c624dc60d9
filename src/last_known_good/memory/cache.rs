//! The entries in memory, bounded in bytes.
//!
//! Calls look up, insert and invalidate entries concurrently. An invalidated entry must not reappear. A response must
//! not be stored if an invalidation came after its request.
//!
//! # Versions
//!
//! Each key has a version. Every invalidation of the key in this process raises the version. A call reads the version
//! when it begins, and [`Memory::insert`] stores the response only if the version has not changed. An invalidation
//! raises the version, then removes the entries. An insertion puts the entry, then reads the version again, and
//! removes the key if the version has changed. In every order of these steps, either the invalidation or the
//! insertion removes the entry.
//!
//! A version is the sum of two counters from a table of fixed size: one for the hash of the URI, one for the hash of
//! URI and caller. Two keys, here A and B, share a counter if their hashes collide. An invalidation of A then keeps
//! calls in flight for B from inserting. If a call inserts for B at that moment, B's entries are removed. Shared
//! counters are rare in a table of this size.
//!
//! # Changes
//!
//! Usually, a response equals the entry. The entry is found when the head arrives, and gets new times at the end of
//! the body, without a second lookup. For this purpose, `changes` counts the insertions, evictions and removals of
//! all keys. As long as the count does not change, an entry found earlier is known to be in memory.
//!
//! # Private keys
//!
//! An invalidation of a URI concerns the entries of all callers. moka's cache cannot be searched by URI.
//! `PrivateKeyIndex` therefore maps the hash of a URI to its private keys: the keys of callers with credentials.
//!
//! # Weights
//!
//! The weight of an entry is its approximate size in memory. A private key counts twice, because the index holds a
//! copy. For moka, all variants of a key are one value, and a value heavier than the whole cache is rejected.
//! Variants that do not fit are therefore left out. moka also delays evictions, and large bodies could exceed the
//! bound meanwhile. Each insertion therefore runs the evictions at once.
//!
//! # Memory ordering
//!
//! The version counters and `changes` are raised with `AcqRel` and read with `Acquire`. A thread that reads a count
//! also sees every change of the entries that was made before the count reached this value. [`Memory::find`] reads
//! `changes` before it looks the key up, so a change in between only makes [`Memory::insert`] look the key up again.

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

/// The maximum number of variants of a key: languages, encodings or tenants, for example.
const MAX_VARIANTS: usize = 16;

/// The entries of a key, newest first. All vary on the same headers.
pub(crate) type Variants = Arc<[Arc<Entry>]>;

/// The entries in memory. The least recently used entries are evicted first.
pub(crate) struct Memory {
    entries: Cache<Key, Variants>,
    max_bytes: u64,
    private_keys: Arc<PrivateKeyIndex>,
    removals: Removals,
    /// The number of insertions, evictions and removals. As long as this number does not change, an entry found
    /// earlier is known to be in memory.
    changes: AtomicU64,
}

/// The result of a lookup: all variants of a key, and the variant for the request.
#[derive(Default)]
pub(crate) struct Found {
    pub(crate) variants: Option<Variants>,
    pub(crate) entry: Option<Arc<Entry>>,
    changes: u64,
}

impl Found {
    /// The body of the entry found; empty if no entry was found.
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
            // LRU instead of moka's default, TinyLFU: a full TinyLFU cache can reject new keys, but an outage needs
            // the latest entries.
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
        // moka updates its counts only when it runs pending tasks.
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

    /// Finds the variants of a key, and the newest variant for which `answers` is true.
    pub(crate) fn find(&self, key: &Key, answers: impl Fn(&Entry) -> bool) -> Found {
        // Read `changes` before the lookup. If an entry changes in between, `insert` sees a different count and looks
        // the key up again.
        let changes = self.changes.load(Ordering::Acquire);
        let variants = self.entries.get(key);
        let entry = variants.as_ref().and_then(|it| it.iter().find(|entry| answers(entry)).cloned());
        Found { variants, entry, changes }
    }

    /// The version of a key. Each invalidation of the key changes the version, and calls that began earlier can no
    /// longer insert.
    pub(crate) fn version(&self, key: &Key) -> u64 {
        let count = |hash| self.removals.of(hash).load(Ordering::Acquire);
        count(key.hash()).wrapping_add(count(key.hash_of_caller()))
    }

    /// Inserts the entry of a call. Inserts nothing if the key was invalidated after the call began, or if memory has
    /// a newer entry. Returns true if the entry is stored.
    ///
    /// `version` is the key's version at the beginning of the call. `found` is the result of a later lookup. If
    /// `found` contains `entry` and memory has not changed since the lookup, only the times of `entry` are renewed.
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
                return VariantsChange::Nothing;
            }
            entry.renew(times);
            VariantsChange::Put(with(entry, others, self.max_bytes.saturating_sub(weight_of(key))))
        });
        is_inserted && self.version(key) == version
    }

    /// Changes the variants of a key. Two changes of a key never overlap. An invalidation can overlap a change; the
    /// key is then removed.
    fn change(&self, key: &Key, version: u64, change: impl FnOnce(Option<&Variants>) -> VariantsChange) {
        self.entries.entry_by_ref(key).and_compute_with(|current| {
            match change(current.as_ref().map(moka::Entry::value)) {
                VariantsChange::Nothing => Op::Nop,
                VariantsChange::Remove => Op::Remove,
                VariantsChange::Put(variants) => {
                    self.private_keys.add(key);
                    Op::Put(variants)
                }
            }
        });
        self.changes.fetch_add(1, Ordering::AcqRel);
        if self.version(key) != version {
            // Remove the key, because it was invalidated during the change. At worst, a newer entry is lost, too.
            self.entries.invalidate(key);
        }
        // Evict at once, so that large bodies cannot exceed the bound.
        self.entries.run_pending_tasks();
        // Count the evictions as changes, too.
        self.changes.fetch_add(1, Ordering::AcqRel);
    }

    /// Invalidates the entries of a URI, for both methods and all callers.
    pub(crate) fn invalidate_uri(&self, key: &Key) {
        self.removals.of(key.hash()).fetch_add(1, Ordering::AcqRel);
        let private_keys = self.private_keys.of(key);
        key.public().either_method().iter().chain(&private_keys).for_each(|key| self.entries.invalidate(key));
        self.changes.fetch_add(1, Ordering::AcqRel);
    }

    /// Raises the version for the key's URI and caller, so that calls in flight do not insert their outdated
    /// responses.
    pub(crate) fn bump_version(&self, key: &Key) {
        self.removals.of(key.hash_of_caller()).fetch_add(1, Ordering::AcqRel);
    }

    /// Invalidates the entries of the key's URI and caller, for both methods.
    pub(crate) fn invalidate_caller(&self, key: &Key) {
        self.bump_version(key);
        key.either_method().iter().for_each(|key| self.entries.invalidate(key));
        self.changes.fetch_add(1, Ordering::AcqRel);
    }

    /// Removes the entries of a key that were requested before `moment`, the time of a tombstone. Does not change the
    /// key's version.
    pub(crate) fn invalidate_before(&self, key: &Key, moment: UnixNanos) {
        let version = self.version(key);
        let is_older = |entry: &Arc<Entry>| entry.times().requested < moment;
        if !self.entries.get(key).is_some_and(|it| it.iter().any(is_older)) {
            return;
        }
        self.change(key, version, |variants| {
            let later = variants.into_iter().flat_map(|it| it.iter()).filter(|it| !is_older(it)).cloned();
            let later: Variants = later.collect();
            if later.is_empty() { VariantsChange::Remove } else { VariantsChange::Put(later) }
        });
    }
}

/// A change of a key's variants.
enum VariantsChange {
    Nothing,
    Remove,
    Put(Variants),
}

/// Returns `entry`, then those of `others` that it does not replace, up to `MAX_VARIANTS` entries and `room` bytes.
/// moka would reject a value larger than the whole cache.
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

/// The approximate size of a key in memory, in bytes. A private key counts twice, because the index holds a copy.
fn weight_of(key: &Key) -> u64 {
    let times = 1 + usize::from(key.partition().is_some());
    (times * (size_of::<Key>() + key.weight())) as u64
}

/// The private keys in memory, grouped by the hash of the URI, each with the number of its values in moka.
#[derive(Default)]
struct PrivateKeyIndex(Mutex<HashMap<u64, HashMap<Key, usize>>>);

impl PrivateKeyIndex {
    /// Counts a new value of the key. A set of keys without counts would be wrong: moka may report the end of a value
    /// after the next value was put.
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

/// The table of invalidation counters. The version of a key is the sum of two counters.
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
    fn the_index_holds_exactly_the_private_keys_in_memory() {
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

    /// The entry must be absent in the end, in whatever order the threads run.
    #[test]
    fn an_entry_invalidated_during_its_insertion_does_not_stay() {
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
