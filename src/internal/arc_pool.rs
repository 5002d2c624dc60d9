//! Pooled references: a call clones and drops references to shared state without writes to shared memory.
//!
//! During each call, several layers hold references to shared state. With a plain `Arc`, each reference costs two
//! atomic writes to a cache line. All threads that call the same upstream write this line, so two threads can be
//! slower than one. Therefore each thread keeps a few dropped references, and the next clone on the same thread
//! reuses one of them. `docs/performance.md` has the measurements.
//!
//! # Implementation
//!
//! Each type of state has a thread-local table of spare references, with 8 groups of 4 places. The address of the
//! state selects the group. Cloning takes a spare from the group; if the group has none, cloning increments the
//! reference count. Dropping puts the reference into a free place of the group. If no place is free, the first spare
//! of the group is evicted. Each state starts on a new cache line, so that it does not share one with the reference
//! count.
//!
//! # Lifetime
//!
//! Spares can outlive the last handle to a state. If no other thread has spares of the state, the thread that drops
//! the last handle also releases its own spares. Otherwise, all spares of the state remain until their places are
//! needed or their threads end. Pooled state must therefore be inert: it must not own a service, a classifier or a
//! closure. The one exception is the `RetryAdvisor` of a retry layer.
//!
//! Users can see two effects: a receiver of `CircuitBreaker::watch` can be late to learn that the breaker is gone,
//! and a `RetryAdvisor` can outlive its layer.

use std::cell::RefCell;
use std::fmt;
use std::ops::Deref;
use std::sync::Arc;
use std::thread::LocalKey;

/// A shared reference to a `T`. A thread reuses dropped references for later clones.
pub(crate) struct PooledArc<T: Pooled>(
    /// `None` only while the reference is being dropped.
    Option<Arc<CachePadded<T>>>,
);

/// Starts the state on a new cache line, so that readers of the reference count do not wait for writers of the state.
#[repr(align(64))]
pub(crate) struct CachePadded<T>(T);

/// State that calls share, with its thread-local table of spares.
pub(crate) trait Pooled: Sized + 'static {
    /// Returns this thread's spare references to states of this type.
    fn spares() -> &'static LocalKey<Spares<Self>>;
}

impl<T: Pooled> PooledArc<T> {
    pub(crate) fn new(shared: T) -> Self {
        Self(Some(Arc::new(CachePadded(shared))))
    }
}

impl<T: Pooled> Deref for PooledArc<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0.as_ref().expect("a handle refers to something until it is dropped").0
    }
}

impl<T: Pooled> Clone for PooledArc<T> {
    fn clone(&self) -> Self {
        let own = self.0.as_ref().expect("a handle refers to something until it is dropped");
        let spare = T::spares().try_with(|spares| spares.take(own)).ok().flatten();
        Self(Some(spare.unwrap_or_else(|| Arc::clone(own))))
    }
}

impl<T: Pooled> Drop for PooledArc<T> {
    fn drop(&mut self) {
        let Some(own) = self.0.take() else { return };
        if cfg!(all(test, steadfast_loom)) {
            return; // No spares: loom runs its threads on one system thread, and spares would outlive the model.
        }
        // An evicted reference stays in the variable `put` until the table is no longer borrowed, because dropping
        // the reference may run a foreign waker.
        let put = T::spares().try_with(|spares| spares.put(own));
        if let Ok(Err(last)) = put {
            let _all = T::spares().try_with(|spares| spares.take_all(&last));
        }
    }
}

impl<T: Pooled + fmt::Debug> fmt::Debug for PooledArc<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        T::fmt(self, f)
    }
}

/// The number of places in a group. Concurrent calls to one upstream on one thread each need a spare.
const WAYS: usize = 4;

/// The number of groups in a table. A thread that calls many upstreams can keep spares for several of them.
const GROUPS: usize = 8;

/// The spare references of one thread.
pub(crate) struct Spares<T>(RefCell<[Group<T>; GROUPS]>);

type Group<T> = [Option<Arc<CachePadded<T>>>; WAYS];

impl<T> Spares<T> {
    pub(crate) const fn new() -> Self {
        Self(RefCell::new([const { [const { None }; WAYS] }; GROUPS]))
    }

    fn take(&self, like: &Arc<CachePadded<T>>) -> Option<Arc<CachePadded<T>>> {
        let group = &mut self.0.borrow_mut()[group(like)];
        group.iter_mut().find(|place| place.as_ref().is_some_and(|it| Arc::ptr_eq(it, like)))?.take()
    }

