//! Recording: a response is stored while its caller reads the body.

pub(crate) mod body;
pub(crate) mod capture;
pub(crate) mod recorder;
