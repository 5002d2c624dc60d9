//! The shared state of a cache, the [`Store`](store::Store) trait, and the traffic between the two tiers, memory and
//! store.
//!
//! The memory does not implement `Store`. A call reads the memory by reference and without waiting, but the methods
//! of a store are asynchronous and return copies.

pub(crate) mod bounded_store;
pub(crate) mod state;
pub(crate) mod store;
pub(crate) mod store_sync;
pub(crate) mod tombstone;
