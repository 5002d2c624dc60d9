//! A bounded map of the known upstreams. Lookups take no lock.
//!
//! # Implementation
//!
//! New upstreams are rare and calls are frequent, so the map is copy-on-write: each shard is an immutable table
//! behind an `ArcSwap`. A lookup hashes the key, loads the pointer to one table, and allocates nothing. An addition
//! takes a mutex, repeats the lookup, and then copies one table, which usually holds about 64 pointers. Because the
//! lookup is repeated under the mutex, threads that race for a new upstream make only one stack. The number of shards
//! follows from the bound of the map; a small map has one shard.
//!
//! # Eviction
//!
//! A full map evicts the upstream that has been idle for longest. Idleness is counted in turns, not in time, so that
//! a call reads no clock. A turn is a series of calls to the same upstream: a new turn begins when a call goes to
//! another upstream, or when an upstream is added. While a map is less than half full, calls begin no turns, so that
//! they write no shared cache line.
//!
//! An upstream in use is spared while another can be evicted. An upstream is in use while its stack maker says so, or
//! while a call holds an [`InFlight`]. A call holds an `InFlight` if the map is at least half full, if the call adds
//! the upstream, or if it waits for the stack. In all other cases, no eviction is near, and the write to shared
//! memory would slow down the call. If all upstreams are in use, the one that has been idle for longest is evicted
//! anyway.
//!
//! A search for the longest idle upstream looks at all upstreams. The search keeps the next ones that it finds, a
//! 64th of the bound, for the evictions that follow. A kept upstream that was used after the search is skipped. All
//! other upstreams were in use at the search, or were used later than the kept ones. So the order stays exact, except
//! for upstreams that were in use at the search and are no longer. On average, the time of an addition therefore does
//! not grow with the map, up to 65,536 upstreams. If all upstreams are in use, or all kept ones were used since, the
//! addition searches again.
//!
//! # Memory ordering
//!
//! `ArcSwap` publishes each table: a thread that loads the pointer sees complete stacks. An age is the number of a
//! turn. Accesses to ages are relaxed, because an age is only compared with other ages. The length is relaxed as
//! well: it only decides whether a call records its use. The count of the calls in flight is read once, for an
//! eviction. A call that begins at the same moment may be missed. Such a call goes on with its stack, as every call
//! to an evicted upstream does.

use std::collections::VecDeque;
use std::hash::BuildHasher;
use std::sync::{Arc, PoisonError};

use hashbrown::HashTable;

use super::key::{KeyRef, UpstreamKey};
use crate::internal::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use crate::internal::sync::{ArcSwap, Mutex, RandomState};

/// A part of the upstreams, by hash. Cloning the table copies only pointers.
type Shard<T> = HashTable<Arc<UpstreamSlot<T>>>;

/// The number of upstreams for which a shard is made.
const SHARD_SIZE: usize = 64;

/// The largest number of shards, so that a huge bound takes little memory by itself. Beyond 65,536 upstreams, the
/// shards are larger.
const MAX_SHARDS: usize = 1024;

/// A map from the keys of at most `max` upstreams to values of `T`.
pub(super) struct UpstreamMap<T> {
    /// The number of shards is a power of two.
    shards: Box<[ArcSwap<Shard<T>>]>,
    hasher: RandomState,
    max: usize,
    /// The number of upstreams. Never decreases. Written only under the mutex.
    len: AtomicUsize,
    /// The number of turns so far, which is the number of the current turn.
    age: AtomicU64,
    adding: Mutex<IdleQueue<T>>,
    /// The number of slots that additions have copied or searched.
    #[cfg(test)]
    work: std::sync::atomic::AtomicUsize,
}

/// One upstream of the map.
pub(super) struct UpstreamSlot<T> {
    /// The references to the key count the calls in flight: each [`InFlight`] has one.
    key: Arc<UpstreamKey>,
    value: T,
    hash: u64,
    /// The number of the turn in which the last recorded use took place.
    last_used: AtomicU64,
}

impl<T> UpstreamSlot<T> {
    pub(super) const fn value(&self) -> &T {
        &self.value
    }

