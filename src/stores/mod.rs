//! Stores: where the entries of the last-known-good cache outlive a process, or are shared.
//!
//! A process that restarts during an outage has an empty cache, and a replica that has just started never had another. A store
//! behind the memory of a [`LastKnownGood`](crate::last_known_good::LastKnownGood) helps both. Each of these implements
//! [`Store`](crate::last_known_good::Store); a store of your own is two methods.
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
