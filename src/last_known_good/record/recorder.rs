//! Keeps a response as its body passes by.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;

use crate::last_known_good::entry::head::NextHead;
use crate::last_known_good::entry::{Entry, Times};
use crate::last_known_good::memory::cache::Found;
use crate::last_known_good::policy::key::Key;
use crate::last_known_good::record::capture::BodyCapture;
use crate::last_known_good::tier::bounded_store::{BoxFuture, Deadline};
use crate::last_known_good::tier::state::CacheState;

/// Sees the body of a good response without a wait, and keeps the response if it was whole.
pub(crate) struct Recorder {
    pub(crate) state: Arc<CacheState>,
    pub(crate) key: Key,
    /// The version of the key when the call began.
    pub(crate) version: u64,
    /// What there was when the head came.
    pub(crate) found: Found,
    pub(crate) head: NextHead,
    pub(crate) times: Times,
    pub(crate) capture: BodyCapture,
    /// The end of the call, which is also that of the wait for a store.
    pub(crate) deadline: Deadline,
}

impl Recorder {
    /// Whether the body may still be kept.
    pub(crate) fn receive(&mut self, data: &Bytes) -> bool {
        let fits = data.len() <= self.state.max_entry_bytes() - self.capture.len();
        if fits {
            self.capture.push(data, self.found.body());
        }
        fits
    }

    /// What is still to be done, if a store is to be told.
    pub(crate) fn store(self) -> Option<BoxFuture<()>> {
        let Self { state, key, version, found, head, times, capture, deadline } = self;
        let same_body = found.entry.as_ref().filter(|entry| capture.is_all_of(entry.body()));
        let entry = match (head, same_body) {
            (NextHead::Same(_), Some(same)) => Arc::clone(same),
            // For the sake of its other headers it is not kept again and again.
            (NextHead::New(draft), Some(same))
                if state.is_new_enough(same, times) && draft.is_like(same.head()) =>
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

// What is kept may be secret: the headers that the response varies on, its own, and its body.
impl fmt::Debug for Recorder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Recorder").field("length", &self.capture.len()).finish_non_exhaustive()
    }
}
