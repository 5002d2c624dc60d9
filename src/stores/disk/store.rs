//! A store in a file, for what a service has to say after a restart.

use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::Duration;

use bytes::Bytes;

use super::config::DiskStoreBuilder;
use super::error::DiskStoreError;
use super::queue::{Queue, size};
use super::writer::DiskFile;
use crate::BoxError;
use crate::internal::wall_clock::WallClock;
use crate::last_known_good::Store;

/// A [`Store`] in a file, so that a service which is restarted during an outage still has something to say.
///
/// A clone is another handle to the same store. Only one store, in one process, can have the file open.
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
/// # What is kept
///
/// Up to [`max_bytes`](DiskStoreBuilder::max_bytes) of keys and values, with 128 bytes more for each entry. When there is
/// more, those go that would expire first; of those that expire together, the one that was put first. What has expired
/// goes with the next write.
///
/// The file is larger than that, and does not shrink: it grows by doubling, and what is written anew stands beside the old
/// until it is safe. Under steady writing it was two to four times as large as what it held, and eight times where
/// values were of a few hundred bytes.
///
/// How long a value has been kept is told by the time of day, which is looked at when the store is opened.
///
/// # When it is written
///
/// A store has a thread of its own, which writes. `put` hands it the value and is done; `get` sees what is queued. Up to
/// [`max_queued_bytes`](DiskStoreBuilder::max_queued_bytes) may be queued or in writing, and a `put` beyond that is an error.
/// What is queued waits for company for a second, or until the half of that is taken, and is written in one
/// transaction, which is synced to the disk.
///
/// So a process that is killed, and a machine that loses its power, lose what was put in the last second or so. They
/// never leave a part of an entry, or a file that needs repair. If a write fails, because the disk is full, say, what
/// was in it is lost, and the next `put` or `flush` is told. Then the file is opened anew: what was written before can be
/// read, and later writes are tried again.
///
/// redb, which reads and writes the file, panics on some of the damage that a file can have. That is caught and is an
/// error; where panics abort (`panic = "abort"`), it ends the process. A full disk is no damage: nothing panics there.
///
/// The thread ends when the last handle is dropped, after it has written what is queued; the file is free a moment later.
/// To wait for that, [`close`](Self::close) the store.
///
/// # Blocking
///
/// No future blocks the thread that it is polled on: what has to wait for the disk runs on tokio's blocking threads, so
/// the futures have to be polled in a tokio runtime. [`open`](Self::open) and [`build`](DiskStoreBuilder::build) do block.
///
/// # Cancel safety
///
/// A `put` is queued when it is first polled; a dropped `get`, `flush` or `close` goes on by itself, and nobody is told.
#[derive(Clone)]
pub struct DiskStore(Arc<DiskStoreInner>);

/// The last one closes the store.
struct DiskStoreInner {
    shared: Arc<DiskFile>,
    clock: WallClock,
    max_entry_bytes: u64,
}

impl DiskStore {
    /// The store in the file at `path`, with the defaults. If there is no file, or an empty one, it is made, for this user
    /// alone to read and write.
    ///
    /// It blocks: a few milliseconds, on most disks.
    ///
    /// # Errors
    ///
    /// If the file cannot be opened or made, is open already, or is not a whole store of this version. Such a file is left
    /// as it is: a service that would rather begin anew, or do without, can tell by the error.
    pub fn open(path: impl Into<PathBuf>) -> Result<Self, DiskStoreError> {
        Self::builder(path).build()
    }

    /// A builder that starts from the defaults.
    pub fn builder(path: impl Into<PathBuf>) -> DiskStoreBuilder {
        DiskStoreBuilder::new(path.into())
    }

    /// Waits until all that was put is on the disk.
    ///
    /// # Errors
    ///
    /// If some of it could not be written, and no `put` has been told yet.
    pub async fn flush(&self) -> Result<(), DiskStoreError> {
        self.wait_for_writer(|_| ()).await
    }

