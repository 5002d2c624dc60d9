//! The registry of the prefetched URIs and their tasks.

use std::collections::HashMap;
use std::fmt;
use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::Duration;

use rand::RngExt as _;
use tokio::task::AbortHandle;

use crate::internal::rng::SharedRng;
use crate::last_known_good::LastKnownGood;
use crate::last_known_good::policy::key::Key;

pub(super) struct Registry {
    /// The cache that stores the responses.
    last_known_good: LastKnownGood,
    every: Duration,
    max_uris: usize,
    rng: SharedRng,
    tasks: RwLock<HashMap<Key, Task>>,
}

/// The handle of a task, which aborts the task on drop.
struct Task(AbortHandle);

impl Task {
    /// True until the task ends. The end of a runtime also ends its tasks, even those that have not started.
    fn is_alive(&self) -> bool {
        !self.0.is_finished()
    }
}

impl Drop for Task {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Registry {
    pub(super) fn new(
        last_known_good: LastKnownGood,
        every: Duration,
        max_uris: usize,
        rng: SharedRng,
    ) -> Self {
        Self { last_known_good, every, max_uris, rng, tasks: RwLock::default() }
    }

    pub(super) const fn last_known_good(&self) -> &LastKnownGood {
        &self.last_known_good
    }

    pub(super) fn uris(&self) -> Vec<String> {
        self.read().iter().filter(|(_, task)| task.is_alive()).map(|(key, _)| key.uri().to_owned()).collect()
    }

    /// True if another key can be registered.
    pub(super) fn has_room(&self) -> bool {
        self.read().values().filter(|task| task.is_alive()).count() < self.max_uris
    }

    /// True if the key is registered.
    pub(super) fn contains(&self, key: &Key) -> bool {
        self.read().get(key).is_some_and(Task::is_alive)
    }

    /// Registers a key and spawns its task, if there is room and the key is not registered yet.
    pub(super) fn register(&self, key: Key, spawn: impl FnOnce() -> AbortHandle) {
        let mut tasks = self.write();
        tasks.retain(|_, task| task.is_alive());
        if tasks.len() < self.max_uris && !tasks.contains_key(&key) {
            tasks.insert(key, Task(spawn()));
        }
    }

    /// Removes a key, and aborts its task.
    pub(super) fn unregister(&self, key: &Key) {
        let task = self.write().remove(key);
        drop(task);
    }

    pub(super) const fn every(&self) -> Duration {
        self.every
    }

    /// Returns `wait` with a jitter of ±20 %, so that URIs that were registered at the same time are not fetched at
    /// the same time.
    pub(super) fn jittered(&self, wait: Duration) -> Duration {
        wait.mul_f64(self.rng.with(|rng| rng.random_range(0.8..1.2)))
    }

    fn read(&self) -> RwLockReadGuard<'_, HashMap<Key, Task>> {
        self.tasks.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, HashMap<Key, Task>> {
        self.tasks.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Registry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Registry")
            .field("every", &self.every)
            .field("max_uris", &self.max_uris)
            .field("uris", &self.read().len())
            .finish_non_exhaustive()
    }
}
