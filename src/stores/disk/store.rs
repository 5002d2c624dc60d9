//! The handle of a disk store, with `get`, `put`, `flush` and `close`.

use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::Duration;

use bytes::Bytes;

use super::config::DiskStoreBuilder;
use super::error::DiskStoreError;
use super::queue::{Queue, size};
use super::writer::WriterState;
use crate::BoxError;
use crate::internal::wall_clock::WallClock;
use crate::last_known_good::Store;

/// A [`Store`] in a file, so that a service restarted during an outage still has its entries.
///
/// A clone is another handle to the same store. A file can be open in only one store at a time, even across
/// processes.
///
/// ```
/// use std::time::Duration;
/// use steadfast::last_known_good::Store;
/// use steadfast::stores::DiskStore;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
/// # let path = std::env::temp_dir().join(format!("steadfast-doc-{}", std::process::id()));
/// # let path = &path;
/// let store = DiskStore::builder(path).max_bytes(64 * 1024 * 1024).build()?;
/// store.put("sku/42", "in stock".into(), Duration::from_secs(3600)).await?;
/// store.close().await?; // at shutdown
///
/// let store = DiskStore::open(path)?;
/// assert_eq!(store.get("sku/42").await?.as_deref(), Some(&b"in stock"[..]));
/// # store.close().await?;
/// # std::fs::remove_file(path)?;
/// # Ok(())
/// # }
/// ```
///
/// # Size
///
/// The size of an entry is that of its key and value, plus 128 bytes. If all entries together exceed
/// [`max_bytes`](DiskStoreBuilder::max_bytes), those that expire first are removed; among entries with equal expiry,
/// the one that was put first is removed. Expired entries are removed by the next write.
///
/// The file is larger than its entries. It grows by doubling, and shrinks only if its end is free. New data is
/// written beside the old data. In a measurement under steady writes, the file was two to four times as large as its
/// entries, and eight times with values of a few hundred bytes.
///
/// Expiry times are calendar times. The system clock is read only when the store is opened; a later change of that
/// clock has no effect.
///
/// # Writes and durability
///
/// A `put` only queues the value; a thread of the store writes it to the file. `get` sees queued values. The values
/// that are queued or being written are bounded by [`max_queued_bytes`](DiskStoreBuilder::max_queued_bytes); a `put`
/// beyond this bound fails. The thread collects values for up to a second, or until half of the bound is used, and
/// writes them in one transaction, which is synced to the disk.
///
/// A kill of the process or a power failure therefore loses the values of about the last second. It leaves neither a
/// partial entry nor a file that needs repair.
///
/// If a write fails, for example on a full disk, its values are lost, and the next `put`, `flush` or `close` returns
/// the error. The store opens the file again at once, so that earlier entries can be read and later values can be
/// written.
///
/// # Damaged files
///
/// The redb crate, which reads and writes the file, panics on some kinds of damage. The store catches such a panic
/// and returns an error. With `panic = "abort"`, the panic ends the process. A full disk causes no panic.
///
/// # Closing
///
/// After the last handle is dropped, the thread writes the queued values, closes the file and ends. To wait for this,
/// call [`close`](Self::close).
///
/// # Blocking
///
/// No future blocks the thread that polls it. Disk operations run on tokio's blocking threads, so the futures must be
/// polled in a tokio runtime. The functions [`open`](Self::open) and [`build`](DiskStoreBuilder::build) block the
/// calling thread.
///
/// # Cancel safety
///
/// The first poll of a `put` queues the value. A dropped `get`, `flush` or `close` continues in the background.
#[derive(Clone)]
pub struct DiskStore(Arc<DiskStoreInner>);

/// The state that all handles share. Dropping the last handle closes the store.
struct DiskStoreInner {
    writer_state: Arc<WriterState>,
    clock: WallClock,
    max_entry_bytes: u64,
}

impl DiskStore {
    /// Opens the store in the file at `path`, with the defaults. If the file is missing or empty, a new store is
    /// created; on Unix, only the current user can read and write its file.
    ///
    /// Blocks for a few milliseconds on most disks.
    ///
    /// # Errors
    ///
    /// Fails if the file cannot be opened or created, is already open, or is not an intact store of this version. The
    /// data of a foreign file, or of a store of another version, is not changed. By the error's variant, a service
    /// can decide whether to delete the file or to run without a store.
    pub fn open(path: impl Into<PathBuf>) -> Result<Self, DiskStoreError> {
        Self::builder(path).build()
    }

