//! What the models run on: loom's atomics and locks, and stand-ins for what loom does not know.
//!
//! A stand-in promises as little as the real thing does, and orders memory no more than it.

use std::hash::{BuildHasherDefault, DefaultHasher};
use std::sync::Arc;

pub(crate) use loom::sync::{Mutex, MutexGuard, atomic};

use self::atomic::AtomicUsize;
use self::atomic::Ordering::{AcqRel, Acquire, Release};

/// A model has to do the same each time, and what a map is walked in the order of is chance otherwise.
pub(crate) type RandomState = BuildHasherDefault<DefaultHasher>;

/// What must hold of what `set_up` makes once `one` and `two` have been done to it by two threads, in any order.
///
/// Each of the two goes first once: loom looks for the orders that differ by the last access to a word only, and does
/// not find all of them from one side.
pub(crate) fn race<S: 'static, A: 'static, B: 'static>(
    set_up: impl Fn() -> S + Send + Sync + Copy + 'static,
    one: impl Fn(&S) -> A + Send + Sync + Copy + 'static,
    two: impl Fn(&S) -> B + Send + Sync + Copy + 'static,
    holds: impl Fn(&S, A, B) + Send + Sync + Copy + 'static,
) {
    loom::model(move || {
        let (shared, one, two) = in_order(set_up(), one, two);
        holds(&shared, one, two);
    });
    loom::model(move || {
        let (shared, two, one) = in_order(set_up(), two, one);
        holds(&shared, one, two);
    });
}

fn in_order<S: 'static, A, B: 'static>(
    shared: S,
    first: impl FnOnce(&S) -> A,
    second: impl FnOnce(&S) -> B + 'static,
) -> (Arc<S>, A, B) {
    let shared = Arc::new(shared);
    let second = loom::thread::spawn({
        let shared = Arc::clone(&shared);
        move || second(&shared)
    });
    let first = first(&shared);
    (shared, first, second.join().unwrap())
}

// ===== ArcSwap =====

/// Who loads a value sees what was done before it was stored; nothing else is ordered.
pub(crate) struct ArcSwap<T> {
    current: AtomicUsize,
    /// Every value so far. Of `std`, since it is no part of what is modelled.
    stored: std::sync::Mutex<Vec<Arc<T>>>,
}

impl<T> ArcSwap<T> {
    pub(crate) fn from_pointee(value: T) -> Self {
        Self { current: AtomicUsize::new(0), stored: std::sync::Mutex::new(vec![value.into()]) }
    }

    pub(crate) fn load(&self) -> Arc<T> {
        let current = self.current.load(Acquire);
        self.stored.lock().unwrap()[current].clone()
    }

    pub(crate) fn store(&self, value: Arc<T>) {
        let mut stored = self.stored.lock().unwrap();
        stored.push(value);
        let last = stored.len() - 1;
        drop(stored);
        self.current.store(last, Release);
    }
}

// ===== Semaphore =====

/// The count of free permits, with the orderings of tokio's. In a model nobody waits for one.
#[derive(Debug)]
pub(crate) struct Semaphore(AtomicUsize);

/// A permit that goes back unless it is forgotten.
#[derive(Debug)]
pub(crate) struct SemaphorePermit<'a>(&'a Semaphore);

impl Semaphore {
    pub(crate) fn new(permits: usize) -> Self {
        Self(AtomicUsize::new(permits))
    }

    pub(crate) fn available_permits(&self) -> usize {
        self.0.load(Acquire)
    }

    pub(crate) fn try_acquire(&self) -> Result<SemaphorePermit<'_>, ()> {
        let taken = self.0.fetch_update(AcqRel, Acquire, |free| free.checked_sub(1));
        taken.map(|_| SemaphorePermit(self)).map_err(drop)
    }

    pub(crate) fn acquire(&self) -> impl Future<Output = Result<SemaphorePermit<'_>, ()>> {
        std::future::ready(self.try_acquire())
    }

    pub(crate) fn add_permits(&self, permits: usize) {
        self.0.fetch_add(permits, Release);
    }

    /// Writes the count even if there is nothing to take.
    pub(crate) fn forget_permits(&self, permits: usize) -> usize {
        let taken = self.0.fetch_update(AcqRel, Acquire, |free| Some(free.saturating_sub(permits)));
        taken.unwrap_or_default().min(permits)
    }
}

impl SemaphorePermit<'_> {
    pub(crate) fn forget(self) {
        std::mem::forget(self);
    }
}

impl Drop for SemaphorePermit<'_> {
    fn drop(&mut self) {
        self.0.add_permits(1);
    }
}

// ===== watch =====

pub(crate) mod watch {
    use super::{Arc, Mutex, MutexGuard};

    /// The last value, under a lock, as in tokio. In a model nobody waits for the next.
    pub(crate) struct Sender<T>(Arc<Mutex<T>>);

    #[derive(Debug)]
    pub struct Receiver<T>(Arc<Mutex<T>>);

    impl<T> Sender<T> {
        pub(crate) fn new(value: T) -> Self {
            Self(Arc::new(Mutex::new(value)))
        }

        pub(crate) fn subscribe(&self) -> Receiver<T> {
            Receiver(Arc::clone(&self.0))
        }

        pub(crate) fn send_if_modified(&self, modify: impl FnOnce(&mut T) -> bool) -> bool {
            modify(&mut self.0.lock().unwrap())
        }
    }

    impl<T> Receiver<T> {
        pub(crate) fn borrow(&self) -> MutexGuard<'_, T> {
            self.0.lock().unwrap()
        }
    }
}