    /// Puts a reference into its group. If the group is full, returns the evicted spare.
    ///
    /// # Errors
    ///
    /// Returns the reference if all other references to the state are spares of this thread. No handle is left then,
    /// so no call will need a spare.
    fn put(&self, spare: Arc<CachePadded<T>>) -> Result<Option<Arc<CachePadded<T>>>, Arc<CachePadded<T>>> {
        let group = &mut self.0.borrow_mut()[group(&spare)];
        let kept = group.iter().flatten().filter(|it| Arc::ptr_eq(it, &spare)).count();
        if Arc::strong_count(&spare) == kept + 1 {
            return Err(spare);
        }
        if let Some(place) = group.iter_mut().find(|place| place.is_none()) {
            return Ok(place.replace(spare));
        }
        group.rotate_left(1);
        Ok(group[WAYS - 1].replace(spare))
    }

    #[cold]
    fn take_all(&self, like: &Arc<CachePadded<T>>) -> Group<T> {
        self.0.borrow_mut()[group(like)].each_mut().map(|place| place.take_if(|it| Arc::ptr_eq(it, like)))
    }
}

/// Selects the group by the address. The low bits of aligned addresses are all equal, so the high bits of a product
/// select the group (Fibonacci hashing; Knuth, volume 3, section 6.4).
#[allow(clippy::cast_possible_truncation)]
fn group<T>(shared: &Arc<CachePadded<T>>) -> usize {
    let address = Arc::as_ptr(shared).addr() as u64;
    (address.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> (u64::BITS - GROUPS.ilog2())) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Upstream {
        number: usize,
        /// Each upstream has a clone, so the strong count tells how many upstreams are alive.
        alive: Arc<()>,
    }

    impl Pooled for Upstream {
        fn spares() -> &'static LocalKey<Spares<Self>> {
            thread_local! {
                static SPARES: Spares<Upstream> = const { Spares::new() };
            }
            &SPARES
        }
    }

    /// Makes `count` upstreams, and the `Arc` whose clones they hold.
    fn upstreams(count: usize) -> (Vec<PooledArc<Upstream>>, Arc<()>) {
        let alive = Arc::new(());
        let make = |number| PooledArc::new(Upstream { number, alive: Arc::clone(&alive) });
        ((0..count).map(make).collect(), alive)
    }

    fn one() -> (PooledArc<Upstream>, Arc<()>) {
        let (mut upstreams, alive) = upstreams(1);
        (upstreams.remove(0), alive)
    }

    fn references(handle: &PooledArc<Upstream>) -> usize {
        Arc::strong_count(handle.0.as_ref().unwrap())
    }

    #[test]
    fn sequential_calls_count_no_reference() {
        let (upstream, _alive) = one();
        drop(upstream.clone());
        assert_eq!(references(&upstream), 2);
        for _ in 0..1000 {
            let call = upstream.clone();
            assert_eq!(references(&call), 2);
        }
    }

    #[test]
    fn concurrent_calls_leave_no_more_spares_than_places() {
        let (upstream, _alive) = one();
        drop((0..1000).map(|_| upstream.clone()).collect::<Vec<_>>());
        assert_eq!(references(&upstream), 1 + WAYS);
    }

    #[test]
    fn a_clone_points_to_the_same_value() {
        let (upstreams, _alive) = upstreams(1000);
        for _ in 0..3 {
            assert!(upstreams.iter().zip(0..).all(|(upstream, number)| upstream.clone().number == number));
        }
    }

    #[test]
    fn spares_of_dropped_values_make_room_for_live_ones() {
        let (gone, alive) = upstreams(1000);
        drop(gone.iter().map(PooledArc::clone).collect::<Vec<_>>());
        // Another thread drops the last handles, so the spares of this thread are not released.
        std::thread::spawn(move || drop(gone)).join().unwrap();
        assert!(Arc::strong_count(&alive) > 1, "this thread has filled its places");
        let (upstreams, _alive) = upstreams(1000);
        for upstream in &upstreams {
            drop((0..WAYS).map(|_| upstream.clone()).collect::<Vec<_>>());
            assert_eq!(references(upstream), 1 + WAYS);
        }
        assert_eq!(Arc::strong_count(&alive), 1);
    }

    #[test]
    fn the_last_handle_frees_the_spares_of_its_thread() {
        let (upstream, alive) = one();
        drop((0..WAYS).map(|_| upstream.clone()).collect::<Vec<_>>());
        assert_eq!(references(&upstream), 1 + WAYS);
        drop(upstream);
        assert_eq!(Arc::strong_count(&alive), 1);
    }

    #[test]
    fn a_thread_that_ends_frees_its_spares() {
        let (upstream, alive) = one();
        let weak = Arc::downgrade(&upstream.alive);
        std::thread::spawn(move || drop(upstream.clone())).join().unwrap();
        assert_eq!((Arc::strong_count(&alive), weak.strong_count()), (1, 1));
    }
}
