//! The wait of a call that the circuit has admitted and that a bulkhead below has queued.
//!
//! A call can be in the queue when the circuit opens. The bulkhead then refuses the call at once: the call neither
//! waits for a permit that it must not use, nor does it reach the upstream after the circuit has opened. The bulkhead
//! decides, because it alone knows that the call has not been sent.

use std::pin::Pin;
use std::task::{Context, Poll};

use super::handle::CircuitBreaker;
use crate::internal::signals::CircuitOpened;

/// Waits until the circuit opens. Allocated only for a call in a queue.
pub(super) struct Opening(Pin<Box<dyn Future<Output = CircuitOpened> + Send + Sync>>);

impl Opening {
    pub(super) fn of(circuit: CircuitBreaker) -> Self {
        Self(Box::pin(async move {
            let mut states = circuit.watch();
            loop {
                if let Some(refusal) = circuit.refuses().filter(|_| circuit.is_open()) {
                    return CircuitOpened { retry_after: refusal.retry_after };
                }
                if states.changed().await.is_err() {
                    std::future::pending::<()>().await;
                }
            }
        }))
    }

    /// Ready when the circuit opens. Must not be polled after that.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<CircuitOpened> {
        self.0.as_mut().poll(cx)
    }
}
