//! The primitives for loom models: loom's atomics and locks, and substitutes for the types that loom lacks.
//!
//! A substitute guarantees no more than the real type, above all in memory ordering.

use std::hash::{BuildHasherDefault, DefaultHasher};
use std::sync::Arc;

pub(crate) use loom::sync::{Mutex, MutexGuard, atomic};

use self::atomic::AtomicUsize;
use self::atomic::Ordering::{Acquire, Release};

/// loom needs determinism, so maps use a fixed hash seed.
pub(crate) type RandomState = BuildHasherDefault<DefaultHasher>;

/// Runs `one` and `two` on two threads, in every order that loom finds, and checks their results with `holds`.
///
/// `set_up` makes the value that both threads share. The function runs two models; in the second, `one` and `two`
/// have swapped threads. One model alone misses some orders, because loom explores only orders that differ in the
/// last access to an atomic or a lock.
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

/// A load sees everything that was done before the store of the loaded value. No other accesses are ordered.
pub(crate) struct ArcSwap<T> {
    current: AtomicUsize,
    /// Every value stored so far. The lock is `std`'s, because the list is not part of the model.
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

// ===== oneshot =====

pub(crate) mod oneshot {
    use std::pin::Pin;
    use std::task::{Context, Poll};

    use super::{Arc, Mutex};

    /// The state of a channel. No model waits for a value, so there is no waker.
    #[derive(Debug)]
    enum Way<T> {
        Open,
        Sent(T),
        Closed,
    }

    #[derive(Debug)]
    pub(crate) struct Sender<T>(Arc<Mutex<Way<T>>>);

    #[derive(Debug)]
    pub(crate) struct Receiver<T>(Arc<Mutex<Way<T>>>);

    pub(crate) fn channel<T>() -> (Sender<T>, Receiver<T>) {
        let way = Arc::new(Mutex::new(Way::Open));
        (Sender(Arc::clone(&way)), Receiver(way))
    }

    impl<T> Sender<T> {
        pub(crate) fn send(self, value: T) -> Result<(), T> {
            let mut way = self.0.lock().unwrap();
            if matches!(*way, Way::Closed) {
                return Err(value);
            }
            *way = Way::Sent(value);
            Ok(())
        }
    }

    impl<T> Receiver<T> {
        /// Closes the channel. A value that was sent earlier can be received afterwards.
        pub(crate) fn close(&mut self) {
            let mut way = self.0.lock().unwrap();
            if matches!(*way, Way::Open) {
                *way = Way::Closed;
            }
        }

        pub(crate) fn try_recv(&mut self) -> Result<T, ()> {
            let mut way = self.0.lock().unwrap();
            match std::mem::replace(&mut *way, Way::Closed) {
                Way::Sent(value) => Ok(value),
                nothing => {
                    *way = nothing;
                    Err(())
                }
            }
        }
    }

    impl<T> Drop for Receiver<T> {
        fn drop(&mut self) {
            self.close();
            let _unwanted = self.try_recv();
        }
    }

    impl<T> Future for Receiver<T> {
        type Output = Result<T, ()>;

        fn poll(mut self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<Self::Output> {
            Poll::Ready(self.try_recv())
        }
    }
}

// ===== watch =====

pub(crate) mod watch {
    use super::{Arc, Mutex, MutexGuard};

    /// Holds the latest value under a lock, as in tokio. No model waits for a change.
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

        #[allow(clippy::unused_async)]
        pub(crate) async fn changed(&mut self) -> Result<(), ()> {
            std::future::pending().await
        }
    }
}
