//! The circuit breaker's observer of response bodies.

use std::pin::Pin;

use super::gate::Ticket;
use super::handle::CircuitBreaker;
use crate::Outcome;
use crate::http::body::{BodyEnd, BodyObserver};
use crate::sealed::Sealed;

/// Observes a response body for the circuit breaker. A body that breaks counts as a failure.
#[derive(Debug)]
pub struct BreakerBody {
    circuit: CircuitBreaker,
    generation: u64,
}

impl BreakerBody {
    pub(super) const fn new(circuit: CircuitBreaker, generation: u64) -> Self {
        Self { circuit, generation }
    }
}

impl Sealed for Option<BreakerBody> {}

/// `None` if the call is a probe, if its outcome does not count, or if no circuit breaker guards the call.
impl BodyObserver for Option<BreakerBody> {
    fn end(self: Pin<&mut Self>, end: BodyEnd) {
        if let (BodyEnd::Broken, Some(body)) = (end, &*self) {
            body.circuit.ended(Ticket::Counted(body.generation), Outcome::Failure, None);
        }
    }
}
