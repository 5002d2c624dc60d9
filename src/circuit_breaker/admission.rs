//! What an admitted call holds: the duty to say how it went.

use tokio::time::Instant;

use super::body::BreakerBody;
use super::gate::Ticket;
use super::handle::CircuitBreaker;
use crate::internal::signals::Wait;
use crate::{Error, Outcome};

/// An admission to a circuit. Dropped before it is settled, it gives a probe's place back, and counts as a failure if
/// the call had run long enough to be a hang.
#[derive(Debug)]
pub(super) struct Admission {
    /// `None` without a circuit, and once it is settled.
    circuit: Option<CircuitBreaker>,
    ticket: Ticket,
    /// When the call first had to wait for the upstream: what never waits is neither slow nor hung, and needs no clock.
    waiting_since: Option<Instant>,
}

impl Admission {
    pub(super) fn new(circuit: CircuitBreaker, ticket: Ticket) -> Self {
        Self { circuit: Some(circuit), ticket, waiting_since: None }
    }

    /// For a call that no circuit guards.
    pub(super) const fn none() -> Self {
        Self { circuit: None, ticket: Ticket::Unjudged, waiting_since: None }
    }

    /// Whether there is somebody to settle it with.
    pub(super) const fn is_open(&self) -> bool {
        self.circuit.is_some()
    }

    /// Gives an error the name of the circuit.
    #[cold]
    pub(super) fn name<E>(&self, error: &mut Error<E>) {
        if let Some(circuit) = &self.circuit {
            error.set_upstream(circuit.shared_name());
        }
    }

    /// The call has to wait. If nobody says for what, it is for the upstream.
    #[inline]
    pub(super) fn pending(&mut self, wait: Option<Wait>) {
        if self.waiting_since.is_none() && self.circuit.is_some() {
            self.waiting_since = match wait {
                Some(Wait::Queue) => None,
                Some(Wait::Upstream(since)) => Some(since),
                None => Some(Instant::now()),
            };
        }
    }

    /// The call has ended with this outcome. Returns what observes the body of the response.
    #[inline]
    pub(super) fn settle(&mut self, outcome: Outcome) -> Option<BreakerBody> {
        let circuit = self.circuit.take()?;
        circuit.ended(self.ticket, outcome, self.waiting_since);
        match self.ticket {
            Ticket::Counted(generation) => Some(BreakerBody::new(circuit, generation)),
            // A probe has had its say with the head.
            Ticket::Probe(_) | Ticket::Unjudged => None,
        }
    }

    /// The call was dropped by its caller, unless it is settled.
    #[inline]
    pub(super) fn abandon(&mut self) {
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