    /// Returns a builder with the defaults.
    pub fn builder(path: impl Into<PathBuf>) -> DiskStoreBuilder {
        DiskStoreBuilder::new(path.into())
    }

    /// Waits until all queued values are on the disk.
    ///
    /// # Errors
    ///
    /// Fails if the write of these values fails, or if an earlier write has failed and no operation has returned that
    /// error yet.
    pub async fn flush(&self) -> Result<(), DiskStoreError> {
        self.wait_for_writer(|_| ()).await
    }

    /// Closes the store for every handle, and waits until all queued values are on the disk and the file is unlocked.
    ///
    /// Afterwards `get` and `put` fail with [`DiskStoreError::Closed`].
    ///
    /// # Errors
    ///
    /// Fails like [`flush`](Self::flush). The store is closed in any case.
    pub async fn close(&self) -> Result<(), DiskStoreError> {
        self.wait_for_writer(Queue::close).await
    }

    async fn wait_for_writer(&self, change: impl FnOnce(&mut Queue)) -> Result<(), DiskStoreError> {
        let (waiter, receiver) = mpsc::channel();
        let wait = self.0.writer_state.with_queue(|queue| {
            change(queue);
            queue.add_waiter(waiter)
        });
        if !wait {
            return Ok(());
        }
        let result = blocking(move || receiver.recv()).await?;
        result.unwrap_or(Ok(())).map_err(DiskStoreError::Failed)
    }

    /// The number of entries after the last write.
    pub fn len(&self) -> u64 {
        self.0.writer_state.entries()
    }

    /// True if the store had no entry after the last write.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The size of all entries after the last write, in bytes: keys, values, and 128 bytes for each entry.
    pub fn bytes(&self) -> u64 {
        self.0.writer_state.bytes()
    }
}

impl DiskStoreBuilder {
    /// Opens the store. Blocks like [`DiskStore::open`].
    ///
    /// # Errors
    ///
    /// Fails if a bound is out of range, or for a reason given at [`DiskStore::open`].
    pub fn build(self) -> Result<DiskStore, DiskStoreError> {
        self.validate()?;
        let Self { path, max_bytes, max_queued_bytes } = self;
        let writer_state = Arc::new(WriterState::open(path.clone(), max_bytes, max_queued_bytes)?);
        let writer = Arc::clone(&writer_state);
        thread::Builder::new()
            .name("steadfast-disk".to_owned())
            .spawn(move || writer.run())
            .map_err(|source| DiskStoreError::Open { path, source })?;
        let max_entry_bytes = max_bytes.min(max_queued_bytes);
        Ok(DiskStore(Arc::new(DiskStoreInner { writer_state, clock: WallClock::start(), max_entry_bytes })))
    }
}

impl Store for DiskStore {
    async fn get(&self, key: &str) -> Result<Option<Bytes>, BoxError> {
        let writer_state = Arc::clone(&self.0.writer_state);
        let now = millis(self.0.clock.now());
        let queued = writer_state.with_queue(|queue| queue.get(key))?;
        if let Some(entry) = queued {
            return Ok((entry.expires > now).then_some(entry.value));
        }
        let key = key.to_owned();
        Ok(blocking(move || writer_state.read(&key, now)).await?.map_err(DiskStoreError::Failed)?)
    }

    async fn put(&self, key: &str, value: Bytes, keep_for: Duration) -> Result<(), BoxError> {
        let bytes = size(key, &value);
        let max_bytes = self.0.max_entry_bytes;
        if bytes > max_bytes {
            return Err(DiskStoreError::TooLarge { bytes, max_bytes }.into());
        }
        let now = self.0.clock.now();
        let expires = millis(now.saturating_add(keep_for));
        Ok(self.0.writer_state.with_queue(|queue| queue.put(key, value, millis(now), expires))?)
    }
}

fn millis(time: Duration) -> u64 {
    time.as_millis().try_into().unwrap_or(u64::MAX)
}

/// Runs `work` on a blocking thread. The paused time of a test does not advance meanwhile.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, DiskStoreError> {
    // Fails only if the runtime shuts down.
    tokio::task::spawn_blocking(work).await.map_err(|error| DiskStoreError::Failed(Arc::new(error)))
}

impl Drop for DiskStoreInner {
    fn drop(&mut self) {
        self.writer_state.with_queue(Queue::close);
    }
}

impl fmt::Debug for DiskStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DiskStore")
            .field("path", self.0.writer_state.path())
            .field("len", &self.len())
            .field("bytes", &self.bytes())
            .finish()
    }
}
