//! The in-memory tier: entries, and the keys that are being refreshed.

pub(crate) mod cache;
pub(crate) mod refreshes;
