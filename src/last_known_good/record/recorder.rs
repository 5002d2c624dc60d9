//! The recorder of a response: observes the body and stores the response once the body is complete.
//!
//! Each piece of the body is compared with the earlier entry as the piece passes. Only a body that differs is copied;
//! `plan.rs` says why.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;

use crate::last_known_good::entry::head::NextHead;
use crate::last_known_good::entry::{Entry, Times};
use crate::last_known_good::memory::cache::Found;
use crate::last_known_good::policy::key::Key;
use crate::last_known_good::record::capture::BodyCapture;
use crate::last_known_good::tier::bounded_store::{BoxFuture, WaitEnd};
use crate::last_known_good::tier::state::CacheState;

/// Observes the body of a good response and stores the response once the body is complete.
pub(crate) struct Recorder {
    pub(crate) state: Arc<CacheState>,
    pub(crate) key: Key,
    /// The version of the key at the beginning of the call.
    pub(crate) version: u64,
    /// The result of the lookup when the head arrived.
    pub(crate) found: Found,
    pub(crate) head: NextHead,
    pub(crate) times: Times,
    pub(crate) capture: BodyCapture,
    /// The deadline of the call, which also bounds the wait for the store.
    pub(crate) deadline: WaitEnd,
}

impl Recorder {
    /// Observes a piece of the body. Returns false if the body has become too large to store.
    pub(crate) fn receive(&mut self, data: &Bytes) -> bool {
        let fits = data.len() <= self.state.max_entry_bytes() - self.capture.len();
        if fits {
            self.capture.push(data, self.found.body());
        }
        fits
    }

    /// Stores the response in memory. Returns the write to the store; `None` if no write is necessary.
    pub(crate) fn store(self) -> Option<BoxFuture<()>> {
        let Self { state, key, version, found, head, times, capture, deadline } = self;
        let same_body = found.entry.as_ref().filter(|entry| capture.is_all_of(entry.body()));
        let entry = match (head, same_body) {
            (NextHead::Same(_), Some(same)) => Arc::clone(same),
            // Only insignificant headers differ, and the entry is recent: keep the entry.
            (NextHead::New(draft), Some(same))
                if state.is_new_enough(same, times) && draft.differs_insignificantly_from(same.head()) =>
            {
                return None;
            }
            (head, _) => {
                let entry = Entry::new(head.into_head(), capture.into_body(found.body()), times);
                if let Some(before) = &found.entry {
                    entry.set_synced(before.synced());
                }
                Arc::new(entry)
            }
        };
        let is_stored = state.memory.insert(&key, version, &found, &entry, times);
        is_stored.then(|| state.write_through(&key, &entry, deadline)).flatten()
    }
}

// Prints only the length. The headers of request and response, and the body, may be secret.
impl fmt::Debug for Recorder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Recorder").field("length", &self.capture.len()).finish_non_exhaustive()
    }
}