    /// Closes the store for every handle, and waits until all that was put is on the disk and the file is free.
    ///
    /// Afterwards `get` and `put` end in [`DiskStoreError::Closed`].
    ///
    /// # Errors
    ///
    /// If some of it could not be written, and no `put` has been told yet. The store is closed all the same.
    pub async fn close(&self) -> Result<(), DiskStoreError> {
        self.wait_for_writer(Queue::close).await
    }

    async fn wait_for_writer(&self, change: impl FnOnce(&mut Queue)) -> Result<(), DiskStoreError> {
        let (waiter, told) = mpsc::channel();
        let wait = self.0.shared.with_queue(|queue| {
            change(queue);
            queue.tell(waiter)
        });
        if !wait {
            return Ok(());
        }
        let told = blocking(move || told.recv()).await?;
        told.unwrap_or(Ok(())).map_err(DiskStoreError::Failed)
    }

    /// How many entries there were after the last write.
    pub fn len(&self) -> u64 {
        self.0.shared.entries()
    }

    /// Whether there were none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many bytes they took: keys, values, and 128 for each.
    pub fn bytes(&self) -> u64 {
        self.0.shared.bytes()
    }
}

impl DiskStoreBuilder {
    /// The store. It blocks, see [`DiskStore::open`].
    ///
    /// # Errors
    ///
    /// If a bound is out of its range, and as [`DiskStore::open`] does.
    pub fn build(self) -> Result<DiskStore, DiskStoreError> {
        self.validate()?;
        let Self { path, max_bytes, max_queued_bytes } = self;
        let shared = Arc::new(DiskFile::open(path.clone(), max_bytes, max_queued_bytes)?);
        let writer = Arc::clone(&shared);
        thread::Builder::new()
            .name("steadfast-disk".to_owned())
            .spawn(move || writer.run())
            .map_err(|source| DiskStoreError::Open { path, source })?;
        let max_entry_bytes = max_bytes.min(max_queued_bytes);
        Ok(DiskStore(Arc::new(DiskStoreInner { shared, clock: WallClock::start(), max_entry_bytes })))
    }
}

impl Store for DiskStore {
    async fn get(&self, key: &str) -> Result<Option<Bytes>, BoxError> {
        let shared = Arc::clone(&self.0.shared);
        let now = millis(self.0.clock.now());
        let queued = shared.with_queue(|queue| queue.get(key))?;
        if let Some(entry) = queued {
            return Ok((entry.expires > now).then_some(entry.value));
        }
        let key = key.to_owned();
        Ok(blocking(move || shared.read(&key, now)).await?.map_err(DiskStoreError::Failed)?)
    }

    async fn put(&self, key: &str, value: Bytes, keep_for: Duration) -> Result<(), BoxError> {
        let bytes = size(key, &value);
        let max_bytes = self.0.max_entry_bytes;
        if bytes > max_bytes {
            return Err(DiskStoreError::TooLarge { bytes, max_bytes }.into());
        }
        let now = self.0.clock.now();
        let expires = millis(now.saturating_add(keep_for));
        Ok(self.0.shared.with_queue(|queue| queue.put(key, value, millis(now), expires))?)
    }
}

fn millis(time: Duration) -> u64 {
    time.as_millis().try_into().unwrap_or(u64::MAX)
}

/// Does `work` where it may block. A paused clock stands still meanwhile.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, DiskStoreError> {
    // It ends early only with the runtime.
    tokio::task::spawn_blocking(work).await.map_err(|error| DiskStoreError::Failed(Arc::new(error)))
}

impl Drop for DiskStoreInner {
    fn drop(&mut self) {
        self.shared.with_queue(Queue::close);
    }
}

impl fmt::Debug for DiskStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DiskStore")
            .field("path", self.0.shared.path())
            .field("len", &self.len())
            .field("bytes", &self.bytes())
            .finish()
    }
}
