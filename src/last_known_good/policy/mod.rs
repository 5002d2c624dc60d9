//! What may be kept and served, for how long, and to whom.

pub(crate) mod credentials;
pub(crate) mod key;
pub(crate) mod rules;
pub(crate) mod settings;
pub(crate) mod vary;
