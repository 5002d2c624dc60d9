//! The circuit breaker's observer of response bodies. It records the verdict on a call whose body is streamed.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::Instant;

use super::gate::Ticket;
use super::handle::CircuitBreaker;
use crate::http::body::{BodyEnd, BodyObserver};
use crate::internal::signals::time_is_up;
use crate::internal::sync::atomic::Ordering::Relaxed;
use crate::sealed::Sealed;
use crate::{BoxError, Outcome};

/// Records the verdict on a call whose good answer is streamed: at the end of the body, or when the body is dropped.
/// A body that breaks off, or that has stalled when the deadline cuts it, makes the call a transient failure.
#[derive(Debug)]
pub struct BreakerBody {
    /// `None` once the verdict is recorded.
    circuit: Option<CircuitBreaker>,
    ticket: Ticket,
    /// True if the call waited too long for the head of the answer.
    slow: bool,
    /// The time at which the reader began to wait for the next frame.
    waiting_since: Option<Instant>,
    /// The longest time that the reader has waited for a frame.
    longest_gap: Duration,
}

impl BreakerBody {
    pub(super) fn new(circuit: CircuitBreaker, ticket: Ticket, slow: bool) -> Self {
        circuit.0.streaming.fetch_add(1, Relaxed);
        Self { circuit: Some(circuit), ticket, slow, waiting_since: None, longest_gap: Duration::ZERO }
    }

    fn record(&mut self, outcome: Outcome) {
        if let Some(circuit) = self.circuit.take() {
            circuit.0.streaming.fetch_sub(1, Relaxed);
            circuit.ended(self.ticket, outcome, self.slow);
        }
    }

    /// Records the verdict on a body that is cut by the deadline while its reader waits.
    #[cold]
    fn cut(&mut self) {
        if let (Some(circuit), Some(since)) = (&self.circuit, self.waiting_since) {
            if circuit.is_cut_body_stalled(since.elapsed(), self.longest_gap) {
                self.record(Outcome::transient());
            }
        }
    }
}

/// The reader drops the body before its end. A quiet stream looks like a stalled one, so the drop says nothing about
/// the upstream, and the good head decides.
impl Drop for BreakerBody {
    #[inline]
    fn drop(&mut self) {
        self.record(Outcome::Success);
    }
}

impl Sealed for Option<BreakerBody> {}

/// `None` if the verdict was recorded with the head, or if no circuit breaker guards the call.
impl BodyObserver for Option<BreakerBody> {
    fn at_frame(mut self: Pin<&mut Self>) -> Option<BoxError> {
        if let Some(body) = &mut *self {
            if let Some(since) = body.waiting_since.take() {
                body.longest_gap = body.longest_gap.max(since.elapsed());
            }
        }
        None
    }

    fn poll_pending(mut self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<BoxError> {
        if let Some(body) = &mut *self {
            body.waiting_since.get_or_insert_with(Instant::now);
            if time_is_up().is_some() {
                body.cut();
            }
        }
        Poll::Pending
    }

    fn end(mut self: Pin<&mut Self>, end: BodyEnd) {
        if let Some(body) = &mut *self {
            body.record(if end == BodyEnd::Broken { Outcome::transient() } else { Outcome::Success });
        }
    }
}
