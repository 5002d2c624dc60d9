//! How a response is recorded as its body passes by.

pub(crate) mod body;
pub(crate) mod capture;
pub(crate) mod recorder;
