//! A bounded map of the known upstreams. Lookups take no lock.
//!
//! # Implementation
//!
//! New upstreams are rare and calls are frequent, so the map is copy-on-write: an immutable set behind an `ArcSwap`.
//! A lookup loads the pointer to the set, and allocates nothing. An insertion takes a mutex, repeats the lookup, and
//! then copies the set, a table of pointers. Because the lookup is repeated under the mutex, threads that race for a
//! new upstream make only one stack.
//!
//! A full map evicts the upstream that has been idle for longest. Idleness is counted in turns, not in time, so that
//! a call reads no clock. A turn is a series of calls to the same upstream: a new turn begins when a call goes to
//! another upstream, or when an upstream is added. While a map is less than half full, calls begin no turns, so that
//! they write no shared cache line.
//!
//! # Memory ordering
//!
//! `ArcSwap` publishes each set: a thread that loads the pointer sees complete stacks. An age is the number of a
//! turn. Accesses to ages are relaxed, because an age is only compared with other ages.

use std::hash::{Hash, Hasher};
use std::sync::{Arc, PoisonError};

use hashbrown::{Equivalent, HashSet};

use super::key::{KeyRef, UpstreamKey};
use crate::internal::sync::atomic::{AtomicU64, Ordering::Relaxed};
use crate::internal::sync::{ArcSwap, Mutex, RandomState};

/// The upstreams by key. Cloning the set copies only pointers.
type Slots<T> = HashSet<Arc<UpstreamSlot<T>>, RandomState>;

/// A map from the keys of at most `max` upstreams to values of `T`.
pub(super) struct UpstreamMap<T> {
    entries: ArcSwap<Slots<T>>,
    max: usize,
    /// The number of turns so far, which is the number of the current turn.
    age: AtomicU64,
    adding: Mutex<()>,
}

struct UpstreamSlot<T> {
    key: UpstreamKey,
    value: T,
    /// The number of the turn in which the last recorded use took place.
    last_used: AtomicU64,
}

impl<T> Hash for UpstreamSlot<T> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.key.hash(state);
    }
}

impl<T> PartialEq for UpstreamSlot<T> {
    fn eq(&self, other: &Self) -> bool {
        self.key == other.key
    }
}

impl<T> Eq for UpstreamSlot<T> {}

impl<T> Equivalent<Arc<UpstreamSlot<T>>> for KeyRef<'_> {
    fn equivalent(&self, entry: &Arc<UpstreamSlot<T>>) -> bool {
        *self == entry.key
    }
}

impl<T> UpstreamMap<T> {
    pub(super) fn new(max: usize) -> Self {
        Self {
            entries: ArcSwap::from_pointee(Slots::default()),
            max,
            age: AtomicU64::new(0),
            adding: Mutex::new(()),
        }
    }

    /// Passes the value of the upstream `key` to `read`. If the upstream is unknown, `make` makes the value.
    pub(super) fn with<R>(
        &self,
        key: &KeyRef<'_>,
        make: impl FnOnce(&UpstreamKey) -> T,
        read: impl FnOnce(&T) -> R,
    ) -> R {
        let entries = self.entries.load();
        if let Some(entry) = entries.get(key) {
            // While the map is less than half full, no eviction is near, so calls record no use, and write no shared
            // cache line.
            if entries.len() * 2 >= self.max && entry.last_used.load(Relaxed) != self.age.load(Relaxed) {
                // `fetch_max` keeps the later of two uses, even if the later use is recorded before the earlier one.
                entry.last_used.fetch_max(self.next_age(), Relaxed);
            }
            return read(&entry.value);
        }
        drop(entries);
        read(&self.add(key, make).value)
    }

    /// Passes every upstream to `read`, and returns the results.
    pub(super) fn read_all<R>(&self, read: impl Fn(&UpstreamKey, &T) -> R) -> Vec<R> {
        self.entries.load().iter().map(|entry| read(&entry.key, &entry.value)).collect()
    }

    /// Starts a new turn, and returns its number. No two turns have the same number, so exactly one upstream has been
    /// idle for longest.
    fn next_age(&self) -> u64 {
        self.age.fetch_add(1, Relaxed) + 1
    }

    #[cold]
    fn add(&self, key: &KeyRef<'_>, make: impl FnOnce(&UpstreamKey) -> T) -> Arc<UpstreamSlot<T>> {
        let _adding = self.adding.lock().unwrap_or_else(PoisonError::into_inner);
        let current = self.entries.load();
        if let Some(entry) = current.get(key) {
            return Arc::clone(entry);
        }
        let key = key.to_key();
        let value = make(&key);
        let entry = Arc::new(UpstreamSlot { key, value, last_used: AtomicU64::new(self.next_age()) });
        let mut entries = Slots::clone(&current);
        if entries.len() >= self.max {
            let idle_for_longest = entries.iter().min_by_key(|entry| entry.last_used.load(Relaxed)).cloned();
            idle_for_longest.map(|idle| entries.remove(&idle));
        }
        entries.insert(Arc::clone(&entry));
        self.entries.store(Arc::new(entries));
        entry
    }
}

#[cfg(all(test, steadfast_loom))]
mod models;

#[cfg(test)]
mod tests {
    use super::*;

    fn named(name: &str) -> KeyRef<'_> {
        KeyRef::Named(name.into())
    }

    fn names(map: &UpstreamMap<String>) -> Vec<String> {
        let mut names = map.read_all(|_, name| name.clone());
        names.sort();
        names
    }

    fn call(map: &UpstreamMap<String>, name: &str) -> String {
        map.with(&named(name), ToString::to_string, Clone::clone)
    }

    #[test]
    fn an_upstream_is_made_once() {
        let map = UpstreamMap::new(10);
        assert_eq!(call(&map, "a"), "a");
        assert_eq!(map.with(&named("a"), |_| unreachable!(), Clone::clone), "a");
    }

    #[test]
    fn a_full_map_evicts_the_longest_idle_upstream() {
        let map = UpstreamMap::new(3);
        for name in ["a", "b", "c", "a", "d", "b2", "a"] {
            call(&map, name);
        }
        assert_eq!(names(&map), ["a", "b2", "d"]);
    }

    #[test]
    fn threads_that_race_make_one_upstream() {
        let map = UpstreamMap::new(100);
        let count = AtomicU64::new(0);
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    for upstream in 0..50 {
                        let make = |_: &UpstreamKey| count.fetch_add(1, Relaxed);
                        map.with(&named(&upstream.to_string()), make, |_| ());
                    }
                });
            }
        });
        assert_eq!(count.load(Relaxed), 50);
    }
}
