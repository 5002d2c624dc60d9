//! The wait of a call that the circuit has admitted and that a bulkhead below has queued.
//!
//! A call can be in the queue when the circuit opens. The call is then refused at once: it neither waits for a permit
//! that it must not use, nor does it reach the upstream after the circuit has opened.

use std::pin::Pin;
use std::task::{Context, Poll};

use super::gate::Refusal;
use super::handle::CircuitBreaker;

/// Waits until the circuit opens. Allocated only for a call in a queue.
pub(super) struct Opening(Pin<Box<dyn Future<Output = Refusal> + Send + Sync>>);

impl Opening {
    pub(super) fn of(circuit: CircuitBreaker) -> Self {
        Self(Box::pin(async move {
            let mut states = circuit.watch();
            loop {
                if let Some(refusal) = circuit.refuses().filter(|_| circuit.is_open()) {
                    return refusal;
                }
                if states.changed().await.is_err() {
                    std::future::pending::<()>().await;
                }
            }
        }))
    }

    /// Ready with the refusal when the circuit opens.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Refusal> {
        self.0.as_mut().poll(cx)
    }
}
