//! URIs that are kept warm: the handle, and which ones there are.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard, Weak};
use std::time::Duration;

use rand::RngExt as _;
use tokio::task::AbortHandle;

use super::key::Key;
use crate::ConfigError;
use crate::error::MAX_DURATION;
use crate::rng::SharedRng;

/// Fetches URIs again from time to time, in the background, while the upstream is well.
///
/// A URI is registered when it is first called, if its response may be kept and the call has no credentials, and is
/// fetched again with the headers of that call. A fetch that fails doubles the wait for the next, up to 16 times, so that
/// an upstream that is down is asked next to nothing; one that a caller has made unnecessary is left out.
///
/// **This spawns** a tokio task for each URI. They all end when the last clone of the handle is dropped.
///
/// ```
/// use std::time::Duration;
/// use steadfast::Client;
/// use steadfast::last_known_good::{LastKnownGood, KeepWarm, LastKnownGoodLayer};
///
/// let warm = KeepWarm::builder().every(Duration::from_secs(30)).max_uris(20).build()?;
/// let layer = LastKnownGoodLayer::new(LastKnownGood::default()).keep_warm(&warm);
/// let client = Client::builder().last_known_good(layer).build()?;
/// assert_eq!(warm.uris().len(), 0); // nothing has been called yet
/// # Ok::<(), steadfast::ConfigError>(())
/// ```
#[derive(Clone)]
pub struct KeepWarm(Arc<Registry>);

pub(super) struct Registry {
    every: Duration,
    max_uris: usize,
    rng: SharedRng,
    tasks: RwLock<HashMap<Key, Task>>,
}

/// Ends with the handle.
struct Task(AbortHandle);

impl Drop for Task {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl KeepWarm {
    /// A builder that starts from the defaults.
    pub const fn builder() -> KeepWarmBuilder {
        KeepWarmBuilder { every: Duration::from_secs(60), max_uris: 100, seed: None }
    }

    /// The URIs that are kept warm, in no particular order.
    pub fn uris(&self) -> Vec<String> {
        self.0.read().keys().map(|key| key.uri().to_owned()).collect()
    }

    pub(super) fn downgrade(&self) -> Warmed {
        Warmed(Arc::downgrade(&self.0))
    }
}

impl Registry {
    fn read(&self) -> RwLockReadGuard<'_, HashMap<Key, Task>> {
        self.tasks.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, HashMap<Key, Task>> {
        self.tasks.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether there is a place for a key, and it has none.
    pub(super) fn wants(&self, key: &Key) -> bool {
        let tasks = self.read();
        tasks.len() < self.max_uris && !tasks.contains_key(key)
    }

    /// Gives a key a place, if it is still wanted.
    pub(super) fn register(&self, key: Key, spawn: impl FnOnce() -> AbortHandle) {
        let mut tasks = self.write();
        if tasks.len() < self.max_uris && !tasks.contains_key(&key) {
            tasks.insert(key, Task(spawn()));
        }
    }

    /// Gives the place of a key to another.
    pub(super) fn unregister(&self, key: &Key) {
        let task = self.write().remove(key);
        drop(task);
    }

    pub(super) const fn every(&self) -> Duration {
        self.every
    }

    /// The next wait: a fifth more or less, so that what was registered together is not fetched together.
    pub(super) fn jittered(&self, wait: Duration) -> Duration {
        wait.mul_f64(self.rng.with(|rng| rng.random_range(0.8..1.2)))
    }
}

impl fmt::Debug for KeepWarm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeepWarm")
            .field("every", &self.0.every)
            .field("max_uris", &self.0.max_uris)
            .field("uris", &self.0.read().len())
            .finish()
    }
}

/// URIs are kept warm, as long as there is a handle.
#[derive(Debug, Clone, Default)]
pub struct Warmed(Weak<Registry>);

impl Warmed {
    pub(super) fn registry(&self) -> Option<Arc<Registry>> {
        self.0.upgrade()
    }
}

impl fmt::Debug for Registry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Registry")
    }
}

/// Configures a [`KeepWarm`].
#[derive(Debug, Clone, Copy)]
#[must_use = "nothing is kept warm before `build`"]
pub struct KeepWarmBuilder {
    every: Duration,
    max_uris: usize,
    seed: Option<u64>,
}

impl KeepWarmBuilder {
    /// How often a URI is fetched again, a fifth more or less: 1 s to a year. Default: a minute.
    pub const fn every(mut self, time: Duration) -> Self {
        self.every = time;
        self
    }

    /// How many URIs are kept warm at most, 1 to 10,000: those that are called first. Default 100.
    pub const fn max_uris(mut self, uris: usize) -> Self {
        self.max_uris = uris;
        self
    }

    /// Draws the jitter from this seed, so that a test can be replayed.
    pub const fn seed(mut self, seed: u64) -> Self {
        self.seed = Some(seed);
        self
    }

    /// The handle, to be given to [layers](super::LastKnownGoodLayer::keep_warm).
    pub fn build(self) -> Result<KeepWarm, ConfigError> {
        let every = ConfigError::check("keep_warm.every", self.every, Duration::from_secs(1)..=MAX_DURATION)?;
        let max_uris = ConfigError::check("keep_warm.max_uris", self.max_uris, 1..=10_000)?;
        let rng = SharedRng::new(self.seed);
        Ok(KeepWarm(Arc::new(Registry { every, max_uris, rng, tasks: RwLock::default() })))
    }
}
