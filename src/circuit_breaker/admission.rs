//! The guard of an admitted call: it records the verdict on the call exactly once.
//!
//! The guard reads the clock when the call first has to wait for the upstream, and when such a call ends. A call that
//! is ready at once is neither slow nor hung, so the guard needs no clock for it.

use std::fmt;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::Instant;

use super::body::BreakerBody;
use super::gate::Ticket;
use super::handle::CircuitBreaker;
use super::queued::Opening;
use crate::internal::signals::{CircuitOpened, Wait};
use crate::{Error, Outcome};

/// The admission of one call by the circuit breaker.
///
/// A drop of the admission before its end means that the caller has dropped the call.
pub(super) struct Admission {
    /// `None` if no circuit breaker guards the call, or if the call has ended.
    circuit: Option<CircuitBreaker>,
    /// `Unjudged` once the verdict is recorded.
    ticket: Ticket,
    /// The time at which the call first had to wait for the upstream.
    waiting_since: Option<Instant>,
    /// True while the call waits for another host, to which the upstream has redirected the call.
    is_redirected: bool,
    share: Share,
    /// True if the circuit has opened while the call waited in a queue, and the queue has been told.
    has_opened: bool,
    /// Set while the call waits in the queue of a bulkhead.
    opening: Option<Opening>,
}

/// The state of the share of the total time that the attempt has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Share {
    Running,
    /// The attempt has lasted for its whole share, and goes on.
    Over,
    /// The same, and the attempt was judged at the end of its share.
    OverAndJudged,
}

impl Admission {
    pub(super) fn new(circuit: CircuitBreaker, ticket: Ticket) -> Self {
        Self { circuit: Some(circuit), ticket, ..Self::none() }
    }

    /// Makes the admission of a call that no circuit breaker guards.
    pub(super) const fn none() -> Self {
        Self {
            circuit: None,
            ticket: Ticket::Unjudged,
            waiting_since: None,
            is_redirected: false,
            share: Share::Running,
            has_opened: false,
            opening: None,
        }
    }

    /// True until the call ends. Always false without a circuit breaker.
    pub(super) const fn is_open(&self) -> bool {
        self.circuit.is_some()
    }

    /// Puts the upstream's name on an error that has no name yet.
    #[cold]
    pub(super) fn name<E>(&self, error: &mut Error<E>) {
        if let Some(circuit) = &self.circuit {
            error.set_upstream(circuit.shared_name());
        }
    }

    /// Ready once, if the circuit opens while the call waits in a queue.
    #[inline]
    pub(super) fn poll_opened(&mut self, cx: &mut Context<'_>) -> Poll<CircuitOpened> {
        let Some(opening) = &mut self.opening else { return Poll::Pending };
        let polled = opening.poll(cx);
        if polled.is_ready() {
            self.has_opened = true;
            self.opening = None;
        }
        polled
    }

    /// Notes why the call is pending. A wait for a permit does not count as a wait for the upstream. If no layer
    /// below says why the call is pending, the wait for the upstream begins now.
    ///
    /// An attempt that is overdue can count as a failure, if the judge finds a fault in a call that is cut. Ready if
    /// the call has just joined a queue, and the circuit has opened meanwhile.
    #[inline]
    pub(super) fn poll_pending(
        &mut self,
        wait: Option<Wait>,
        is_cut_a_fault: impl FnOnce() -> bool,
        cx: &mut Context<'_>,
    ) -> Poll<CircuitOpened> {
        let Some(circuit) = &self.circuit else { return Poll::Pending };
        if wait == Some(Wait::Queue) {
            // A call that has waited for the upstream waits in the queue of another upstream, for example for a token.
            return if self.waiting_since.is_none() { self.poll_queued(cx) } else { Poll::Pending };
        }
        self.is_redirected = wait == Some(Wait::RedirectTarget);
        let since = match (self.waiting_since, wait) {
            (Some(since), _) | (None, Some(Wait::Upstream(since))) => since,
            (None, _) => Instant::now(),
        };
        self.waiting_since = Some(since);
        self.opening = None;
        if wait == Some(Wait::Overdue) {
            self.share = Share::Over;
            let is_judged = self.ticket == Ticket::Unjudged;
            if !is_judged && is_cut_a_fault() && circuit.overdue(self.ticket, since.elapsed()) {
                self.ticket = Ticket::Unjudged;
                self.share = Share::OverAndJudged;
            }
        }
        Poll::Pending
    }

    #[cold]
    fn poll_queued(&mut self, cx: &mut Context<'_>) -> Poll<CircuitOpened> {
        if self.opening.is_none() && !self.has_opened {
            self.opening = self.circuit.clone().map(Opening::of);
            return self.poll_opened(cx);
        }
        Poll::Pending
    }

    /// Records the verdict on an answered call. If a good answer `is_streamed`, the verdict follows with the end of
    /// the body. Returns the observer of this body.
    #[inline]
    pub(super) fn answered(&mut self, outcome: Outcome, is_streamed: bool) -> Option<BreakerBody> {
        let circuit = self.circuit.take()?;
        let took = self.waited();
        let slow = circuit.is_slow(took);
        if outcome == Outcome::Success {
            if let Some(took) = took {
                circuit.learn_answer_time(took, self.share == Share::OverAndJudged);
            }
            if is_streamed && self.ticket != Ticket::Unjudged {
                if let Ticket::Probe(id) = self.ticket {
                    circuit.probe_answered(id);
                }
                return Some(BreakerBody::new(circuit, self.ticket, slow));
            }
        }
        circuit.ended(self.ticket, outcome, slow);
        None
    }

    /// Records the verdict on a call that has failed with `error`.
    #[cold]
    pub(super) fn failed<E>(&mut self, error: &Error<E>, outcome: Outcome) {
        if error.is_refusal() {
            if let Some(circuit) = self.circuit.as_ref().filter(|_| self.has_opened) {
                circuit.count_refused();
            }
            self.answered(Outcome::Neutral, false);
        } else if error.is_of_redirect_target() || error.is_timeout() && self.is_redirected {
            self.redirected();
        } else if error.is_cut_by_caller() && outcome.is_fault() {
            if let Some(circuit) = self.circuit.take() {
                circuit.cut(self.ticket, self.waited(), self.share != Share::Running);
            }
        } else {
            self.answered(outcome, false);
        }
    }

    /// Records that the upstream has answered with a redirect to another host. Whatever the other host does, the
    /// upstream is alive.
    #[cold]
    pub(super) fn redirected(&mut self) {
        if let Some(circuit) = self.circuit.take() {
            circuit.ended(self.ticket, Outcome::Success, false);
        }
    }

    /// Records that the caller has dropped the call. `is_neutral` is true if no end of the call says anything about
    /// the upstream.
    #[cold]
    pub(super) fn dropped(&mut self, is_neutral: bool) {
        if is_neutral {
            self.answered(Outcome::Neutral, false);
        } else if self.is_redirected {
            self.redirected();
        } else if let Some(circuit) = self.circuit.take() {
            circuit.abandoned(self.ticket, self.waited());
        }
    }

    fn waited(&self) -> Option<Duration> {
        self.waiting_since.map(|since| since.elapsed())
    }
}

impl fmt::Debug for Admission {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Admission").field("ticket", &self.ticket).finish_non_exhaustive()
    }
}
