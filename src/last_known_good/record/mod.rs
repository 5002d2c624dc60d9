//! Recording: a response is captured while its caller reads the body, and stored at the end of the body.

pub(crate) mod body;
pub(crate) mod capture;
pub(crate) mod recorder;
