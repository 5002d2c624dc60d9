//! Seals public traits, so that only this crate can implement them.

/// A supertrait of every sealed trait, implemented by this crate's markers and observers.
pub trait Sealed {}
