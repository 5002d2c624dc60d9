//! What is done while a call is waited for: the soft limit passes, and a store is asked while there is time for it.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use pin_project::pin_project;

use crate::internal::clock::{CutTimer, Timer, after};
use crate::last_known_good::entry::Entry;
use crate::last_known_good::plan::CacheableCall;
use crate::last_known_good::tier::bounded_store::BoxFuture;

/// What has come before the end of the call.
pub(super) enum Waited<T> {
    /// The soft limit has passed, and this is to be served.
    Slow(T),
    /// The deadline has passed.
    Late,
}

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
    /// The deadline, where no layer below is known to check it.
    #[pin]
    deadline: CutTimer,
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
    pub(super) fn new(cacheable: &CacheableCall) -> Option<Self> {
        let (soft_limit, deadline) = (cacheable.soft_limit(), cacheable.unchecked_deadline());
        let store = cacheable.state().store.as_ref();
        if soft_limit.is_none() && deadline.is_none() && store.is_none() {
            return None;
        }
        let ahead = cacheable.deadline().zip(store).map(|(deadline, store)| {
            // The store needs its time before the end of the call.
            deadline.checked_sub(store.timeout()).unwrap_or(deadline)
        });
        Some(Self {
            soft: Timer::new(soft_limit.and_then(|limit| after(cacheable.began(), limit))),
            is_slow: false,
            ahead: Timer::new(ahead),
            is_late: false,
            deadline: CutTimer::of_cache(deadline),
            search: Search::NotYet,
        })
    }

    /// Ready when the call is slow and there is something to be served in its place, or when its deadline has passed.
    pub(super) fn poll(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        cacheable: &CacheableCall,
    ) -> Poll<Waited<Arc<Entry>>> {
        let mut this = self.project();
        if this.deadline.as_mut().poll_elapsed(cx).is_ready() {
            return Poll::Ready(Waited::Late);
        }
        *this.is_slow = *this.is_slow || this.soft.as_mut().poll_elapsed(cx).is_ready();
        *this.is_late = *this.is_late || this.ahead.as_mut().poll_elapsed(cx).is_ready();
        if !*this.is_slow && !*this.is_late {
            return Poll::Pending;
        }
        if let Search::NotYet = this.search {
            *this.search = if cacheable.needs_read_through(cacheable.find().as_ref()) {
                Search::Asking(cacheable.look_up())
            } else {
                Search::Done
            };
        }
        if let Search::Asking(asking) = this.search {
            ready!(asking.as_mut().poll(cx));
            *this.search = Search::Done;
        }
        // As it is now: since it was looked for, it may have been forgotten, or renewed.
        let found = if *this.is_slow { cacheable.find() } else { None };
        found.map_or(Poll::Pending, |entry| Poll::Ready(Waited::Slow(entry)))
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
