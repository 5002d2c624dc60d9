//! Keeps a response as its body passes by.

use std::fmt;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use bytes::Bytes;

use super::behind::{BoxFuture, Until};
use super::entry::{Entry, Times};
use super::head::NextHead;
use super::key::Key;
use super::memory::Found;
use super::received::Received;
use super::shared::Shared;
use crate::http::body::{End, Watch};
use crate::message::sealed::Sealed;

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
    fn receive(&mut self, data: &Bytes) -> bool {
        let fits = data.len() <= self.shared.max_entry_bytes - self.received.len();
        if fits {
            self.received.push(data, self.found.body());
        }
        fits
    }

    /// What is still to be done, if a store is to be told.
    fn keep(self) -> Option<BoxFuture<()>> {
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

/// Watches a body for the sake of a keeper.
pub(super) struct Watching(State);

#[derive(Default)]
enum State {
    /// The body is not kept, or not any more.
    #[default]
    Idle,
    Keeping(Keeper),
    /// A store is being told. Locked by nobody: the future of a store need not be `Sync`, and a body has to be.
    Telling(Mutex<BoxFuture<()>>),
}

impl Watching {
    pub(super) const fn nothing() -> Self {
        Self(State::Idle)
    }

    pub(super) const fn keep(keeper: Keeper) -> Self {
        Self(State::Keeping(keeper))
    }

    /// Whether there is still something to be kept, or to be told.
    pub(super) const fn is_busy(&self) -> bool {
        !matches!(self.0, State::Idle)
    }
}

// What is kept may be secret: the headers that the response varies on, its own, and its body.
impl fmt::Debug for Watching {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kept = match &self.0 {
            State::Keeping(keeper) => Some(keeper.received.len()),
            State::Idle | State::Telling(_) => None,
        };
        f.debug_struct("Watching").field("kept", &kept).finish()
    }
}

impl Sealed for Watching {}

impl Watch<Bytes> for Watching {
    fn data(self: Pin<&mut Self>, data: &Bytes) {
        let state = &mut self.get_mut().0;
        if let State::Keeping(keeper) = state {
            if !keeper.receive(data) {
                *state = State::Idle;
            }
        }
    }

    fn end(self: Pin<&mut Self>, end: End) {
        let state = &mut self.get_mut().0;
        if let (End::Whole, State::Keeping(keeper)) = (end, std::mem::take(state)) {
            if let Some(telling) = keeper.keep() {
                *state = State::Telling(Mutex::new(telling));
            }
        }
    }

    fn end_of_nothing(mut self) -> Option<Self> {
        Pin::new(&mut self).end(End::Whole);
        self.is_busy().then_some(self)
    }

    fn poll_settled(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        match &mut self.get_mut().0 {
            State::Telling(telling) => {
                telling.get_mut().unwrap_or_else(PoisonError::into_inner).as_mut().poll(cx)
            }
            State::Idle | State::Keeping(_) => Poll::Ready(()),
        }
    }
}
