//! The two tiers of a cache, memory and store: the shared state, the [`Store`](store::Store) trait, and the traffic
//! between the tiers.
//!
//! The memory is not itself a store: every call reads the memory by reference and without waiting, and the methods of
//! a store are asynchronous and return copies.

pub(crate) mod bounded_store;
pub(crate) mod state;
pub(crate) mod store;
pub(crate) mod store_sync;
pub(crate) mod tombstone;
