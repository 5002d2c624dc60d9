//! Keeps a response as its body passes by.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;

use super::behind::{BoxFuture, Until};
use super::entry::{Entry, Times};
use super::head::NextHead;
use super::key::Key;
use super::memory::Found;
use super::received::Received;
use super::shared::Shared;

/// Sees the body of a good response without a wait, and keeps the response if it was whole.
pub(super) struct Keeper {
    pub(super) shared: Arc<Shared>,
    pub(super) key: Key,
    /// The version of the key when the call began.
    pub(super) version: u64,
    /// What there was when the head came.
    pub(super) found: Found,
    pub(super) head: NextHead,
    pub(super) times: Times,
    pub(super) received: Received,
    /// The end of the call, which is also that of the wait for a store.
    pub(super) until: Until,
}

impl Keeper {
    /// Whether the body may still be kept.
    pub(super) fn receive(&mut self, data: &Bytes) -> bool {
        let fits = data.len() <= self.shared.max_entry_bytes() - self.received.len();
        if fits {
            self.received.push(data, self.found.body());
        }
        fits
    }

    /// What is still to be done, if a store is to be told.
    pub(super) fn keep(self) -> Option<BoxFuture<()>> {
        let Self { shared, key, version, found, head, times, received, until } = self;
        let same_body = found.entry.as_ref().filter(|entry| received.is_all_of(entry.body()));
        let entry = match (head, same_body) {
            (NextHead::Same(_), Some(same)) => Arc::clone(same),
            // For the sake of its other headers it is not kept again and again.
            (NextHead::New(draft), Some(same))
                if shared.is_new_enough(same, times) && draft.is_like(same.head()) =>
            {
                return None;
            }
            (head, _) => {
                let entry = Entry::new(head.into_head(), received.into_body(found.body()), times);
                if let Some(before) = &found.entry {
                    entry.set_synced(before.synced());
                }
                Arc::new(entry)
            }
        };
        let kept = shared.memory.keep(&key, version, &found, &entry, times);
        kept.then(|| shared.tell_store(&key, &entry, until)).flatten()
    }
}

// What is kept may be secret: the headers that the response varies on, its own, and its body.
impl fmt::Debug for Keeper {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keeper").field("length", &self.received.len()).finish_non_exhaustive()
    }
}
