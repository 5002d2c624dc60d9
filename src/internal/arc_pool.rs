//! A handle to state that calls share, which a call can take and drop without writing where other threads do.
//!
//! Every layer of every call needs such a reference, for as long as the call lasts. Counted in an `Arc`, each would
//! cost two atomic writes, to a line that every thread with a call to the same upstream writes too: most of what a
//! healthy call costs on one thread, and what keeps two threads from being faster than one. So a thread keeps a few of
//! the references that were dropped on it, and the next clone takes one of those.
//!
//! What is kept in this way by other threads lives on after its last handle is gone, until their places are needed or they
//! end. It has to be inert, therefore: no service and no closure may hang from it. The one thing of a user's that does is the
//! advisor of a retry, of which a thread keeps a few references in the same way.

use std::cell::RefCell;
use std::fmt;
use std::ops::Deref;
use std::sync::Arc;
use std::thread::LocalKey;

/// A reference to a `T` that calls share: an `Arc` that the thread recycles.
pub(crate) struct PooledArc<T: Pooled>(
    /// `None` only while the handle is being dropped.
    Option<Arc<CachePadded<T>>>,
);

/// What begins on a cache line of its own, so that who looks at the count does not wait for who writes the state.
#[repr(align(64))]
pub(crate) struct CachePadded<T>(T);

/// State that calls share.
pub(crate) trait Pooled: Sized + 'static {
    /// The references to states of this kind that this thread keeps for its next calls.
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
            return; // The threads of a model are one of the system's: what it kept would outlive the model.
        }
        // What goes is dropped here, when the table is not borrowed: its end may run somebody's waker.
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

/// How many places a state can be kept in: a thread with several calls under way to one upstream keeps several.
const WAYS: usize = 4;

/// How many such groups of places there are: a thread that calls many upstreams keeps some of each.
const GROUPS: usize = 8;

/// The references that a thread keeps.
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

    /// Keeps a reference. Where there is no place, the one that was kept for longest has to go.
    ///
    /// # Errors
    ///
    /// Nobody has one any more but this thread: there will be no next call.
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

/// The places of a state follow from its address, of which the lower bits are those of many others (Fibonacci hashing,
/// Knuth, volume 3, 6.4).
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
        /// What is not counted any more has been dropped.
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

    /// So many upstreams, and the count of those that are alive.
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
    fn a_call_after_the_other_counts_no_reference() {
        let (upstream, _alive) = one();
        drop(upstream.clone());
        assert_eq!(references(&upstream), 2);
        for _ in 0..1000 {
            let call = upstream.clone();
            assert_eq!(references(&call), 2);
        }
    }

    #[test]
    fn calls_at_the_same_time_leave_no_more_than_their_places() {
        let (upstream, _alive) = one();
        drop((0..1000).map(|_| upstream.clone()).collect::<Vec<_>>());
        assert_eq!(references(&upstream), 1 + WAYS);
    }

    #[test]
    fn a_handle_is_never_to_something_else() {
        let (upstreams, _alive) = upstreams(1000);
        for _ in 0..3 {
            assert!(upstreams.iter().zip(0..).all(|(upstream, number)| upstream.clone().number == number));
        }
    }

    #[test]
    fn what_is_gone_makes_room_for_what_is_there() {
        let (gone, alive) = upstreams(1000);
        drop(gone.iter().map(PooledArc::clone).collect::<Vec<_>>());
        // The last handles are dropped where nobody knows of what this thread keeps.
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
    fn with_the_last_handle_this_thread_lets_go() {
        let (upstream, alive) = one();
        drop((0..WAYS).map(|_| upstream.clone()).collect::<Vec<_>>());
        assert_eq!(references(&upstream), 1 + WAYS);
        drop(upstream);
        assert_eq!(Arc::strong_count(&alive), 1);
    }

    #[test]
    fn a_thread_that_ends_keeps_nothing() {
        let (upstream, alive) = one();
        let weak = Arc::downgrade(&upstream.alive);
        std::thread::spawn(move || drop(upstream.clone())).join().unwrap();
        assert_eq!((Arc::strong_count(&alive), weak.strong_count()), (1, 1));
    }
}
