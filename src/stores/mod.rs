//! Stores: a process that restarts during an outage has an empty last-known-good cache, and so has a new replica.
//!
//! In a store behind the memory of a [`LastKnownGood`](crate::last_known_good::LastKnownGood) cache, entries outlive
//! the process or are shared. Each store implements the trait [`Store`](crate::last_known_good::Store), which has two
//! methods.
//!
//! | store | entries outlive | feature |
//! |---|---|---|
//! | [`MemoryStore`] | a cache, within the process | |
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