    /// Marks the upstream as in use until the result is dropped.
    pub(super) fn in_flight(&self) -> InFlight {
        InFlight(Arc::clone(&self.key))
    }

    fn is_in_use(&self, is_in_use: &impl Fn(&T) -> bool) -> bool {
        Arc::strong_count(&self.key) > 1 || is_in_use(&self.value)
    }
}

/// A call in flight, which protects its upstream from eviction while another upstream can be evicted.
#[derive(Debug)]
pub(super) struct InFlight(Arc<UpstreamKey>);

impl InFlight {
    pub(super) fn key(&self) -> &UpstreamKey {
        &self.0
    }
}

/// The longest idle upstreams of the last search, longest idle first, each with its age at that time.
struct IdleQueue<T>(VecDeque<(u64, Arc<UpstreamSlot<T>>)>);

impl<T> Default for IdleQueue<T> {
    fn default() -> Self {
        Self(VecDeque::new())
    }
}

impl<T> UpstreamMap<T> {
    pub(super) fn new(max: usize) -> Self {
        Self::with_shards(max, (max / SHARD_SIZE).next_power_of_two().min(MAX_SHARDS))
    }

    fn with_shards(max: usize, shards: usize) -> Self {
        Self {
            shards: (0..shards).map(|_| ArcSwap::from_pointee(Shard::new())).collect(),
            hasher: RandomState::default(),
            max,
            len: AtomicUsize::new(0),
            age: AtomicU64::new(0),
            adding: Mutex::new(IdleQueue::default()),
            #[cfg(test)]
            work: std::sync::atomic::AtomicUsize::new(0),
        }
    }

    /// Passes the upstream `key` to `read`, and whether the call should hold an [`InFlight`].
    ///
    /// If the upstream is unknown, `make` makes its value. If another upstream must be evicted for the new one,
    /// `is_in_use` is asked about the values of the longest idle upstreams.
    #[inline]
    pub(super) fn with<R>(
        &self,
        key: &KeyRef<'_>,
        make: impl FnOnce(&UpstreamKey) -> T,
        is_in_use: impl Fn(&T) -> bool,
        read: impl FnOnce(&UpstreamSlot<T>, bool) -> R,
    ) -> R {
        let hash = self.hasher.hash_one(key);
        let shard = self.shard(hash).load();
        if let Some(slot) = find(&shard, hash, key) {
            // While the map is less than half full, no eviction is near, so calls record no use, and write no shared
            // cache line.
            let eviction_is_near = self.len.load(Relaxed) * 2 >= self.max;
            if eviction_is_near && slot.last_used.load(Relaxed) != self.age.load(Relaxed) {
                // `fetch_max` keeps the later of two uses, even if the later use is recorded before the earlier one.
                slot.last_used.fetch_max(self.next_age(), Relaxed);
            }
            return read(slot, eviction_is_near);
        }
        drop(shard);
        read(&self.add(hash, key, make, is_in_use), true)
    }

    /// Passes every upstream to `read`, and returns the results.
    pub(super) fn read_all<R>(&self, read: impl Fn(&UpstreamKey, &T) -> R) -> Vec<R> {
        let mut results = Vec::with_capacity(self.len.load(Relaxed));
        for shard in &self.shards {
            results.extend(shard.load().iter().map(|slot| read(&slot.key, &slot.value)));
        }
        results
    }

    /// Returns the shard of a hash. The table itself uses the lowest and the highest bits of the hash, so the bits
    /// between them select the shard.
    #[allow(clippy::cast_possible_truncation)]
    fn shard(&self, hash: u64) -> &ArcSwap<Shard<T>> {
        &self.shards[(hash >> 32) as usize & (self.shards.len() - 1)]
    }

    /// Starts a new turn, and returns its number. No two turns have the same number, so exactly one upstream has been
    /// idle for longest.
    fn next_age(&self) -> u64 {
        self.age.fetch_add(1, Relaxed) + 1
    }

