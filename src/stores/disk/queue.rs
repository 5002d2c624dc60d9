//! What waits to be written.

use std::collections::HashMap;
use std::mem;
use std::sync::Arc;
use std::sync::mpsc::Sender;

use bytes::Bytes;

use super::error::{DiskFault, DiskStoreError};

/// What an entry takes besides its key and its value, in memory and on disk, near enough.
const OVERHEAD: u64 = 128;

/// What an entry takes.
pub(super) const fn size(key: &str, value: &[u8]) -> u64 {
    (key.len() + value.len()) as u64 + OVERHEAD
}

/// A value, and how long it is to be kept.
#[derive(Debug, Clone)]
pub(super) struct QueuedValue {
    pub(super) value: Bytes,
    /// In milliseconds since the beginning of 1970.
    pub(super) expires: u64,
    /// Which of all puts it was.
    pub(super) number: u64,
}

/// What one transaction writes.
#[derive(Debug, Default)]
pub(super) struct Batch {
    pub(super) entries: HashMap<String, QueuedValue>,
    bytes: u64,
}

impl Batch {
    fn size_of(&self, key: &str) -> u64 {
        self.entries.get(key).map_or(0, |entry| size(key, &entry.value))
    }

    fn insert(&mut self, key: &str, entry: QueuedValue) {
        self.bytes = self.bytes - self.size_of(key) + size(key, &entry.value);
        self.entries.insert(key.to_owned(), entry);
    }
}

/// Whom to tell how a write ended.
pub(super) type Waiter = Sender<Result<(), DiskFault>>;

/// What the writer is to do next.
pub(super) struct Work {
    pub(super) batch: Arc<Batch>,
    /// What has expired by then goes. Not the writer's own time, which is not the tests'.
    pub(super) now: u64,
    pub(super) waiters: Vec<Waiter>,
    /// How an earlier write failed, for these waiters to be told.
    pub(super) failure: Option<DiskFault>,
    /// A read has failed, so there is something to find out even if there is nothing to write.
    pub(super) doubtful: bool,
    /// It is the last.
    pub(super) closed: bool,
}

/// Values on their way to the disk: those that wait, and those that are being written.
#[derive(Debug)]
pub(super) struct Queue {
    max_bytes: u64,
    waiting: Batch,
    writing: Arc<Batch>,
    next_number: u64,
    now: u64,
    waiters: Vec<Waiter>,
    doubtful: bool,
    /// Nothing more is taken.
    closed: bool,
    /// All is written, and the file is let go.
    finished: bool,
    /// Of the last write that failed, until a put or a flush has been told.
    failure: Option<DiskFault>,
}

impl Queue {
    pub(super) fn new(max_bytes: u64, next_number: u64) -> Self {
        Self {
            max_bytes,
            waiting: Batch::default(),
            writing: Arc::default(),
            next_number,
            now: 0,
            waiters: Vec::new(),
            doubtful: false,
            closed: false,
            finished: false,
            failure: None,
        }
    }

    /// The newest value on its way, whether it has expired or not: it stands for what is on the disk.
    pub(super) fn get(&self, key: &str) -> Result<Option<QueuedValue>, DiskStoreError> {
        if self.closed {
            return Err(DiskStoreError::Closed);
        }
        Ok(self.waiting.entries.get(key).or_else(|| self.writing.entries.get(key)).cloned())
    }

    /// Takes a value, in place of one that still waits.
    pub(super) fn put(
        &mut self,
        key: &str,
        value: Bytes,
        now: u64,
        expires: u64,
    ) -> Result<(), DiskStoreError> {
        if self.closed {
            return Err(DiskStoreError::Closed);
        }
        if let Some(cause) = self.failure.take() {
            return Err(DiskStoreError::Failed(cause));
        }
        let others = self.writing.bytes + self.waiting.bytes - self.waiting.size_of(key);
        if others + size(key, &value) > self.max_bytes {
            return Err(DiskStoreError::QueueFull { max_queued_bytes: self.max_bytes });
        }
        self.now = now;
        self.waiting.insert(key, QueuedValue { value, expires, number: self.next_number });
        self.next_number += 1;
        Ok(())
    }

    /// Has somebody told when what is queued now has been written. `false` if there is nothing to wait for any more.
    pub(super) fn tell(&mut self, waiter: Waiter) -> bool {
        if !self.finished {
            self.waiters.push(waiter);
        }
        !self.finished
    }

    pub(super) fn doubt(&mut self) {
        self.doubtful = true;
    }

    pub(super) fn close(&mut self) {
        self.closed = true;
    }

    pub(super) fn is_idle(&self) -> bool {
        self.waiting.entries.is_empty() && !self.doubtful && !self.is_urgent()
    }

    /// Whether the writer should wait for no more company.
    pub(super) fn is_urgent(&self) -> bool {
        self.closed || !self.waiters.is_empty() || self.waiting.bytes > self.max_bytes / 2
    }

    pub(super) fn take(&mut self) -> Work {
        self.writing = Arc::new(mem::take(&mut self.waiting));
        let waiters = mem::take(&mut self.waiters);
        Work {
            batch: Arc::clone(&self.writing),
            now: self.now,
            failure: if waiters.is_empty() { None } else { self.failure.take() },
            waiters,
            doubtful: mem::take(&mut self.doubtful),
            closed: self.closed,
        }
    }

    /// What was taken has been written, or is lost.
    pub(super) fn done(&mut self, result: &Result<(), DiskFault>) {
        self.writing = Arc::default();
        if let Err(cause) = result {
            self.failure = Some(Arc::clone(cause));
        }
    }

    /// The file is let go. Who has come since the last work was taken waits for that.
    pub(super) fn finish(&mut self) -> Vec<Waiter> {
        self.finished = true;
        mem::take(&mut self.waiters)
    }
}
