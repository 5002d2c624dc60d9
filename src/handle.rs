//! A handle to state that calls share, which a call can take and drop without writing where other threads do.
//!
//! Every layer of every call needs such a reference, for as long as the call lasts. Counted in an `Arc`, each would
//! cost two atomic writes, to a line that every thread with a call to the same upstream writes too: most of what a
//! healthy call costs on one thread, and what keeps two threads from being faster than one. So a thread keeps a few of
//! the references that were dropped on it, and the next clone takes one of those.
//!
//! What is kept in this way lives on after its last handle is gone, until its place is needed or the thread ends. It
//! has to be inert, therefore: no service, no closure and nothing of a user's may hang from it.

use std::cell::RefCell;
use std::fmt;
use std::ops::Deref;
use std::sync::Arc;
use std::thread::LocalKey;

/// A reference to a `T` that calls share: an `Arc` that the thread recycles.
pub(crate) struct Handle<T: Shared>(
    /// `None` only while the handle is being dropped.
    Option<Arc<T>>,
);

/// State that calls share.
pub(crate) trait Shared: Sized + 'static {
    /// The references to states of this kind that this thread keeps for its next calls.
    fn spares() -> &'static LocalKey<Spares<Self>>;
}

impl<T: Shared> Handle<T> {
    pub(crate) fn new(shared: T) -> Self {
        Self(Some(Arc::new(shared)))
    }
}

impl<T: Shared> Deref for Handle<T> {
    type Target = T;

    fn deref(&self) -> &T {
        self.0.as_ref().expect("a handle refers to something until it is dropped")
    }
}

impl<T: Shared> Clone for Handle<T> {
    fn clone(&self) -> Self {
        let own = self.0.as_ref().expect("a handle refers to something until it is dropped");
        let spare = T::spares().try_with(|spares| spares.take(own)).ok().flatten();
        Self(Some(spare.unwrap_or_else(|| Arc::clone(own))))
    }
}

impl<T: Shared> Drop for Handle<T> {
    fn drop(&mut self) {
        let spare = self.0.take();
        if cfg!(all(test, steadfast_loom)) {
            return; // The threads of a model are one of the system's: what it kept would outlive the model.
        }
        // What has no place is dropped here, when the table is not borrowed: its end may run somebody's waker.
        let _excess = T::spares().try_with(|spares| spare.and_then(|spare| spares.put(spare)));
    }
}

impl<T: Shared + fmt::Debug> fmt::Debug for Handle<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        T::fmt(self, f)
    }
}

/// How many places a state can be kept in: a thread with several calls under way to one upstream keeps several.
const WAYS: usize = 4;

/// How many such groups of places there are: a thread that calls many upstreams keeps some of each.
const GROUPS: usize = 8;

/// The references that a thread keeps.
pub(crate) struct Spares<T>(RefCell<[[Option<Arc<T>>; WAYS]; GROUPS]>);

impl<T> Spares<T> {
    pub(crate) const fn new() -> Self {
        Self(RefCell::new([const { [const { None }; WAYS] }; GROUPS]))
    }

    fn take(&self, like: &Arc<T>) -> Option<Arc<T>> {
        let group = &mut self.0.borrow_mut()[group(like)];
        group.iter_mut().find(|place| place.as_ref().is_some_and(|it| Arc::ptr_eq(it, like)))?.take()
    }

    /// Keeps a reference. Where there is no place, another one has to go.
    fn put(&self, spare: Arc<T>) -> Option<Arc<T>> {
        let group = &mut self.0.borrow_mut()[group(&spare)];
        match group.iter_mut().find(|place| place.is_none()) {
            Some(place) => place.replace(spare),
            None => group[0].replace(spare),
        }
    }
}

/// The places of a state follow from its address.
fn group<T>(shared: &Arc<T>) -> usize {
    (Arc::as_ptr(shared).addr() >> 6) % GROUPS
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

    use super::*;

    static DROPPED: AtomicUsize = AtomicUsize::new(0);

    struct Upstream {
        number: u32,
    }

    thread_local! {
        static SPARES: Spares<Upstream> = const { Spares::new() };
    }

    impl Shared for Upstream {
        fn spares() -> &'static LocalKey<Spares<Self>> {
            &SPARES
        }
    }

    impl Drop for Upstream {
        fn drop(&mut self) {
            DROPPED.fetch_add(1, Relaxed);
        }
    }

    fn count(handle: &Handle<Upstream>) -> usize {
        Arc::strong_count(handle.0.as_ref().unwrap())
    }

    #[test]
    fn what_is_shared_is_dropped_with_its_last_handle_and_the_threads_that_kept_one() {
        const CALLS: u32 = 1000;
        let before = DROPPED.load(Relaxed);
        std::thread::spawn(|| {
            // A call after the other counts no reference,
            let one = Handle::new(Upstream { number: 1 });
            drop(one.clone());
            assert_eq!(count(&one), 2);
            for _ in 0..CALLS {
                let call = one.clone();
                assert_eq!((call.number, count(&one)), (1, 2));
            }
            // calls at the same time leave no more than their places,
            drop((0..CALLS).map(|_| one.clone()).collect::<Vec<_>>());
            assert_eq!(count(&one), 1 + WAYS);
            // and a handle is never to something else.
            let others: Vec<_> = (0..CALLS).map(|number| Handle::new(Upstream { number })).collect();
            for _ in 0..3 {
                assert!(others.iter().zip(0..).all(|(other, number)| other.clone().number == number));
            }
            drop((one, others));
            std::thread::spawn(|| drop(Handle::new(Upstream { number: 2 }).clone())).join().unwrap();
        })
        .join()
        .unwrap();
        assert_eq!(DROPPED.load(Relaxed) - before, CALLS as usize + 2);
    }
}
