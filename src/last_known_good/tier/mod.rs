//! The two tiers of a cache, memory and store: the shared state, the [`Store`](store::Store) trait, and the traffic
//! between the tiers.
//!
//! Every call looks into the memory by reference and without waiting, so the memory is not itself a store, whose
//! methods are asynchronous.

pub(crate) mod bounded_store;
pub(crate) mod state;
pub(crate) mod store;
pub(crate) mod store_sync;
pub(crate) mod tombstone;
