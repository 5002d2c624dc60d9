//! Keeps a response as its body passes by.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;
use tokio::time::Instant;

use super::MemoryStore;
use super::entry::{Entry, Head};
use super::key::Key;
use super::received::Received;
use super::store::Found;
use crate::http::body::{End, Watch};
use crate::message::sealed::Sealed;

/// Sees the body of a good response without a wait, and keeps the response if it was whole.
pub(super) struct Keeper {
    store: MemoryStore,
    key: Key,
    /// The version of the key when the call began.
    version: u64,
    /// What there was when the head came.
    found: Found,
    /// That of what was found, if it is the same.
    head: Arc<Head>,
    given_at: Instant,
    received: Received,
    max_length: usize,
}

impl Keeper {
    pub(super) fn new(
        store: MemoryStore,
        key: Key,
        version: u64,
        found: Found,
        head: Arc<Head>,
        max_length: usize,
    ) -> Self {
        let received = Received::default();
        Self { store, key, version, found, head, given_at: Instant::now(), received, max_length }
    }

    /// Whether the body may still be kept.
    fn receive(&mut self, data: &Bytes) -> bool {
        let fits = data.len() <= self.max_length - self.received.len();
        if fits {
            self.received.push(data, self.found.body());
        }
        fits
    }

    fn keep(self) {
        let Self { store, key, version, found, head, given_at, received, .. } = self;
        let is_same =
            |entry: &&Arc<Entry>| Arc::ptr_eq(entry.head(), &head) && received.is_all_of(entry.body());
        let entry = match found.entry.as_ref().filter(is_same) {
            Some(same) => Arc::clone(same),
            None => Arc::new(Entry::new(head, received.into_body(found.body()), given_at)),
        };
        store.keep(&key, version, found, &entry, given_at);
    }
}

// What is kept may be secret: the headers that the response varies on, its own, and its body.
impl fmt::Debug for Keeper {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keeper").field("length", &self.received.len()).finish_non_exhaustive()
    }
}

impl Sealed for Option<Keeper> {}

impl Watch<Bytes> for Option<Keeper> {
    fn data(self: Pin<&mut Self>, data: &Bytes) {
        let keeper = self.get_mut();
        if keeper.as_mut().is_some_and(|keeper| !keeper.receive(data)) {
            *keeper = None;
        }
    }

    fn end(self: Pin<&mut Self>, end: End) {
        if let (End::Whole, Some(keeper)) = (end, self.get_mut().take()) {
            keeper.keep();
        }
    }
}
