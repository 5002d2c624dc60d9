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
use crate::last_known_good::entry::unix_nanos::UnixNanos;
use crate::last_known_good::policy::key::{Key, upstream_of};
use crate::last_known_good::tier::store::Store;

pub(crate) type BoxFuture<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// When a wait has to end at the latest; `None` is never.
pub(crate) type Deadline = Option<Instant>;

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
    holds_private_entries: bool,
    /// When something was forgotten of which the store could not be told, by the hash of its tombstone: it may still have it.
    pending_tombstones: Cache<u64, UnixNanos>,
    /// When the store was last told that something was forgotten, and of nothing new since.
    written_tombstones: Cache<u64, UnixNanos>,
}

impl BoundedStore {
    pub(crate) fn new(store: impl Store) -> Self {
        const MAX_TOMBSTONES: u64 = 10_000;
        let new_cache =
            || Cache::builder().max_capacity(MAX_TOMBSTONES).eviction_policy(EvictionPolicy::lru()).build();
        Self {
            store: Box::new(store),
            timeout: Duration::ZERO,
            failures: AtomicU64::new(0),
            holds_private_entries: false,
            pending_tombstones: new_cache(),
            written_tombstones: new_cache(),
        }
    }

    /// Nobody waits for it for longer than that.
    pub(crate) fn timeout_after(self, timeout: Duration) -> Self {
        Self { timeout, ..self }
    }

    /// It is told of what is kept for somebody, or it is not.
    pub(crate) fn holds_private(self, shared: bool) -> Self {
        Self { holds_private_entries: shared, ..self }
    }

    /// Whether it is told of what is kept for this key.
    pub(crate) const fn may_hold(&self, key: &Key) -> bool {
        self.holds_private_entries || key.partition().is_none()
    }

    /// Something is forgotten, and the store is about to be told.
    pub(crate) fn add_pending_tombstone(&self, hash: u64, at: UnixNanos) {
        self.pending_tombstones.insert(hash, at);
    }

    /// The store was told.
    pub(crate) fn add_written_tombstone(&self, hash: u64, at: UnixNanos) {
        self.written_tombstones.insert(hash, at);
        if self.pending_tombstones.get(&hash) == Some(at) {
            self.pending_tombstones.invalidate(&hash);
        }
    }

    /// Whether the store has known since that moment, and of nothing new.
    pub(crate) fn has_tombstone_since(&self, hash: u64, moment: UnixNanos) -> bool {
        self.written_tombstones.get(&hash).is_some_and(|at| at > moment)
    }

    /// The store is told of something new.
    pub(crate) fn entries_were_written(&self, hash: u64) {
        self.written_tombstones.invalidate(&hash);
    }

    /// When something was last forgotten of which the store could not be told.
    pub(crate) fn pending_tombstone_at(&self, hash: u64) -> UnixNanos {
        self.pending_tombstones.get(&hash).unwrap_or_default()
    }

    /// How long a call waits for it at most.
    pub(crate) const fn timeout(&self) -> Duration {
        self.timeout
    }

    /// When whatever begins now has to end.
    pub(crate) fn end(&self, deadline: Deadline) -> Deadline {
        clock::earliest(clock::after(Instant::now(), self.timeout), deadline)
    }

    pub(crate) fn failures(&self) -> u64 {
        self.failures.load(Ordering::Relaxed)
    }

    /// What there is; nothing, if that cannot be found out by then.
    pub(crate) async fn get(&self, key: &str, end: Deadline) -> Option<Bytes> {
        self.within(end, key, self.store.get(key)).await.flatten()
    }

    /// Whether it was put there by then.
    pub(crate) async fn put(&self, key: &str, value: Bytes, keep_for: Duration, end: Deadline) -> bool {
        self.within(end, key, self.store.put(key, value, keep_for)).await.is_some()
    }

    async fn within<T>(&self, end: Deadline, key: &str, mut answer: Answer<'_, T>) -> Option<T> {
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
