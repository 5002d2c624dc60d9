//! The keys that are being refreshed. A refresh is a call that continues in the background after its caller got a
//! stale response. Each key has at most one refresh at a time, and the total is bounded.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::last_known_good::policy::key::Key;

/// The set of keys that are being refreshed.
#[derive(Debug, Clone, Default)]
pub(crate) struct Refreshes(Arc<Mutex<HashSet<Key>>>);

/// The right to refresh a key, until the slot is dropped.
pub(crate) struct RefreshSlot {
    refreshes: Refreshes,
    key: Key,
}

impl Refreshes {
    /// Returns a slot; `None` if the key already has one, or if `max` slots are taken.
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
