//! The store as calls see it: bounded in time and infallible.
//!
//! A store is an optional second tier, so a call must neither fail nor hang because of the store. Each operation is
//! bounded by a time limit and by the deadline of the call. A failure is counted and logged. A failed read counts as
//! an absent value.
//!
//! [`BoundedStore`] also remembers the times of two kinds of tombstones. Pending tombstones are not in the store yet.
//! Written tombstones need not be written again as long as they are current.

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
use crate::internal::signals::isolated;
use crate::internal::{clock, log_events};
use crate::last_known_good::entry::unix_nanos::UnixNanos;
use crate::last_known_good::policy::key::{Key, upstream_of};
use crate::last_known_good::tier::store::Store;

pub(crate) type BoxFuture<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// The latest time at which a wait ends; `None` for an unbounded wait.
pub(crate) type WaitEnd = Option<Instant>;

/// The object-safe form of [`Store`].
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
    /// True if private entries are written, too. This needs a configured digest key, with which other processes can
    /// compute the names of private entries.
    holds_private_entries: bool,
    /// The times of invalidations whose tombstones are not in the store yet, by the hash of the tombstone. The store
    /// may have the invalidated entries. The number of tombstones is bounded; the least recently used are lost first.
    pending_tombstones: Cache<u64, UnixNanos>,
    /// The times of tombstones that were written and are current. A tombstone is current until an entry that it
    /// concerns is written.
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

    /// Sets the time limit of an operation.
    pub(crate) fn timeout_after(self, timeout: Duration) -> Self {
        Self { timeout, ..self }
    }

    /// Sets whether private entries are written.
    pub(crate) fn holds_private(self, holds: bool) -> Self {
        Self { holds_private_entries: holds, ..self }
    }

    /// True if entries of this key may be written.
    pub(crate) const fn may_hold(&self, key: &Key) -> bool {
        self.holds_private_entries || key.partition().is_none()
    }

    /// Records an invalidation whose tombstone is about to be written.
    pub(crate) fn add_pending_tombstone(&self, hash: u64, at: UnixNanos) {
        self.pending_tombstones.insert(hash, at);
    }

    /// Records that a tombstone was written. A newer pending tombstone stays pending.
    pub(crate) fn add_written_tombstone(&self, hash: u64, at: UnixNanos) {
        self.written_tombstones.insert(hash, at);
        if self.pending_tombstones.get(&hash) == Some(at) {
            self.pending_tombstones.invalidate(&hash);
        }
    }

    /// True if a tombstone with a time after `moment` was written and is current.
    pub(crate) fn has_tombstone_since(&self, hash: u64, moment: UnixNanos) -> bool {
        self.written_tombstones.get(&hash).is_some_and(|at| at > moment)
    }

    /// Records that entries are about to be written, so that the next invalidation writes a new tombstone.
    pub(crate) fn remove_written_tombstone(&self, hash: u64) {
        self.written_tombstones.invalidate(&hash);
    }

    /// The time of the pending tombstone; zero if none is pending.
    pub(crate) fn pending_tombstone_at(&self, hash: u64) -> UnixNanos {
        self.pending_tombstones.get(&hash).unwrap_or_default()
    }

    /// The time limit of an operation.
    pub(crate) const fn timeout(&self) -> Duration {
        self.timeout
    }

    /// Returns the time by which an operation must have ended if it begins now.
    pub(crate) fn end(&self, deadline: WaitEnd) -> WaitEnd {
        clock::earliest(clock::after(Instant::now(), self.timeout), deadline)
    }

    pub(crate) fn failures(&self) -> u64 {
        self.failures.load(Ordering::Relaxed)
    }

    /// Returns the value; `None` if the value is absent, the store fails, or no answer arrives by `end`.
    pub(crate) async fn get(&self, key: &str, end: WaitEnd) -> Option<Bytes> {
        self.within(end, key, self.store.get(key)).await.flatten()
    }

    /// Returns true if the value was stored by `end`.
    pub(crate) async fn put(&self, key: &str, value: Bytes, keep_for: Duration, end: WaitEnd) -> bool {
        self.within(end, key, self.store.put(key, value, keep_for)).await.is_some()
    }

    async fn within<T>(&self, end: WaitEnd, key: &str, mut answer: Answer<'_, T>) -> Option<T> {
        // A store may itself use the layers of this crate. Their thread-local signals are not about this call, so
        // `isolated` discards them.
        let answer = poll_fn(move |cx| isolated(|| answer.as_mut().poll(cx)));
        let answer = match end {
            Some(end) => timeout_at(end, answer).await.unwrap_or_else(|elapsed| Err(elapsed.into())),
            None => answer.await,
        };
        answer
            .inspect_err(|error| {
                self.failures.fetch_add(1, Ordering::Relaxed);
                log_events::store_failed(upstream_of(key), error);
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
