//! While a call waits for the upstream, it also waits for the soft limit, for a read of the store, and for the
//! deadline.
//!
//! A read of the store that began only at the deadline would end too late. The read therefore begins while the call
//! waits for the upstream: at the soft limit, or at the deadline minus `store_timeout` if that is earlier. A call
//! that fails before the read has begun reads the store after the failure.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use pin_project::pin_project;

use crate::internal::clock::{CutTimer, Timer, after};
use crate::last_known_good::entry::Entry;
use crate::last_known_good::plan::CacheableCall;
use crate::last_known_good::tier::bounded_store::BoxFuture;

/// An event that came before the end of the call.
pub(super) enum Waited<T> {
    /// The soft limit has passed, and this entry is to be served.
    Slow(T),
    /// The deadline has passed.
    Late,
}

/// The timers of a call, and its search for an entry.
#[pin_project]
pub(super) struct Waits {
    /// The timer of the soft limit.
    #[pin]
    soft: Timer,
    is_slow: bool,
    /// The timer for the latest start of a read of the store: `store_timeout` before the deadline.
    #[pin]
    ahead: Timer,
    is_late: bool,
    /// The timer of the deadline, unused if all layers below are known to check the deadline.
    #[pin]
    deadline: CutTimer,
    search: Search,
}

/// The search for an entry to serve.
enum Search {
    NotYet,
    Reading(BoxFuture<()>),
    /// The store was not needed, or its entries are in memory now.
    Done,
}

impl Waits {
    /// Returns the waits of a call; `None` if there is no soft limit, no unchecked deadline and no store.
    pub(super) fn new(cacheable: &CacheableCall) -> Option<Self> {
        let (soft_limit, deadline) = (cacheable.soft_limit(), cacheable.unchecked_deadline());
        let store = cacheable.state().store.as_ref();
        if soft_limit.is_none() && deadline.is_none() && store.is_none() {
            return None;
        }
        let ahead = cacheable.deadline().zip(store).map(|(deadline, store)| {
            // The read takes up to `store_timeout`, and must end by the deadline.
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

    /// Ready when the soft limit has passed and an entry can be served, or when the deadline has passed.
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
                Search::Reading(cacheable.look_up())
            } else {
                Search::Done
            };
        }
        if let Search::Reading(reading) = this.search {
            ready!(reading.as_mut().poll(cx));
            *this.search = Search::Done;
        }
        // Look the entry up now, since it may have been invalidated or renewed during the search.
        let found = if *this.is_slow { cacheable.find() } else { None };
        found.map_or(Poll::Pending, |entry| Poll::Ready(Waited::Slow(entry)))
    }

    /// Takes out the read that is in progress, so that a failed call can wait for it; `None` if no read is in
    /// progress.
    pub(super) fn into_search(self: Pin<&mut Self>) -> Option<BoxFuture<()>> {
        match std::mem::replace(self.project().search, Search::Done) {
            Search::Reading(reading) => Some(reading),
            Search::NotYet | Search::Done => None,
        }
    }

    /// True if the search is done.
    pub(super) fn has_searched(&self) -> bool {
        matches!(self.search, Search::Done)
    }
}
