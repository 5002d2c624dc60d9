//! Stores help during an outage. They supply entries to a restarted process or a new replica, whose last-known-good
//! cache is empty at first.
//!
//! In a store behind the memory of a [`LastKnownGood`](crate::last_known_good::LastKnownGood) cache, entries outlive
//! the process, or are shared by several caches. Each store implements the trait
//! [`Store`](crate::last_known_good::Store), which has two methods.
//!
//! | store | entries outlive | feature |
//! |---|---|---|
//! | [`MemoryStore`] | the cache, but not the process | |
//! | `DiskStore` | a restart | `disk` |
//! | `RedisStore` | a restart, and are shared by replicas | `redis` |
//!
//! ```
//! use steadfast::last_known_good::LastKnownGood;
//! use steadfast::stores::MemoryStore;
//!
//! let store = MemoryStore::new(16 * 1024 * 1024)?; // bytes
//! let cache = LastKnownGood::builder().store(store).build()?;
//! # Ok::<(), steadfast::ConfigError>(())
//! ```

#[cfg(feature = "disk")]
mod disk;
mod memory;
#[cfg(feature = "redis")]
mod redis;

#[cfg(feature = "disk")]
pub use self::disk::{DiskStore, DiskStoreBuilder, DiskStoreError};
pub use self::memory::MemoryStore;
#[cfg(feature = "redis")]
pub use self::redis::{RedisStore, RedisStoreBuilder};
