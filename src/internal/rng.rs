//! The randomness behind all jitter. A test can seed the generator to make a run repeatable.

use std::fmt;
use std::sync::{Mutex, PoisonError};

use rand::{SeedableRng, rngs::SmallRng};

/// A random number generator that many calls share, so that no two calls draw the same sequence.
///
/// Draws are rare (for the wait before a retry, or for the time that a circuit stays open), so a mutex is cheap
/// enough.
pub(crate) struct SharedRng(Mutex<SmallRng>);

impl SharedRng {
    /// Creates a generator from `seed`. If `seed` is `None`, the operating system provides the seed.
    pub(crate) fn new(seed: Option<u64>) -> Self {
        Self(Mutex::new(generator(seed)))
    }

    /// Passes the generator to `draw`.
    pub(crate) fn with<T>(&self, draw: impl FnOnce(&mut SmallRng) -> T) -> T {
        draw(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Returns a generator from `seed`. If `seed` is `None`, the operating system provides the seed.
pub(crate) fn generator(seed: Option<u64>) -> SmallRng {
    seed.map_or_else(rand::make_rng, SmallRng::seed_from_u64)
}

/// Returns `seed`, or a seed from the operating system.
#[cfg(feature = "reqwest")]
pub(crate) fn seed_or_random(seed: Option<u64>) -> u64 {
    seed.unwrap_or_else(|| rand::Rng::next_u64(&mut rand::make_rng::<SmallRng>()))
}

impl fmt::Debug for SharedRng {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SharedRng")
    }
}
