//! The trait that closes the public traits that only this crate may implement.

/// Implemented by the markers and the observers of this crate.
pub trait Sealed {}
