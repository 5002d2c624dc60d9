//! Keeps the settings of a handle behind one pointer, apart from the state of the handle.
//!
//! The settings can therefore be swapped while calls are under way. No public method swaps them yet.

use std::fmt;

use crate::internal::sync::ArcSwap;

/// Settings that all clones of a handle share.
///
/// A read takes no lock, and costs two writes to a cache line that only the current thread uses. To save even this
/// cost, the handle's state contains copies of the values that every healthy call needs, for example the number of
/// retries.
pub(crate) struct SharedSettings<T>(ArcSwap<T>);

impl<T> SharedSettings<T> {
    pub(crate) fn new(settings: T) -> Self {
        Self(ArcSwap::from_pointee(settings))
    }

    /// Passes the current settings to `read`.
    pub(crate) fn read<R>(&self, read: impl FnOnce(&T) -> R) -> R {
        read(&self.0.load())
    }
}

impl<T: fmt::Debug> fmt::Debug for SharedSettings<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.read(|settings| settings.fmt(f))
    }
}
