//! The store behind the memory, as the calls see it: never for longer than its bound, and never failing.

use std::fmt;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use moka::policy::EvictionPolicy;
use moka::sync::Cache;
use tokio::time::{Instant, timeout_at};

use crate::BoxError;
use crate::internal::clock;
use crate::internal::signals::isolated;
use crate::last_known_good::Store;
use crate::last_known_good::entry::unix_nanos::UnixNanos;
use crate::last_known_good::policy::key::{Key, upstream_of};

pub(crate) type BoxFuture<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// When a wait has to end at the latest; `None` is never.
pub(crate) type Until = Option<Instant>;

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

pub(crate) struct BoundedStore {
    store: Box<dyn AnyStore>,
    timeout: Duration,
    failures: AtomicU64,
    /// Whether others can find what is kept for somebody: they digest credentials with the same key.
    is_shared_with_somebodys: bool,
    /// When something was forgotten of which the store could not be told, by the hash of its note: it may still have it.
    untold: Cache<u64, UnixNanos>,
    /// When the store was last told that something was forgotten, and of nothing new since.
    told: Cache<u64, UnixNanos>,
}

impl BoundedStore {
    pub(crate) fn new(store: impl Store) -> Self {
        const MOST_NOTES: u64 = 10_000;
        let notes =
            || Cache::builder().max_capacity(MOST_NOTES).eviction_policy(EvictionPolicy::lru()).build();
        Self {
            store: Box::new(store),
            timeout: Duration::ZERO,
            failures: AtomicU64::new(0),
            is_shared_with_somebodys: false,
            untold: notes(),
            told: notes(),
        }
    }

    /// Nobody waits for it for longer than that.
    pub(crate) fn timeout_after(self, timeout: Duration) -> Self {
        Self { timeout, ..self }
    }

    /// It is told of what is kept for somebody, or it is not.
    pub(crate) fn shared_with_somebodys(self, shared: bool) -> Self {
        Self { is_shared_with_somebodys: shared, ..self }
    }

    /// Whether it is told of what is kept for this key.
    pub(crate) const fn may_know(&self, key: &Key) -> bool {
        self.is_shared_with_somebodys || key.partition().is_none()
    }

    /// Something is forgotten, and the store is about to be told.
    pub(crate) fn has_yet_to_know_gone(&self, note: u64, at: UnixNanos) {
        self.untold.insert(note, at);
    }

    /// The store was told.
    pub(crate) fn knows_gone(&self, note: u64, at: UnixNanos) {
        self.told.insert(note, at);
        if self.untold.get(&note) == Some(at) {
            self.untold.invalidate(&note);
        }
    }

    /// Whether the store has known since that moment, and of nothing new.
    pub(crate) fn has_known_gone_since(&self, note: u64, moment: UnixNanos) -> bool {
        self.told.get(&note).is_some_and(|told| told > moment)
    }

    /// The store is told of something new.
    pub(crate) fn knows_more(&self, note: u64) {
        self.told.invalidate(&note);
    }

    /// When something was last forgotten of which the store could not be told.
    pub(crate) fn unknown_gone_at(&self, note: u64) -> UnixNanos {
        self.untold.get(&note).unwrap_or_default()
    }

    /// How long a call waits for it at most.
    pub(crate) const fn timeout(&self) -> Duration {
        self.timeout
    }

    /// When whatever begins now has to end.
    pub(crate) fn end(&self, until: Until) -> Until {
        clock::earliest(clock::after(Instant::now(), self.timeout), until)
    }

    pub(crate) fn failures(&self) -> u64 {
        self.failures.load(Ordering::Relaxed)
    }

    /// What there is; nothing, if that cannot be found out by then.
    pub(crate) async fn get(&self, key: &str, end: Until) -> Option<Bytes> {
        self.within(end, key, self.store.get(key)).await.flatten()
    }

    /// Whether it was put there by then.
    pub(crate) async fn put(&self, key: &str, value: Bytes, keep_for: Duration, end: Until) -> bool {
        self.within(end, key, self.store.put(key, value, keep_for)).await.is_some()
    }

    async fn within<T>(&self, end: Until, key: &str, mut answer: Answer<'_, T>) -> Option<T> {
        // A store may be made of layers, too.
        let answer = poll_fn(move |cx| isolated(|| answer.as_mut().poll(cx)));
        let answer = match end {
            Some(end) => timeout_at(end, answer).await.unwrap_or_else(|elapsed| Err(elapsed.into())),
            None => answer.await,
        };
        answer
            .inspect_err(|error| {
                self.failures.fetch_add(1, Ordering::Relaxed);
                tracing::debug!(
                    target: "steadfast::last_known_good",
                    upstream = upstream_of(key),
                    %error,
                    "the store could not be used"
                );
            })
            .ok()
    }
}

impl fmt::Debug for BoundedStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BoundedStore")
            .field("timeout", &self.timeout)
            .field("failures", &self.failures())
            .finish_non_exhaustive()
    }
}
