//! The queue of values between the handles of a store and its writer thread.
//!
//! The queue is plain data under the writer's mutex. The writer takes all waiting values as one batch. Reads see the
//! waiting values and the values that are being written, and all of them count against the bound.

use std::collections::HashMap;
use std::mem;
use std::sync::Arc;
use std::sync::mpsc::Sender;

use bytes::Bytes;

use super::error::{DiskFault, DiskStoreError};

/// The approximate overhead of an entry in memory and on disk, in bytes.
const OVERHEAD: u64 = 128;

/// The size of an entry in bytes, including the overhead.
pub(super) const fn size(key: &str, value: &[u8]) -> u64 {
    (key.len() + value.len()) as u64 + OVERHEAD
}

/// A value with its expiry.
#[derive(Debug, Clone)]
pub(super) struct QueuedValue {
    pub(super) value: Bytes,
    /// In milliseconds since 1970-01-01 UTC.
    pub(super) expires: u64,
    /// The sequence number of the `put`.
    pub(super) number: u64,
}

/// The values of one transaction.
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

/// The sender to a waiter, which receives the result of a write.
pub(super) type Waiter = Sender<Result<(), DiskFault>>;

/// The next task of the writer.
pub(super) struct Work {
    pub(super) batch: Arc<Batch>,
    /// The time of the latest `put`. Entries that have expired at this time are removed. The writer thread reads no
    /// clock of its own, since tests with paused time could not control that clock.
    pub(super) now: u64,
    pub(super) waiters: Vec<Waiter>,
    /// The failure of an earlier write, for the waiters to return. `None` if there are no waiters, or if no failure
    /// remains to be returned.
    pub(super) failure: Option<DiskFault>,
    /// True if a read has failed. The writer then writes even an empty batch, to test the database.
    pub(super) doubtful: bool,
    /// True for the last task: the store is closed.
    pub(super) closed: bool,
}

/// The values that wait for the writer, and the values that are being written.
#[derive(Debug)]
pub(super) struct Queue {
    max_bytes: u64,
    waiting: Batch,
    writing: Arc<Batch>,
    next_number: u64,
    now: u64,
    waiters: Vec<Waiter>,
    doubtful: bool,
    /// True once no further value is accepted.
    closed: bool,
    /// True once all values are written and the file is closed.
    finished: bool,
    /// The failure of an earlier write, until a `put` or a later `flush` or `close` returns it.
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

    /// Returns the newest queued value of `key`, expired or not. It takes precedence over the value on disk.
    pub(super) fn get(&self, key: &str) -> Result<Option<QueuedValue>, DiskStoreError> {
        if self.closed {
            return Err(DiskStoreError::Closed);
        }
        Ok(self.waiting.entries.get(key).or_else(|| self.writing.entries.get(key)).cloned())
    }

    /// Queues a value, and replaces a waiting value of the same key.
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

    /// Registers a waiter for the write of all values queued so far. Returns false if the file is closed already.
    pub(super) fn add_waiter(&mut self, waiter: Waiter) -> bool {
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

    /// True if the writer should write at once instead of waiting for more values.
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

    /// Ends the write of the current batch. After a failure, the batch is lost.
    pub(super) fn done(&mut self, result: &Result<(), DiskFault>) {
        self.writing = Arc::default();
        if let Err(cause) = result {
            self.failure = Some(Arc::clone(cause));
        }
    }

    /// Marks the file as closed. Returns the waiters that arrived after the last batch was taken.
    pub(super) fn finish(&mut self) -> Vec<Waiter> {
        self.finished = true;
        mem::take(&mut self.waiters)
    }
}
