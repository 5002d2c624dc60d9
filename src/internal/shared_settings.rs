//! The settings of a handle, apart from its state: behind one pointer, which can be swapped while calls are under way.

use std::fmt;

use crate::internal::sync::ArcSwap;

/// Settings that the clones of a handle share.
///
/// A read takes no lock, and costs two writes to a line of the thread's own. What every healthy call needs is therefore kept
/// with the state, too, in a place of its own.
pub(crate) struct SharedSettings<T>(ArcSwap<T>);

impl<T> SharedSettings<T> {
    pub(crate) fn new(settings: T) -> Self {
        Self(ArcSwap::from_pointee(settings))
    }

    /// Gives `read` the settings as they are now.
    pub(crate) fn read<R>(&self, read: impl FnOnce(&T) -> R) -> R {
        read(&self.0.load())
    }
}

impl<T: fmt::Debug> fmt::Debug for SharedSettings<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.read(|settings| settings.fmt(f))
    }
}