    #[cold]
    fn add(
        &self,
        hash: u64,
        key: &KeyRef<'_>,
        make: impl FnOnce(&UpstreamKey) -> T,
        is_in_use: impl Fn(&T) -> bool,
    ) -> Arc<UpstreamSlot<T>> {
        // `evicted` is dropped after the lock is released, because a stack may run foreign code when it is dropped.
        let evicted;
        let idle = &mut *self.adding.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(slot) = find(&self.shard(hash).load(), hash, key) {
            return Arc::clone(slot);
        }
        let key = Arc::new(key.to_key());
        let value = make(&key);
        let len = self.len.load(Relaxed);
        if len >= self.max {
            evicted = self.next_to_evict(idle, &is_in_use);
            if let Some(evicted) = &evicted {
                self.change(evicted.hash, |shard| {
                    if let Ok(entry) = shard.find_entry(evicted.hash, |slot| Arc::ptr_eq(slot, evicted)) {
                        entry.remove();
                    }
                });
            }
        } else {
            self.len.store(len + 1, Relaxed);
        }
        let slot = Arc::new(UpstreamSlot { key, value, hash, last_used: AtomicU64::new(self.next_age()) });
        self.change(hash, |shard| {
            shard.insert_unique(hash, Arc::clone(&slot), |slot| slot.hash);
        });
        slot
    }

    /// Replaces the shard of `hash` by a changed copy. Called only under the mutex.
    fn change(&self, hash: u64, change: impl FnOnce(&mut Shard<T>)) {
        let shard = self.shard(hash);
        let mut copy = Shard::clone(&shard.load());
        self.count_work(copy.len());
        change(&mut copy);
        shard.store(Arc::new(copy));
    }

    /// Returns the upstream that has been idle for longest among those that are not in use, or, if all are in use,
    /// among all.
    fn next_to_evict(
        &self,
        idle: &mut IdleQueue<T>,
        is_in_use: &impl Fn(&T) -> bool,
    ) -> Option<Arc<UpstreamSlot<T>>> {
        while let Some((age, slot)) = idle.0.pop_front() {
            if slot.last_used.load(Relaxed) == age && !slot.is_in_use(is_in_use) {
                return Some(slot);
            }
        }
        let shards: Vec<_> = self.shards.iter().map(ArcSwap::load).collect();
        let slots = shards.iter().flat_map(|shard| shard.iter());
        let mut by_age: Vec<_> = slots.map(|slot| (slot.last_used.load(Relaxed), slot)).collect();
        self.count_work(by_age.len());
        by_age.sort_unstable_by_key(|(age, _)| *age);
        let unused = by_age.iter().filter(|(_, slot)| !slot.is_in_use(is_in_use));
        let kept = (self.max / SHARD_SIZE).max(1);
        idle.0.extend(unused.take(kept).map(|(age, slot)| (*age, Arc::clone(slot))));
        let longest_idle = || by_age.first().map(|(_, slot)| Arc::clone(slot));
        idle.0.pop_front().map(|(_, slot)| slot).or_else(longest_idle)
    }

    #[cfg(test)]
    fn count_work(&self, slots: usize) {
        self.work.fetch_add(slots, Relaxed);
    }

    #[cfg(not(test))]
    #[allow(clippy::unused_self)]
    const fn count_work(&self, _slots: usize) {}
}

