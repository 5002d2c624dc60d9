//! The builder of a disk store, with validation.

use std::path::PathBuf;

use crate::ConfigError;

const MEBIBYTE: u64 = 1024 * 1024;

/// Configures a [`DiskStore`](super::DiskStore).
#[derive(Debug, Clone)]
pub struct DiskStoreBuilder {
    pub(super) path: PathBuf,
    pub(super) max_bytes: u64,
    pub(super) max_queued_bytes: u64,
}

impl DiskStoreBuilder {
    pub(super) fn new(path: PathBuf) -> Self {
        Self { path, max_bytes: 256 * MEBIBYTE, max_queued_bytes: 16 * MEBIBYTE }
    }

    /// Sets the maximum total size of the entries, in bytes: 1 KiB to 1 TiB. Default: 256 MiB.
    ///
    /// If an existing store holds more, the first write removes entries.
    pub fn max_bytes(mut self, bytes: u64) -> Self {
        self.max_bytes = bytes;
        self
    }

    /// Sets the maximum total size of the entries that are not yet on the disk, in bytes: 1 KiB to 1 TiB. The same
    /// bound applies to a single entry. Default: 16 MiB.
    pub fn max_queued_bytes(mut self, bytes: u64) -> Self {
        self.max_queued_bytes = bytes;
        self
    }

    pub(super) fn validate(&self) -> Result<(), ConfigError> {
        ConfigError::check("disk_store.max_bytes", self.max_bytes, 1024..=1 << 40)?;
        ConfigError::check("disk_store.max_queued_bytes", self.max_queued_bytes, 1024..=1 << 40)?;
        Ok(())
    }
}
