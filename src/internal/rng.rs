//! Chance: the one source that everything random is drawn from, and that a test can seed.

use std::fmt;
use std::sync::{Mutex, PoisonError};

use rand::{SeedableRng, rngs::SmallRng};

/// A random source that many calls draw from in turn, so that no two of them share a sequence.
///
/// It is drawn from only when something has failed, so a lock is cheap enough.
pub(crate) struct SharedRng(Mutex<SmallRng>);

impl SharedRng {
    /// A source with this seed, or with one of the operating system's.
    pub(crate) fn new(seed: Option<u64>) -> Self {
        Self(Mutex::new(seed.map_or_else(rand::make_rng, SmallRng::seed_from_u64)))
    }

    /// Draws with `draw`.
    pub(crate) fn with<T>(&self, draw: impl FnOnce(&mut SmallRng) -> T) -> T {
        draw(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl fmt::Debug for SharedRng {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SharedRng")
    }
}
