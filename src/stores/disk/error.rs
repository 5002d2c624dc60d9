//! The errors of a disk store, and the conversion of redb's panics into errors.

use std::error::Error;
use std::io;
use std::panic::{self, AssertUnwindSafe};
use std::path::PathBuf;
use std::sync::Arc;

use crate::{BoxError, ConfigError};

/// The cause of a failure. Cloneable, because all waiters for the same write receive it.
pub(super) type DiskFault = Arc<dyn Error + Send + Sync>;

/// Runs `work` and turns a panic into an error, since redb panics on some kinds of damage to the file. After a panic,
/// the database must not be trusted.
pub(super) fn caught<T>(work: impl FnOnce() -> Result<T, BoxError>) -> Result<T, DiskFault> {
    let result = panic::catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|panic| {
        let message = panic.downcast_ref::<String>().map(String::as_str);
        Err(message.or_else(|| panic.downcast_ref().copied()).unwrap_or("a panic").into())
    });
    result.map_err(DiskFault::from)
}

/// An error of a [`DiskStore`](super::DiskStore).
///
/// The variants `Config` to `Damaged` are errors of opening a store. The others are errors of `get`, `put`, `flush`
/// and `close`.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DiskStoreError {
    /// A setting is out of range.
    #[error(transparent)]
    Config(#[from] ConfigError),

    /// The file could not be opened, created or read, or the store's thread could not be started.
    #[error("the disk store {} could not be opened", .path.display())]
    Open {
        /// The store's file.
        path: PathBuf,
        /// The error of the operating system.
        source: io::Error,
    },

    /// Another store, in this or another process, has the file open.
    #[error("the disk store {} is already open, here or in another process", .path.display())]
    Locked {
        /// The store's file.
        path: PathBuf,
    },

    /// The file is not a disk store. Its data was not changed.
    #[error("{} is not a disk store", .path.display())]
    Foreign {
        /// The file.
        path: PathBuf,
    },

    /// The store was written by a version of this crate with another layout. Its data was not changed.
    #[error(
        "the disk store {} has layout {found}, but this version of steadfast reads layout {expected}",
        .path.display()
    )]
    Version {
        /// The store's file.
        path: PathBuf,
        /// The layout version of the file.
        found: u64,
        /// The layout version that this release of the crate reads.
        expected: u64,
    },

    /// The file is a store, but can no longer be read: the disk is broken, or another program has written to the
    /// file.
    #[error("the disk store {} is damaged", .path.display())]
    Damaged {
        /// The store's file.
        path: PathBuf,
        /// The error of the database.
        source: Arc<dyn Error + Send + Sync>,
    },

    /// The entry is larger than the maximum size of the store or of the write queue.
    #[error("an entry of {bytes} bytes is too large for the disk store: the maximum is {max_bytes}")]
    TooLarge {
        /// The size of the entry: key, value, and 128 bytes of overhead.
        bytes: u64,
        /// The maximum size of an entry in this store.
        max_bytes: u64,
    },

    /// The write queue is full: values arrive faster than the disk can write them.
    #[error("the write queue of the disk store is full: at most {max_queued_bytes} bytes may wait")]
    QueueFull {
        /// The maximum size of the queue in bytes.
        max_queued_bytes: u64,
    },

    /// A read or a queued write failed, or the tokio runtime has shut down.
    #[error("the disk store failed")]
    Failed(#[source] Arc<dyn Error + Send + Sync>),

    /// The store was closed.
    #[error("the disk store is closed")]
    Closed,
}
