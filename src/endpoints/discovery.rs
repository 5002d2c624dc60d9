//! The stream of changes, polled by calls. No task is needed.
//!
//! A stream has news when its waker was called. A call that sees this polls the stream, and applies the changes. All
//! other calls read one flag. If no endpoint is known, calls wait for the news.

use std::collections::HashMap;
use std::fmt;
use std::pin::Pin;
use std::sync::{Arc, PoisonError, TryLockError};
use std::task::{Context, Poll, Wake, Waker};

use futures_core::Stream;
use pin_project::pin_project;

use crate::BoxError;
use crate::internal::sync::atomic::{
    AtomicBool,
    Ordering::{Acquire, Release},
};

/// A change of the addresses of an upstream, as a discovery reports it.
///
/// ```
/// use steadfast::endpoints::Change;
///
/// let scaled_up = [Change::Insert("10.0.0.1:80"), Change::Insert("10.0.0.2:80")];
/// let replaced = [Change::Insert("10.0.0.3:80"), Change::Remove("10.0.0.1:80")];
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Change<A> {
    /// The upstream has an endpoint at this address. Ignored if the endpoint is known.
    Insert(A),
    /// The endpoint at this address is gone. It gets no new attempts; attempts in flight go on.
    Remove(A),
}

type ChangeStream<A> = Pin<Box<dyn Stream<Item = Result<Change<A>, BoxError>> + Send>>;

/// The most changes that one call takes from the stream. A stream can have changes without end.
const MAX_NEWS: usize = 1024;

/// The stream of changes of one upstream.
pub(super) struct Discovery<A> {
    /// False once the stream has ended.
    is_open: AtomicBool,
    /// `None` once the stream has ended. The lock is `std`'s, because a stream is not part of a loom model.
    stream: std::sync::Mutex<Option<ChangeStream<A>>>,
    news: Arc<DiscoveryWaker>,
}

/// Tells whether the stream has news, and wakes the calls that wait for an endpoint.
struct DiscoveryWaker {
    is_pending: AtomicBool,
    waiting: std::sync::Mutex<WaitingCalls>,
}

/// The calls that wait for an endpoint.
#[derive(Default)]
struct WaitingCalls {
    last: u64,
    wakers: HashMap<u64, Waker>,
}

/// The place of a call among those that wait. The drop gives it back.
pub(super) struct WaitingCall {
    news: Arc<DiscoveryWaker>,
    number: u64,
}

impl<A> Discovery<A> {
    pub(super) fn new(stream: impl Stream<Item = Result<Change<A>, BoxError>> + Send + 'static) -> Self {
        let news = DiscoveryWaker { is_pending: AtomicBool::new(true), waiting: std::sync::Mutex::default() };
        let stream = std::sync::Mutex::new(Some(Box::pin(stream) as ChangeStream<A>));
        Self { is_open: AtomicBool::new(true), stream, news: Arc::new(news) }
    }

    /// True if the stream is to be polled.
    #[inline]
    pub(super) fn has_news(&self) -> bool {
        self.news.is_pending.load(Acquire)
    }

    /// Passes the news of the stream to `apply`, one after the other. If another call does so already, returns at
    /// once.
    #[cold]
    pub(super) fn poll_news(&self, mut apply: impl FnMut(Result<Change<A>, BoxError>)) {
        let mut stream = match self.stream.try_lock() {
            Ok(stream) => stream,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => return,
        };
        self.news.is_pending.store(false, Release);
        let waker = Waker::from(Arc::clone(&self.news));
        let mut context = Context::from_waker(&waker);
        let (mut has_changed, mut waits) = (false, false);
        for _ in 0..MAX_NEWS {
            let Some(open) = stream.as_mut() else { break };
            match open.as_mut().poll_next(&mut context) {
                Poll::Ready(Some(news)) => {
                    apply(news);
                    has_changed = true;
                }
                Poll::Ready(None) => {
                    *stream = None;
                    self.is_open.store(false, Release);
                    has_changed = true;
                }
                Poll::Pending => {
                    waits = true;
                    break;
                }
            }
        }
        if !waits && stream.is_some() {
            self.news.is_pending.store(true, Release);
        }
        drop(stream);
        // A waiting call that has seen the news but not got the lock must look again.
        if has_changed || self.has_news() {
            self.news.wake_waiting();
        }
    }

    /// False if no more changes can come.
    pub(super) fn is_open(&self) -> bool {
        self.is_open.load(Acquire)
    }

    /// Returns a place for a call that waits.
    pub(super) fn wait(&self) -> WaitingCall {
        let mut waiting = self.news.lock();
        waiting.last += 1;
        WaitingCall { news: Arc::clone(&self.news), number: waiting.last }
    }
}

impl DiscoveryWaker {
    fn lock(&self) -> std::sync::MutexGuard<'_, WaitingCalls> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wake_waiting(&self) {
        let wakers = std::mem::take(&mut self.lock().wakers);
        wakers.into_values().for_each(Waker::wake);
    }
}

impl WaitingCall {
    /// Wakes the call when the stream has news, or when another call has applied them.
    pub(super) fn wake_at_news(&self, waker: &Waker) {
        let before = self.news.lock().wakers.insert(self.number, waker.clone());
        // Outside the lock, because the drop of a waker may run foreign code.
        drop(before);
    }
}

impl Drop for WaitingCall {
    fn drop(&mut self) {
        let waker = self.news.lock().wakers.remove(&self.number);
        drop(waker);
    }
}

impl Wake for DiscoveryWaker {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.is_pending.store(true, Release);
        self.wake_waiting();
    }
}

impl<A> fmt::Debug for Discovery<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Discovery").finish_non_exhaustive()
    }
}

/// A stream with boxed errors.
#[pin_project]
pub(super) struct BoxedErrors<D>(#[pin] pub(super) D);

impl<A, D, E> Stream for BoxedErrors<D>
where
    D: Stream<Item = Result<Change<A>, E>>,
    E: Into<BoxError>,
{
    type Item = Result<Change<A>, BoxError>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.project().0.poll_next(cx).map(|news| news.map(|news| news.map_err(Into::into)))
    }
}

/// Returns a stream of addresses that never change. Repeated addresses count once. Without any address, each call is
/// refused with [`ErrorKind::NoEndpoint`](crate::ErrorKind::NoEndpoint).
///
/// ```
/// use steadfast::endpoints::{Endpoints, fixed};
/// # fn connect(address: &str) -> String { address.to_owned() }
///
/// let addresses = fixed(["10.0.0.1:80", "10.0.0.2:80"]);
/// let endpoints = Endpoints::builder().name("sku").build(addresses, |address: &&str| connect(address))?;
/// # Ok::<(), steadfast::ConfigError>(())
/// ```
pub fn fixed<A>(addresses: impl IntoIterator<Item = A>) -> Fixed<A> {
    Fixed(addresses.into_iter().collect::<Vec<_>>().into_iter())
}

/// The stream of [`fixed`].
#[derive(Debug)]
pub struct Fixed<A>(std::vec::IntoIter<A>);

impl<A> Unpin for Fixed<A> {}

impl<A> Stream for Fixed<A> {
    type Item = Result<Change<A>, BoxError>;

    fn poll_next(mut self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        Poll::Ready(self.0.next().map(|address| Ok(Change::Insert(address))))
    }
}
