//! Where last known good responses live: memory.

use std::fmt;
use std::hash::RandomState;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use moka::policy::EvictionPolicy;
use moka::sync::Cache;
use tokio::time::Instant;

use super::entry::Entry;
use super::key::Key;
use crate::ConfigError;
use crate::http::HttpRequest;

/// Last known good responses in memory, bounded in bytes; the least recently used go first.
///
/// A clone is another handle to the same store. Share one only between clients that send the same to the same: what
/// reqwest adds to a request by itself, by `default_headers` or from a cookie jar, is not seen here, and whoever shares
/// the store shares the answers.
///
/// Default: 64 MiB.
///
/// ```
/// use steadfast::last_known_good::{LastKnownGoodLayer, MemoryStore};
///
/// let store = MemoryStore::builder().max_bytes(16 * 1024 * 1024).build()?;
/// let layer = LastKnownGoodLayer::new(store.clone());
/// assert_eq!(store.bytes(), 0);
/// # Ok::<(), steadfast::ConfigError>(())
/// ```
#[derive(Clone)]
pub struct MemoryStore(Arc<Shared>);

struct Shared {
    entries: Cache<Key, Arc<Entry>>,
    hasher: RandomState,
    removals: Removals,
    /// Moves on after each insertion, with the evictions that it causes, and each removal: while it stands still, what
    /// was found is still there.
    changes: AtomicU64,
}

/// What there was for a key.
pub(super) struct Found {
    pub(super) entry: Option<Arc<Entry>>,
    changes: u64,
}

impl Found {
    /// The body that there was; empty if there was none.
    pub(super) fn body(&self) -> &Bytes {
        static NONE: Bytes = Bytes::new();
        self.entry.as_ref().map_or(&NONE, |entry| entry.body())
    }
}

impl MemoryStore {
    /// A builder that starts from the default.
    pub const fn builder() -> MemoryStoreBuilder {
        MemoryStoreBuilder { max_bytes: 64 * 1024 * 1024 }
    }

    /// How many responses there are.
    pub fn len(&self) -> u64 {
        // moka counts a removal when it gets round to it.
        self.0.entries.run_pending_tasks();
        self.0.entries.entry_count()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many bytes they take, near enough.
    pub fn bytes(&self) -> u64 {
        self.0.entries.run_pending_tasks();
        self.0.entries.weighted_size()
    }

    /// What a request is known by here.
    pub(super) fn key(&self, request: &impl HttpRequest) -> Key {
        Key::new(request, &self.0.hasher)
    }

    pub(super) fn find(&self, key: &Key) -> Found {
        // The count goes first: what changes in between is then looked for again.
        let changes = self.0.changes.load(Ordering::Acquire);
        Found { entry: self.0.entries.get(key), changes }
    }

    /// Changes when a key is removed: what was asked for before is then not to be kept.
    pub(super) fn version(&self, key: &Key) -> u64 {
        self.0.removals.of(key).load(Ordering::Acquire)
    }

    /// Keeps an answer that was given at `given_at` to a call that began when the key had this version, unless the key
    /// was removed since or has a newer answer. `found` is what there was meanwhile, and may be the entry itself: then
    /// nothing but its age changes.
    pub(super) fn keep(&self, key: &Key, version: u64, found: Found, entry: &Arc<Entry>, given_at: Instant) {
        if self.version(key) != version {
            return;
        }
        let unchanged = self.0.changes.load(Ordering::Acquire) == found.changes;
        let current = if unchanged { found.entry } else { self.0.entries.get(key) };
        if current.as_ref().is_some_and(|current| current.is_newer_than(given_at)) {
            return;
        }
        entry.renew(given_at);
        if current.is_none_or(|current| !Arc::ptr_eq(&current, entry)) {
            self.insert(key, version, Arc::clone(entry));
        }
    }

    fn insert(&self, key: &Key, version: u64, entry: Arc<Entry>) {
        self.0.entries.insert(key.clone(), entry);
        self.0.changes.fetch_add(1, Ordering::AcqRel);
        if self.version(key) != version {
            // Removed meanwhile: at worst, what is newer goes too.
            self.0.entries.invalidate(key);
        }
        // moka puts evictions off; a bound in bytes that many large bodies can overrun meanwhile is none.
        self.0.entries.run_pending_tasks();
        // What it evicted is gone too.
        self.0.changes.fetch_add(1, Ordering::AcqRel);
    }

    /// Forgets what is kept for a URI, whichever of the methods it was asked for with.
    pub(super) fn remove(&self, key: &Key) {
        self.0.removals.of(key).fetch_add(1, Ordering::AcqRel);
        self.0.entries.invalidate(key);
        self.0.entries.invalidate(&key.sibling());
        self.0.changes.fetch_add(1, Ordering::AcqRel);
    }
}

/// Counts removals, by the hash of the URI. Two that share a count keep each other's answers from being stored now and
/// then, and there are enough of them that this is rare; an old answer is never let in.
struct Removals(Box<[AtomicU64]>);

impl Removals {
    const COUNTS: usize = 4096;

    #[allow(clippy::cast_possible_truncation)]
    fn of(&self, key: &Key) -> &AtomicU64 {
        &self.0[key.hash() as usize % Self::COUNTS]
    }
}

impl Default for Removals {
    fn default() -> Self {
        Self((0..Self::COUNTS).map(|_| AtomicU64::new(0)).collect())
    }
}

impl Default for MemoryStore {
    fn default() -> Self {
        Self::builder().build().expect("the default is valid")
    }
}

impl fmt::Debug for MemoryStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryStore").field("len", &self.len()).field("bytes", &self.bytes()).finish()
    }
}

/// Configures a [`MemoryStore`].
#[derive(Debug, Clone, Copy)]
pub struct MemoryStoreBuilder {
    max_bytes: u64,
}

impl MemoryStoreBuilder {
    /// How many bytes of responses are kept: 1 KiB to 1 TiB. Default 64 MiB.
    pub const fn max_bytes(mut self, bytes: u64) -> Self {
        self.max_bytes = bytes;
        self
    }

    /// The store, empty.
    pub fn build(self) -> Result<MemoryStore, ConfigError> {
        ConfigError::check("last_known_good.max_bytes", self.max_bytes, 1024..=1 << 40)?;
        let entries = Cache::builder()
            .max_capacity(self.max_bytes)
            // TinyLFU refuses new keys when it is full, and those are what an outage will be asked for.
            .eviction_policy(EvictionPolicy::lru())
            .weigher(|key: &Key, entry: &Arc<Entry>| {
                (key.weight() + entry.weight()).try_into().unwrap_or(u32::MAX)
            })
            .build();
        Ok(MemoryStore(Arc::new(Shared {
            entries,
            hasher: RandomState::new(),
            removals: Removals::default(),
            changes: AtomicU64::new(0),
        })))
    }
}
