//! The writer thread of a disk store, and the state that it shares with the handles.
//!
//! # Batches
//!
//! A transaction costs a few syncs, whatever its size. The writer therefore collects values for up to a second and
//! writes them in one transaction. It writes at once if a caller waits for the result, the store is closed, or more
//! than half of the queue is used.
//!
//! # Failures
//!
//! After a failed write, for example on a full disk, redb refuses every operation. The batch is lost, and the next
//! `put`, `flush` or `close` returns the error. The writer abandons the database and opens the file again at once, so
//! that earlier entries can be read and later values can be written. If the file cannot be opened, each later write
//! first tries to open it.
//!
//! A read can fail or panic, too. The reader then marks the queue as doubtful, and the writer writes at least an
//! empty batch. If the database is unusable, this write fails and leads to the same recovery.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;

use bytes::Bytes;

use super::error::{DiskFault, DiskStoreError, caught};
use super::file::{self, OpenFile};
use super::queue::{Queue, Work};
use super::table::{self, Totals};
use crate::BoxError;
use crate::internal::log_events;

/// The maximum time for which a queued value waits for others, to be written in the same transaction.
const LINGER: Duration = Duration::from_secs(1);

#[derive(Debug)]
pub(super) struct WriterState {
    path: PathBuf,
    max_bytes: u64,
    queue: Mutex<Queue>,
    wake: Condvar,
    /// `None` after close, and after a failure until the file is open again. Only the writer changes the field.
    database: RwLock<Option<OpenFile>>,
    entries: AtomicU64,
    bytes: AtomicU64,
}

impl WriterState {
    /// Opens the file, or creates it.
    pub(super) fn open(path: PathBuf, max_bytes: u64, max_queued_bytes: u64) -> Result<Self, DiskStoreError> {
        let (database, totals) = file::open(&path)?;
        Ok(Self {
            path,
            max_bytes,
            queue: Mutex::new(Queue::new(max_queued_bytes, totals.next_number)),
            wake: Condvar::new(),
            database: RwLock::new(Some(database)),
            entries: AtomicU64::new(totals.entries),
            bytes: AtomicU64::new(totals.bytes),
        })
    }

    /// Reads or changes the queue. Wakes the writer if the queue has become non-empty or urgent.
    pub(super) fn with_queue<T>(&self, change: impl FnOnce(&mut Queue) -> T) -> T {
        let mut queue = self.queue();
        let before = (queue.is_idle(), queue.is_urgent());
        let result = change(&mut queue);
        if before != (queue.is_idle(), queue.is_urgent()) {
            self.wake.notify_one();
        }
        result
    }

    /// Reads a value from the file. Blocks.
    pub(super) fn read(&self, key: &str, now: u64) -> Result<Option<Bytes>, DiskFault> {
        let database = self.database.read().unwrap_or_else(PoisonError::into_inner);
        let database = database.as_ref().ok_or_else(not_open)?;
        let result = caught(|| table::get(database, key, now));
        if result.is_err() {
            self.with_queue(Queue::doubt);
        }
        result
    }

    pub(super) fn entries(&self) -> u64 {
        self.entries.load(Ordering::Relaxed)
    }

    pub(super) fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    pub(super) fn path(&self) -> &PathBuf {
        &self.path
    }

    // ===== the thread =====

    /// Writes queued values until the store is closed.
    pub(super) fn run(&self) {
        loop {
            let work = self.wait_for_work();
            let result =
                if work.batch.entries.is_empty() && !work.doubtful { Ok(()) } else { self.write(&work) };
            self.queue().done(&result);
            let reply = work.failure.map_or(result, Err);
            let late = if work.closed {
                self.shut();
                self.queue().finish()
            } else {
                Vec::new()
            };
            for waiter in work.waiters.into_iter().chain(late) {
                let _ = waiter.send(reply.clone()); // The waiter may be gone.
            }
            if work.closed {
                return;
            }
        }
    }

    fn wait_for_work(&self) -> Work {
        let queue = self.wake.wait_while(self.queue(), |queue| queue.is_idle());
        let queue = queue.unwrap_or_else(PoisonError::into_inner);
        let queue = self.wake.wait_timeout_while(queue, LINGER, |queue| !queue.is_urgent());
        queue.unwrap_or_else(PoisonError::into_inner).0.take()
    }

    fn write(&self, work: &Work) -> Result<(), DiskFault> {
        let result = self.try_write(work);
        if let Err(error) = &result {
            log_events::disk_write_failed(&self.path, work.batch.entries.len(), error);
            // redb refuses every operation after a failure. Open the file again, so that earlier entries can be read.
            let _ = self.reopen();
        }
        result
    }

    fn try_write(&self, work: &Work) -> Result<(), DiskFault> {
        if self.database.read().unwrap_or_else(PoisonError::into_inner).is_none() {
            self.reopen()?;
        }
        let database = self.database.read().unwrap_or_else(PoisonError::into_inner);
        let database = database.as_ref().ok_or_else(not_open)?;
        let totals = caught(|| table::write(database, &work.batch, work.now, self.max_bytes))?;
        self.count(totals);
        Ok(())
    }

    fn reopen(&self) -> Result<(), DiskFault> {
        let mut database = self.database.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(failed) = database.take() {
            failed.abandon();
        }
        let (opened, totals) = file::open(&self.path).map_err(|error| Arc::new(error) as DiskFault)?;
        *database = Some(opened);
        self.count(totals);
        Ok(())
    }

    /// Closes the file.
    fn shut(&self) {
        let database = self.database.write().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(database) = database {
            database.close();
        }
    }

    fn count(&self, totals: Totals) {
        self.entries.store(totals.entries, Ordering::Relaxed);
        self.bytes.store(totals.bytes, Ordering::Relaxed);
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn not_open() -> DiskFault {
    DiskFault::from(BoxError::from("its file could not be opened again"))
}
