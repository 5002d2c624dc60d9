//! What is done while a call is waited for: the soft limit passes, and a store is asked while there is time for it.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use pin_project::pin_project;

use super::behind::{BoxFuture, Until};
use super::entry::Entry;
use super::plan::Answering;
use crate::deadline::{Timer, after};

/// The waits beside that for the call.
#[pin_project]
pub(super) struct Waits {
    /// The end of the soft limit.
    #[pin]
    soft: Timer,
    is_slow: bool,
    /// The last moment at which the store can be asked and still answer within the call.
    #[pin]
    ahead: Timer,
    is_late: bool,
    search: Search,
}

/// A search for what could be served.
enum Search {
    NotYet,
    Asking(BoxFuture<()>),
    /// What it has brought is in memory.
    Done,
}

impl Waits {
    /// `None` if there is nothing to be done meanwhile.
    pub(super) fn new(answering: &Answering, soft_limit: Option<Duration>) -> Option<Self> {
        (soft_limit.is_some() || answering.shared().store.is_some()).then(|| Self {
            soft: Timer::new(soft_limit.and_then(|limit| after(answering.began(), limit))),
            is_slow: false,
            ahead: Timer::new(None),
            is_late: false,
            search: Search::NotYet,
        })
    }

    /// The call has to end by then.
    fn set_end(self: Pin<&mut Self>, answering: &Answering, until: Until) {
        let mut this = self.project();
        if this.ahead.is_set() {
            return;
        }
        if let Some((until, store)) = until.zip(answering.shared().store.as_ref()) {
            let at = until.checked_sub(store.timeout());
            this.ahead.set(Timer::new(Some(at.unwrap_or(until))));
        }
    }

    /// Ready with what is to be served in place of the call, if it is slow and there is something.
    pub(super) fn poll(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        answering: &Answering,
        until: Until,
    ) -> Poll<Arc<Entry>> {
        self.as_mut().set_end(answering, until);
        let mut this = self.project();
        *this.is_slow = *this.is_slow || this.soft.as_mut().poll_elapsed(cx).is_ready();
        *this.is_late = *this.is_late || this.ahead.as_mut().poll_elapsed(cx).is_ready();
        if !*this.is_slow && !*this.is_late {
            return Poll::Pending;
        }
        if let Search::NotYet = this.search {
            *this.search = if answering.may_learn(answering.find().as_ref()) {
                Search::Asking(answering.look_up(until))
            } else {
                Search::Done
            };
        }
        if let Search::Asking(asking) = this.search {
            ready!(asking.as_mut().poll(cx));
            *this.search = Search::Done;
        }
        // As it is now: since it was looked for, it may have been forgotten, or renewed.
        if *this.is_slow { answering.find().map_or(Poll::Pending, Poll::Ready) } else { Poll::Pending }
    }

    /// The search, for a call that has ended meanwhile; `None` if it has not begun, or is done.
    pub(super) fn into_search(self: Pin<&mut Self>) -> Option<BoxFuture<()>> {
        match std::mem::replace(self.project().search, Search::Done) {
            Search::Asking(asking) => Some(asking),
            Search::NotYet | Search::Done => None,
        }
    }

    /// Whether the store was asked already.
    pub(super) fn has_searched(&self) -> bool {
        matches!(self.search, Search::Done)
    }
}
