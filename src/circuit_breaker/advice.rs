//! The advice of a circuit breaker to the retry above it.

use std::time::Duration;

use tokio::time::Instant;

use super::config::Consecutive;
use super::handle::CircuitBreaker;
use super::state::State;
use crate::internal::clock;
use crate::{RetryAdvice, RetryAdvisor};

/// The shortest run of failures at which the circuit breaker advises against retries.
///
/// The run that opens the circuit is far longer by default, because an open circuit also refuses calls that would
/// succeed. The advice only prevents retries, which would most likely fail. Because of the span, attempts that fail
/// together on one broken connection cause no advice: a retry would use another connection.
const FAILING: Consecutive = Consecutive { failures: 5, span: Duration::from_millis(100) };

/// Advises against a retry during the open time, while the circuit is forced open, and during a long run of failures.
/// Gives no advice in shadow mode. Takes no lock.
impl RetryAdvisor for CircuitBreaker {
    fn advice(&self) -> Option<RetryAdvice> {
        if self.is_shadow() {
            return None;
        }
        match self.state() {
            State::Open => {
                let now = Instant::now();
                let open_for = self.open_for(now);
                let until = clock::after(now, open_for);
                (!open_for.is_zero()).then_some(RetryAdvice::Refusing { until })
            }
            State::ForcedOpen => Some(RetryAdvice::Refusing { until: None }),
            State::Closed => self.has_run(FAILING).then_some(RetryAdvice::Failing),
            State::HalfOpen | State::ForcedClosed => None,
        }
    }
}
