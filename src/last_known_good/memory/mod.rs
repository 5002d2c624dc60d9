//! Where entries are: in memory.

pub(crate) mod cache;
