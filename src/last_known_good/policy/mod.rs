//! The policy of the cache: which responses may be stored and served, for how long, and to which callers.

pub(crate) mod credentials;
pub(crate) mod key;
pub(crate) mod rules;
pub(crate) mod settings;
pub(crate) mod vary;
