//! The keys whose calls go on after their callers were answered.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::last_known_good::policy::key::Key;

/// The keys whose calls go on.
#[derive(Debug, Clone, Default)]
pub(crate) struct Refreshes(Arc<Mutex<HashSet<Key>>>);

/// The place of one of them, deadline it is dropped.
pub(crate) struct RefreshSlot {
    refreshes: Refreshes,
    key: Key,
}

impl Refreshes {
    /// A place for a key that has none, while there are fewer than `max`.
    pub(crate) fn begin(&self, key: &Key, max: usize) -> Option<RefreshSlot> {
        let mut keys = self.keys();
        (keys.len() < max && keys.insert(key.clone()))
            .then(|| RefreshSlot { refreshes: self.clone(), key: key.clone() })
    }

    fn keys(&self) -> MutexGuard<'_, HashSet<Key>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for RefreshSlot {
    fn drop(&mut self) {
        self.refreshes.keys().remove(&self.key);
    }
}
