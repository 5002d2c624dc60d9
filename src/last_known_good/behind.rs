//! The store behind the memory, as the calls see it: never for longer than its bound, and never failing.

use std::fmt;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use tokio::time::{Instant, timeout_at};

use super::Store;
use crate::poll::apart;
use crate::{BoxError, deadline};

pub(super) type BoxFuture<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// When a wait has to end at the latest; `None` is never.
pub(super) type Until = Option<Instant>;

/// A store of any type.
trait AnyStore: Send + Sync {
    fn get<'a>(&'a self, key: &'a str) -> Answer<'a, Option<Bytes>>;
    fn put<'a>(&'a self, key: &'a str, value: Bytes, keep_for: Duration) -> Answer<'a, ()>;
}

type Answer<'a, T> = Pin<Box<dyn Future<Output = Result<T, BoxError>> + Send + 'a>>;

impl<S: Store> AnyStore for S {
    fn get<'a>(&'a self, key: &'a str) -> Answer<'a, Option<Bytes>> {
        Box::pin(Store::get(self, key))
    }

    fn put<'a>(&'a self, key: &'a str, value: Bytes, keep_for: Duration) -> Answer<'a, ()> {
        Box::pin(Store::put(self, key, value, keep_for))
    }
}

pub(super) struct Behind {
    store: Box<dyn AnyStore>,
    timeout: Duration,
    failures: AtomicU64,
}

impl Behind {
    pub(super) fn new(store: impl Store) -> Self {
        Self { store: Box::new(store), timeout: Duration::ZERO, failures: AtomicU64::new(0) }
    }

    /// Nobody waits for it for longer than that.
    pub(super) fn timeout_after(self, timeout: Duration) -> Self {
        Self { timeout, ..self }
    }

    /// How long a call waits for it at most.
    pub(super) const fn timeout(&self) -> Duration {
        self.timeout
    }

    /// When whatever begins now has to end.
    pub(super) fn end(&self, until: Until) -> Until {
        deadline::earliest(deadline::after(Instant::now(), self.timeout), until)
    }

    pub(super) fn failures(&self) -> u64 {
        self.failures.load(Ordering::Relaxed)
    }

    /// What there is; nothing, if that cannot be found out by then.
    pub(super) async fn get(&self, key: &str, end: Until) -> Option<Bytes> {
        self.within(end, self.store.get(key)).await.flatten()
    }

    /// Puts it there, if that can be done by then.
    pub(super) async fn put(&self, key: &str, value: Bytes, keep_for: Duration, end: Until) {
        self.within(end, self.store.put(key, value, keep_for)).await;
    }

    async fn within<T>(&self, end: Until, mut answer: Answer<'_, T>) -> Option<T> {
        // A store may be made of layers, too.
        let answer = poll_fn(move |cx| apart(|| answer.as_mut().poll(cx)));
        let answer = match end {
            Some(end) => timeout_at(end, answer).await.unwrap_or_else(|elapsed| Err(elapsed.into())),
            None => answer.await,
        };
        answer
            .inspect_err(|error| {
                self.failures.fetch_add(1, Ordering::Relaxed);
                tracing::debug!(target: "steadfast::last_known_good", %error, "the store could not be used");
            })
            .ok()
    }
}

impl fmt::Debug for Behind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Behind")
            .field("timeout", &self.timeout)
            .field("failures", &self.failures())
            .finish_non_exhaustive()
    }
}
