//! What an admitted call holds: the duty to say how it went.

use std::pin::Pin;
use std::time::Duration;

use tokio::time::Instant;

use super::circuit::Circuit;
use super::gate::Ticket;
use super::window::Record;
use crate::Outcome;
use crate::http::body::{End, Watch};
use crate::message::sealed::Sealed;
use crate::poll::Refusal;

/// An admission to a circuit. Dropped before it is settled, it gives a probe's place back, and counts as a failure if
/// the call had run long enough to be a hang.
#[derive(Debug)]
pub(super) struct Admission {
    circuit: Circuit,
    ticket: Ticket,
    /// When the call first had to wait for the upstream: what never waits is neither slow nor hung, and needs no clock.
    waiting_since: Option<Instant>,
    settled: bool,
}

impl Admission {
    pub(super) fn new(circuit: Circuit, ticket: Ticket) -> Self {
        Self { circuit, ticket, waiting_since: None, settled: false }
    }

    /// The call has to wait for the upstream.
    pub(super) fn pending(&mut self) {
        self.waiting_since.get_or_insert_with(Instant::now);
    }

    /// The call has ended with this outcome.
    pub(super) fn settle(&mut self, outcome: Outcome) {
        self.settled = true;
        match outcome {
            Outcome::Neutral => self.circuit.withdraw(self.ticket),
            outcome => {
                let slow = self.circuit.is_slow(|| self.waited());
                self.circuit.record(self.ticket, Record { failed: outcome.is_fault(), slow });
            }
        }
    }

    /// Whether the circuit would refuse another call.
    pub(super) fn refusal(&self) -> Option<Refusal> {
        self.circuit.refusal()
    }

    /// The call never reached the upstream.
    pub(super) fn cancel(&mut self) {
        self.settle(Outcome::Neutral);
    }

    fn waited(&self) -> Duration {
        self.waiting_since.map_or(Duration::ZERO, |since| since.elapsed())
    }
}

impl Drop for Admission {
    fn drop(&mut self) {
        if self.settled {
            return;
        }
        if self.waiting_since.is_some() && self.circuit.is_hang(self.waited()) {
            self.settle(Outcome::Failure);
        } else {
            self.cancel();
        }
    }
}

/// Watches the body of a response for the circuit breaker: one that breaks adds a failure.
#[derive(Debug)]
pub struct BodyWatch(Option<Admission>);

impl BodyWatch {
    /// For a call whose admission, if it was guarded at all, is settled.
    pub(super) fn new(admission: Option<Admission>) -> Self {
        Self(admission)
    }
}

impl Sealed for BodyWatch {}

impl<D> Watch<D> for BodyWatch {
    fn end(self: Pin<&mut Self>, end: End) {
        if let (End::Broken, Some(admission)) = (end, &self.0) {
            // A probe has had its say with the head.
            if let Ticket::Counted(_) = admission.ticket {
                admission.circuit.record(admission.ticket, Record { failed: true, slow: false });
            }
        }
    }
}
