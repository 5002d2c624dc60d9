//! A store in the memory of this process, shared by several caches or used in tests.

use std::fmt;
use std::time::Duration;

use bytes::Bytes;
use moka::policy::EvictionPolicy;
use moka::sync::Cache;
use tokio::time::Instant;

use crate::internal::clock;
use crate::last_known_good::Store;
use crate::{BoxError, ConfigError};

/// A [`Store`] in memory, bounded in bytes. The least recently used entries are evicted first.
///
/// A [`LastKnownGood`](crate::last_known_good::LastKnownGood) cache has a memory of its own. A `MemoryStore` is only
/// needed where several caches of a process share entries, and in tests. A clone is another handle to the same store.
///
/// ```
/// use steadfast::last_known_good::LastKnownGood;
/// use steadfast::stores::MemoryStore;
///
/// let store = MemoryStore::new(16 * 1024 * 1024)?;
/// let one = LastKnownGood::builder().store(store.clone()).build()?;
/// let other = LastKnownGood::builder().store(store).build()?; // finds the entries of `one`
/// # Ok::<(), steadfast::ConfigError>(())
/// ```
#[derive(Clone)]
pub struct MemoryStore(Cache<String, StoredBytes>);

#[derive(Clone)]
struct StoredBytes {
    bytes: Bytes,
    /// The expiry; `None` if it is too far in the future for an `Instant`.
    until: Option<Instant>,
}

impl MemoryStore {
    /// Creates a store of at most `max_bytes` bytes: 1 KiB to 1 TiB.
    ///
    /// # Errors
    ///
    /// Fails if `max_bytes` is out of range.
    pub fn new(max_bytes: u64) -> Result<Self, ConfigError> {
        ConfigError::check("memory_store.max_bytes", max_bytes, 1024..=1 << 40)?;
        let weight =
            |key: &String, value: &StoredBytes| key.len() + value.bytes.len() + size_of::<StoredBytes>();
        Ok(Self(
            Cache::builder()
                .max_capacity(max_bytes)
                .eviction_policy(EvictionPolicy::lru())
                .weigher(move |key, value| weight(key, value).try_into().unwrap_or(u32::MAX))
                .build(),
        ))
    }
}

impl Store for MemoryStore {
    async fn get(&self, key: &str) -> Result<Option<Bytes>, BoxError> {
        let in_time = |value: &StoredBytes| value.until.is_none_or(|until| Instant::now() < until);
        Ok(self.0.get(key).filter(in_time).map(|value| value.bytes))
    }

    async fn put(&self, key: &str, value: Bytes, keep_for: Duration) -> Result<(), BoxError> {
        let until = clock::after(Instant::now(), keep_for);
        self.0.insert(key.to_owned(), StoredBytes { bytes: value, until });
        // moka delays evictions. Evict at once, so that the bound holds.
        self.0.run_pending_tasks();
        Ok(())
    }
}

impl fmt::Debug for MemoryStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryStore").field("len", &self.0.entry_count()).finish_non_exhaustive()
    }
}
