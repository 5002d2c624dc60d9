//! The two tiers of a cache: its memory, and the store behind the memory.

pub(crate) mod bounded_store;
pub(crate) mod state;
pub(crate) mod store;
pub(crate) mod store_sync;
pub(crate) mod tombstone;