#[inline]
fn find<'a, T>(shard: &'a Shard<T>, hash: u64, key: &KeyRef<'_>) -> Option<&'a Arc<UpstreamSlot<T>>> {
    shard.find(hash, |slot| *key == *slot.key)
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

    /// Calls an upstream whose value is its name. An upstream whose name begins with `busy` is in use.
    fn call(map: &UpstreamMap<String>, name: &str) -> String {
        let is_busy = |name: &String| name.starts_with("busy");
        map.with(&named(name), ToString::to_string, is_busy, |slot, _| slot.value().clone())
    }

    fn in_flight(map: &UpstreamMap<String>, name: &str) -> InFlight {
        map.with(&named(name), ToString::to_string, |_| false, |slot, _| slot.in_flight())
    }

    #[test]
    fn an_upstream_is_made_once() {
        let map = UpstreamMap::new(10);
        assert_eq!(call(&map, "a"), "a");
        assert_eq!(map.with(&named("a"), |_| unreachable!(), |_| false, |slot, _| slot.value().clone()), "a");
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
    fn a_map_of_many_shards_evicts_the_longest_idle_upstream_exactly() {
        const MAX: u32 = 1000;
        let map = UpstreamMap::new(MAX as usize);
        assert_eq!(map.shards.len(), 16);
        for number in 0..MAX {
            call(&map, &number.to_string());
        }
        let evens = (0..MAX).step_by(2);
        for number in evens.clone() {
            call(&map, &number.to_string());
        }
        // Of the 500 odd numbers, 7 is used again, after a search has found that it is one of the next to go.
        for number in 0..MAX / 2 {
            call(&map, &format!("new {number}"));
            if number == 0 {
                call(&map, "7");
            }
        }
        let known = names(&map);
        let is_known = |number: &u32| known.binary_search(&number.to_string()).is_ok();
        assert_eq!(known.len(), MAX as usize);
        assert_eq!((1..MAX).step_by(2).filter(is_known).collect::<Vec<_>>(), [7]);
        assert_eq!(evens.filter(|number| !is_known(number)).collect::<Vec<_>>(), [0]);
    }

    #[test]
    fn an_upstream_in_use_is_evicted_only_if_all_are_in_use() {
        for max in [3, 200] {
            let map = UpstreamMap::new(max);
            let _in_flight = in_flight(&map, "in flight");
            call(&map, "busy");
            for number in 0..2 * max {
                call(&map, &number.to_string());
            }
            let known = names(&map);
            assert_eq!(known.len(), max);
            assert!(["busy", "in flight"].iter().all(|name| known.contains(&(*name).to_owned())));
            for number in 0..max {
                call(&map, &format!("busy {number}"));
            }
            assert_eq!(names(&map).len(), max);
            assert!(!names(&map).contains(&"busy".to_owned()), "the longest idle of all that are in use");
        }
    }

    #[test]
    fn an_upstream_whose_calls_have_ended_can_be_evicted() {
        let map = UpstreamMap::new(2);
        let first = in_flight(&map, "a");
        let second = in_flight(&map, "a");
        call(&map, "b");
        drop(first);
        call(&map, "c");
        assert_eq!(names(&map), ["a", "c"]);
        drop(second);
        call(&map, "d");
        assert_eq!(names(&map), ["c", "d"]);
    }

    #[test]
    fn a_call_holds_its_upstream_in_a_map_that_is_half_full_and_when_it_adds_the_upstream() {
        let map = UpstreamMap::new(4);
        let holds = |name: &str| map.with(&named(name), |_| (), |()| false, |_, holds| holds);
        assert_eq!(["a", "a", "b", "a", "b"].map(holds), [true, false, true, true, true]);
    }

    #[test]
    fn an_addition_does_not_look_at_all_upstreams() {
        // Before the map is full, an addition copies a shard. Afterwards, it copies two, and searches a share.
        for (max, additions) in [(64, 1_000), (1_000, 10_000), (30_000, 50_000)] {
            let map = UpstreamMap::new(max);
            for number in 0..additions {
                call(&map, &number.to_string());
            }
            assert_eq!(map.len.load(Relaxed), max);
            let work = map.work.load(Relaxed);
            assert!(work <= 256 * additions, "{} slots for each addition", work / additions);
        }
    }

    #[test]
    fn a_huge_bound_takes_little_memory_by_itself() {
        assert_eq!(UpstreamMap::<()>::new(usize::MAX).shards.len(), MAX_SHARDS);
    }

    #[test]
    fn a_stack_that_is_dropped_may_use_the_map() {
        struct Nosy(std::sync::Weak<UpstreamMap<Nosy>>);

        impl Drop for Nosy {
            fn drop(&mut self) {
                if let Some(map) = self.0.upgrade() {
                    assert!(map.adding.try_lock().is_ok(), "the lock is not held");
                }
            }
        }

        let map = Arc::new(UpstreamMap::new(1));
        for name in ["a", "b", "c"] {
            map.with(&named(name), |_| Nosy(Arc::downgrade(&map)), |_| false, |_, _| ());
        }
        assert_eq!(map.read_all(|key, _| key.to_string()), ["c"]);
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
                        map.with(&named(&upstream.to_string()), make, |_| false, |_, _| ());
                    }
                });
            }
        });
        assert_eq!(count.load(Relaxed), 50);
    }
}
