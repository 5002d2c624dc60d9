//! What can go wrong with a disk store.

use std::error::Error;
use std::io;
use std::panic::{self, AssertUnwindSafe};
use std::path::PathBuf;
use std::sync::Arc;

use crate::{BoxError, ConfigError};

/// Why a failure came about. Who waits for the same write is told the same, so it can be cloned.
pub(super) type DiskFault = Arc<dyn Error + Send + Sync>;

/// What `work` comes to; a panic is an error too, as redb panics on some of the damage that a file can have. What it
/// worked on is not to be trusted after one.
pub(super) fn caught<T>(work: impl FnOnce() -> Result<T, BoxError>) -> Result<T, DiskFault> {
    let result = panic::catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|panic| {
        let said = panic.downcast_ref::<String>().map(String::as_str);
        Err(said.or_else(|| panic.downcast_ref().copied()).unwrap_or("a panic").into())
    });
    result.map_err(DiskFault::from)
}

/// What went wrong with a [`DiskStore`](super::DiskStore).
///
/// `Config` to `Damaged` are what opening it ends in; the others are what `get`, `put` and `flush` do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DiskStoreError {
    /// A configuration that cannot work.
    #[error(transparent)]
    Config(#[from] ConfigError),

    /// The file could not be opened, created or read, or the store's thread could not be started.
    #[error("the disk store {} could not be opened", .path.display())]
    Open {
        /// The store's file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },

    /// Another store, of this process or of another one, has the file open.
    #[error("the disk store {} is already open, here or in another process", .path.display())]
    Locked {
        /// The store's file.
        path: PathBuf,
    },

    /// The file is something else. It was left as it is.
    #[error("{} is no disk store", .path.display())]
    Foreign {
        /// The file.
        path: PathBuf,
    },

    /// The store was written by a version of this crate that laid it out differently. It was left as it is.
    #[error("the disk store {} has layout {found}, and this version of steadfast reads {expected}", .path.display())]
    Version {
        /// The store's file.
        path: PathBuf,
        /// The layout of the file.
        found: u64,
        /// The layout that is read here.
        expected: u64,
    },

    /// The file is a store that cannot be read any more: a broken disk, or somebody else wrote into it.
    #[error("the disk store {} is damaged", .path.display())]
    Damaged {
        /// The store's file.
        path: PathBuf,
        /// What does not fit.
        source: Arc<dyn Error + Send + Sync>,
    },

    /// The value is larger than the store, or than what may wait to be written.
    #[error("an entry of {bytes} bytes is larger than the disk store takes: {max_bytes}")]
    TooLarge {
        /// What the entry takes: key, value, and 128 bytes.
        bytes: u64,
        /// The most that an entry may take here.
        max_bytes: u64,
    },

    /// As much waits to be written as may: values come faster than the disk takes them.
    #[error("too much waits to be written to the disk store: {max_queued_bytes} bytes may")]
    QueueFull {
        /// How many bytes may wait.
        max_queued_bytes: u64,
    },

    /// The file could not be read, or what was to be written before could not be written.
    #[error("the disk store failed")]
    Failed(#[source] Arc<dyn Error + Send + Sync>),

    /// The store was closed.
    #[error("the disk store is closed")]
    Closed,
}
