//! What a retry asks before it waits for another attempt.

use tokio::time::Instant;

/// Knows whether another attempt makes sense: the circuit breaker below a retry, or a guard of your own.
///
/// A retry that is [advised by](crate::retry::RetryLayer::advised_by) one asks it after each attempt that failed, and before it
/// waits. The answer that is in hand is worth more than a refusal after a wait.
///
/// ```
/// use std::sync::atomic::{AtomicBool, Ordering};
/// use std::sync::Arc;
/// use steadfast::retry::{RetryLayer, RetryPolicy};
/// use steadfast::{RetryAdvice, RetryAdvisor};
///
/// /// Set while the upstream is being moved.
/// struct Maintenance(Arc<AtomicBool>);
///
/// impl RetryAdvisor for Maintenance {
///     fn advice(&self) -> Option<RetryAdvice> {
///         self.0.load(Ordering::Relaxed).then_some(RetryAdvice::Refusing { until: None })
///     }
/// }
///
/// let moving = Arc::new(AtomicBool::new(false));
/// let layer = RetryLayer::new(RetryPolicy::default()).advised_by(Maintenance(moving.clone()));
/// ```
pub trait RetryAdvisor {
    /// What speaks against another attempt; `None` if nothing does. It is called on the path of the call, and must not wait.
    fn advice(&self) -> Option<RetryAdvice>;
}

/// What speaks against another attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum RetryAdvice {
    /// It would be refused.
    Refusing {
        /// Until then; `None` is without an end.
        until: Option<Instant>,
    },
    /// It would be sent, and most likely fail like the many attempts before it. A retry without a budget does not heed this.
    Failing,
}
