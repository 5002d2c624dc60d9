//! The builder of the prefetch layer, with the defaults and ranges of its settings.

use std::time::Duration;

use crate::ConfigError;
use crate::config_error::MAX_DURATION;

/// Configures a [`PrefetchLayer`](super::PrefetchLayer).
#[derive(Debug, Clone, Copy)]
#[must_use = "a builder does nothing until `build` is called"]
pub struct PrefetchBuilder {
    pub(super) every: Duration,
    pub(super) max_uris: usize,
    pub(super) seed: Option<u64>,
}

impl PrefetchBuilder {
    pub(super) const fn new() -> Self {
        Self { every: Duration::from_secs(60), max_uris: 100, seed: None }
    }

    /// Sets the time between two fetches of a URI, jittered by ±20 %: 1 s to a year. Default: a minute.
    pub const fn every(mut self, time: Duration) -> Self {
        self.every = time;
        self
    }

    /// Sets the maximum number of registered URIs: 1 to 10,000. At this number, no further URI is registered.
    /// Default: 100.
    pub const fn max_uris(mut self, uris: usize) -> Self {
        self.max_uris = uris;
        self
    }

    /// Draws the jitter from this seed, so that a test can be replayed. Default: a seed from the operating system.
    pub const fn seed(mut self, seed: u64) -> Self {
        self.seed = Some(seed);
        self
    }

    pub(super) fn validate(&self) -> Result<(), ConfigError> {
        ConfigError::check("prefetch.every", self.every, Duration::from_secs(1)..=MAX_DURATION)?;
        ConfigError::check("prefetch.max_uris", self.max_uris, 1..=10_000)?;
        Ok(())
    }
}
