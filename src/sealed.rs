//! Seals public traits, so that only this crate can implement them.

/// A supertrait of every sealed trait.
pub trait Sealed {}
