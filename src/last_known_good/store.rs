//! Where last known good responses live: memory.

use std::fmt;
use std::hash::{BuildHasher as _, RandomState};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use moka::policy::EvictionPolicy;
use moka::sync::Cache;

use super::entry::Entry;
use super::key::Key;
use crate::ConfigError;

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
pub struct MemoryStore {
    entries: Cache<Key, Arc<Entry>>,
    removals: Arc<Removals>,
}

impl MemoryStore {
    /// A builder that starts from the default.
    pub const fn builder() -> MemoryStoreBuilder {
        MemoryStoreBuilder { max_bytes: 64 * 1024 * 1024 }
    }

    /// How many responses there are.
    pub fn len(&self) -> u64 {
        // moka counts a removal when it gets round to it.
        self.entries.run_pending_tasks();
        self.entries.entry_count()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many bytes they take, near enough.
    pub fn bytes(&self) -> u64 {
        self.entries.run_pending_tasks();
        self.entries.weighted_size()
    }

    pub(super) fn get(&self, key: &Key) -> Option<Arc<Entry>> {
        self.entries.get(key)
    }

    /// Changes when a key is removed: what was asked for before is then not to be inserted.
    pub(super) fn version(&self, key: &Key) -> u64 {
        self.removals.of(key).load(Ordering::Acquire)
    }

    /// Stores what was asked for when the key had this version, unless it was removed since.
    pub(super) fn insert(&self, key: &Key, version: u64, entry: Entry) {
        if self.version(key) != version {
            return;
        }
        self.entries.insert(key.clone(), Arc::new(entry));
        if self.version(key) != version {
            // Removed meanwhile: at worst, what is newer goes too.
            self.entries.invalidate(key);
        }
        // moka puts evictions off; a bound in bytes that many large bodies can overrun meanwhile is none.
        self.entries.run_pending_tasks();
    }

    /// Forgets what is kept for a URI, whichever of the methods it was asked for with.
    pub(super) fn remove(&self, key: &Key) {
        self.removals.of(key).fetch_add(1, Ordering::AcqRel);
        self.entries.invalidate(key);
        self.entries.invalidate(&key.sibling());
    }
}

/// Counts removals, by the hash of the URI. Two that share a count keep each other's answers from being stored now and
/// then, and there are enough of them that this is rare; an old answer is never let in.
struct Removals {
    hasher: RandomState,
    counts: Box<[AtomicU64]>,
}

impl Removals {
    const COUNTS: usize = 4096;

    #[allow(clippy::cast_possible_truncation)]
    fn of(&self, key: &Key) -> &AtomicU64 {
        &self.counts[self.hasher.hash_one(key.target()) as usize % Self::COUNTS]
    }
}

impl Default for Removals {
    fn default() -> Self {
        let counts = (0..Self::COUNTS).map(|_| AtomicU64::new(0)).collect();
        Self { hasher: RandomState::new(), counts }
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
                (key.uri().len() + entry.weight()).try_into().unwrap_or(u32::MAX)
            })
            .build();
        Ok(MemoryStore { entries, removals: Arc::default() })
    }
}
