//! The guard of an admitted call: it reports the outcome of the call to the circuit breaker exactly once.
//!
//! The guard reads the clock at most once, when the call first has to wait for the upstream. A call that is ready at
//! once is neither slow nor hung, so the guard needs no clock for it.

use tokio::time::Instant;

use super::body::BreakerBody;
use super::gate::Ticket;
use super::handle::CircuitBreaker;
use crate::internal::signals::Wait;
use crate::{Error, Outcome};

/// The admission of one call by the circuit breaker.
///
/// A drop of the admission before `settle` means that the call was dropped. The admission then reports a failure if
/// the call has waited for the upstream for at least `abandoned_after`, and otherwise a neutral outcome. A neutral
/// outcome frees the place of a probe.
#[derive(Debug)]
pub(super) struct Admission {
    /// `None` if no circuit breaker guards the call, or if the outcome has been reported.
    circuit: Option<CircuitBreaker>,
    ticket: Ticket,
    /// The time at which the call first had to wait for the upstream.
    waiting_since: Option<Instant>,
    /// True while the call waits for another host, to which the upstream has redirected the call.
    is_redirected: bool,
}

impl Admission {
    pub(super) fn new(circuit: CircuitBreaker, ticket: Ticket) -> Self {
        Self { circuit: Some(circuit), ticket, waiting_since: None, is_redirected: false }
    }

    /// Makes the admission of a call that no circuit breaker guards.
    pub(super) const fn none() -> Self {
        Self { circuit: None, ticket: Ticket::Unjudged, waiting_since: None, is_redirected: false }
    }

    /// True until the outcome is reported. Always false without a circuit breaker.
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

    /// Records the time at which the call began to wait for the upstream. A wait for a permit does not count. If no
    /// layer below has signalled why the call is pending, the wait for the upstream is taken to begin now.
    #[inline]
    pub(super) fn pending(&mut self, wait: Option<Wait>) {
        self.is_redirected = wait == Some(Wait::RedirectTarget);
        if self.waiting_since.is_none() && self.circuit.is_some() {
            self.waiting_since = match wait {
                Some(Wait::Queue) => None,
                Some(Wait::Upstream(since)) => Some(since),
                Some(Wait::RedirectTarget) | None => Some(Instant::now()),
            };
        }
    }

    /// Reports the outcome of the call. Returns the observer of the response's body, if the body counts.
    #[inline]
    pub(super) fn settle(&mut self, outcome: Outcome) -> Option<BreakerBody> {
        let circuit = self.circuit.take()?;
        circuit.ended(self.ticket, outcome, self.waiting_since);
        match self.ticket {
            Ticket::Counted(generation) => Some(BreakerBody::new(circuit, generation)),
            // These bodies do not count: a probe ends with the head, and the outcome of an unjudged call is ignored.
            Ticket::Probe(_) | Ticket::Unjudged => None,
        }
    }

    /// Reports that the upstream has answered with a redirect to another host. Whatever the other host does, the
    /// upstream is alive.
    #[cold]
    pub(super) fn settle_redirected(&mut self) {
        if let Some(circuit) = self.circuit.take() {
            circuit.ended(self.ticket, Outcome::Success, None);
        }
    }

    /// True while the call waits for another host, to which the upstream has redirected the call.
    pub(super) const fn is_redirected(&self) -> bool {
        self.is_redirected
    }

    /// Reports that the call was dropped, or cut by its deadline. Does nothing after `settle`.
    #[inline]
    pub(super) fn abandon(&mut self) {
        if self.is_redirected {
            return self.settle_redirected();
        }
        if let Some(circuit) = self.circuit.take() {
            circuit.abandoned(self.ticket, self.waiting_since);
        }
    }
}

impl Drop for Admission {
    #[inline]
    fn drop(&mut self) {
        self.abandon();
    }
}
