//! The upstreams that are known: read without a lock, replaced whole when one is added.
//!
//! New upstreams are rare and calls are not, so the map is immutable behind a pointer: a reader loads the pointer, a
//! writer copies the map.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;
use hashbrown::HashMap;

use super::key::{KeyRef, UpstreamKey};

type Entries<T> = HashMap<UpstreamKey, Arc<Entry<T>>, std::hash::RandomState>;

/// At most so many upstreams, with a `T` each.
pub(super) struct UpstreamMap<T> {
    entries: ArcSwap<Entries<T>>,
    max: usize,
    /// Moves on whenever another upstream than the last is used: time, as far as idleness is concerned, so that a call
    /// reads no clock.
    age: AtomicU64,
    adding: Mutex<()>,
}

struct Entry<T> {
    value: T,
    /// The age in which it was last used.
    last_used: AtomicU64,
}

impl<T> UpstreamMap<T> {
    pub(super) fn new(max: usize) -> Self {
        Self {
            entries: ArcSwap::from_pointee(Entries::default()),
            max,
            age: AtomicU64::new(0),
            adding: Mutex::new(()),
        }
    }

    /// What `read` sees of the upstream of this key, which `make` makes if it is new.
    pub(super) fn with<R>(
        &self,
        key: &KeyRef<'_>,
        make: impl FnOnce(&UpstreamKey) -> T,
        read: impl FnOnce(&T) -> R,
    ) -> R {
        let entries = self.entries.load();
        if let Some(entry) = entries.get(key) {
            // Far from full, nobody has to go, and calls need not share a line that each of them writes.
            if entries.len() * 2 >= self.max && entry.last_used.load(Relaxed) != self.age.load(Relaxed) {
                entry.last_used.store(self.next_age(), Relaxed);
            }
            return read(&entry.value);
        }
        drop(entries);
        read(&self.add(key, make).value)
    }

    /// Every upstream, with what `read` sees of it.
    pub(super) fn read_all<R>(&self, read: impl Fn(&UpstreamKey, &T) -> R) -> Vec<R> {
        self.entries.load().iter().map(|(key, entry)| read(key, &entry.value)).collect()
    }

    /// No two upstreams have the same, so that it is never chance which of them goes.
    fn next_age(&self) -> u64 {
        self.age.fetch_add(1, Relaxed) + 1
    }

    #[cold]
    fn add(&self, key: &KeyRef<'_>, make: impl FnOnce(&UpstreamKey) -> T) -> Arc<Entry<T>> {
        let _adding = self.adding.lock().unwrap_or_else(PoisonError::into_inner);
        let current = self.entries.load();
        if let Some(entry) = current.get(key) {
            return Arc::clone(entry);
        }
        let key = key.to_key();
        let entry = Arc::new(Entry { value: make(&key), last_used: AtomicU64::new(self.next_age()) });
        let mut entries = Entries::clone(&current);
        if entries.len() >= self.max {
            let idle_for_longest = entries.iter().min_by_key(|(_, entry)| entry.last_used.load(Relaxed));
            if let Some(key) = idle_for_longest.map(|(key, _)| key.clone()) {
                entries.remove(&key);
            }
        }
        entries.insert(key, Arc::clone(&entry));
        self.entries.store(Arc::new(entries));
        entry
    }
}

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
    fn when_there_are_too_many_the_longest_idle_goes() {
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
