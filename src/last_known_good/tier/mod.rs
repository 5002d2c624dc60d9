//! The store behind the memory.

pub(crate) mod bounded_store;
pub(crate) mod store_sync;
