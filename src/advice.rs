//! The advice that a retry asks for, before it waits for another attempt.
//!
//! A retry must not wait for an attempt that the circuit breaker below would refuse. With [`RetryAdvisor`], the retry
//! can ask the circuit breaker without importing it.

use tokio::time::Instant;

/// Says whether another attempt makes sense. An advisor is the circuit breaker below a retry, or a type of your own.
///
/// A retry with an [advisor](crate::retry::RetryLayer::advised_by) asks it before each wait for another attempt. If
/// the advisor has a reason against the attempt, the caller gets the last result at once, without a wait that ends in
/// a refusal.
///
/// ```
/// use std::sync::atomic::{AtomicBool, Ordering};
/// use std::sync::Arc;
/// use steadfast::retry::{RetryLayer, RetryPolicy};
/// use steadfast::{RetryAdvice, RetryAdvisor};
///
/// /// True during planned maintenance of the upstream.
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
    /// Returns a reason against another attempt; `None` if another attempt makes sense. Must not block, because it
    /// runs as part of the call.
    fn advice(&self) -> Option<RetryAdvice>;
}

/// A reason against another attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum RetryAdvice {
    /// The next attempt would be refused.
    Refusing {
        /// The instant at which the refusals end; `None` if unknown.
        until: Option<Instant>,
    },
    /// The next attempt would be sent, but would most likely fail, like many earlier attempts. A retry without a
    /// budget ignores this advice.
    Failing,
}
