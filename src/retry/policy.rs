//! The decision whether and when a retry follows a failed attempt. The retry future carries out the decision.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::budget::{RetryBudget, Token};
use super::config::{PolicySettings, RetryPolicyBuilder};
use crate::internal::clock;
use crate::internal::rng::SharedRng;
use crate::internal::shared_settings::SharedSettings;
use crate::internal::sync::atomic::{AtomicU32, Ordering::Relaxed};
use crate::stop_reason::StopReason;
use crate::{ConfigError, RetrySafety};

/// The largest number of retries in a call, and the wait before each retry.
///
/// Clones share one random source, so that different calls draw different waits.
///
/// Default: 3 retries, [`Backoff::new`](super::Backoff::new), and `Retry-After` obeyed up to the cap of the backoff.
///
/// ```
/// use std::time::Duration;
/// use steadfast::retry::{Backoff, RetryPolicy};
///
/// let policy = RetryPolicy::builder()
///     .max_retries(2)
///     .backoff(Backoff::new().cap(Duration::from_secs(1)))
///     .build()?;
/// # Ok::<(), steadfast::ConfigError>(())
/// ```
#[doc(alias = "max attempts")]
#[derive(Clone)]
pub struct RetryPolicy(Arc<PolicyInner>);

struct PolicyInner {
    settings: SharedSettings<PolicySettings>,
    /// Kept outside `settings`, because every call reads this number. Accesses are relaxed: the number is independent
    /// of other memory.
    max_retries: AtomicU32,
    rng: SharedRng,
}

impl RetryPolicy {
    /// Returns a builder with the default settings.
    pub const fn builder() -> RetryPolicyBuilder {
        RetryPolicyBuilder::new()
    }

    #[cfg(feature = "reqwest")]
    pub(crate) fn never() -> Self {
        Self::builder().max_retries(0).build().expect("no retries is valid")
    }

    /// True if a call that has made `retries` retries may make another.
    pub(super) fn allows(&self, retries: u32) -> bool {
        retries < self.0.max_retries.load(Relaxed)
    }

    /// Decides whether a retry follows a throttled attempt or a transient fault.
    ///
    /// An error is the reason why no retry follows.
    pub(super) fn decide(&self, attempt: &FailedAttempt<'_>) -> Result<Pause, StopReason> {
        if !self.allows(attempt.retries) {
            return Err(StopReason::Exhausted);
        }
        match attempt.safety {
            RetrySafety::Idempotent => {}
            RetrySafety::UnlessSent if !attempt.sent => {}
            RetrySafety::UnlessSent | RetrySafety::Never => return Err(StopReason::NotIdempotent),
        }
        attempt.copied?;
        let PolicySettings { backoff, max_retry_after, .. } = self.0.settings.read(|settings| *settings);
        let backoff = self.0.rng.with(|rng| backoff.wait(attempt.retries, attempt.previous_backoff, rng));
        let wait = match attempt.retry_after {
            Some(floor) if floor > max_retry_after => return Err(StopReason::RetryAfterTooLong),
            // Add the backoff, so that clients with the same `Retry-After` do not retry together.
            Some(floor) => floor + backoff,
            None => backoff,
        };
        let until = clock::after(attempt.now, wait);
        if clock::misses(attempt.deadline, until) {
            return Err(StopReason::Deadline);
        }
        // Withdraw the token last, so that a retry that is ruled out above takes none.
        let token = match attempt.budget {
            Some(budget) => Some(budget.withdraw().ok_or(StopReason::Budget)?),
            None => None,
        };
        Ok(Pause { backoff, until, token })
    }
}

impl RetryPolicyBuilder {
    /// Builds the policy.
    ///
    /// # Errors
    ///
    /// Fails if a setting is out of its range.
    pub fn build(self) -> Result<RetryPolicy, ConfigError> {
        let settings = self.validate()?;
        Ok(RetryPolicy(Arc::new(PolicyInner {
            settings: SharedSettings::new(settings),
            max_retries: AtomicU32::new(self.max_retries),
            rng: SharedRng::new(self.seed),
        })))
    }
}

impl Default for RetryPolicyBuilder {
    fn default() -> Self {
        RetryPolicy::builder()
    }
}

impl fmt::Debug for RetryPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RetryPolicy")
            .field("max_retries", &self.0.max_retries.load(Relaxed))
            .field("settings", &self.0.settings)
            .finish()
    }
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self::builder().build().expect("the default is valid")
    }
}

/// An attempt that was throttled or had a transient fault, with all facts that the policy needs.
pub(super) struct FailedAttempt<'a> {
    pub(super) now: Instant,
    pub(super) deadline: Option<Instant>,
    /// The number of retries so far, this attempt included if it is a retry.
    pub(super) retries: u32,
    pub(super) previous_backoff: Duration,
    pub(super) retry_after: Option<Duration>,
    pub(super) sent: bool,
    pub(super) safety: RetrySafety,
    /// `Ok` if there is a copy to send; otherwise, the reason why there is none.
    pub(super) copied: Result<(), StopReason>,
    pub(super) budget: Option<&'a RetryBudget>,
}

/// The wait before a retry, and the retry's token.
#[derive(Debug)]
pub(super) struct Pause {
    pub(super) backoff: Duration,
    pub(super) until: Option<Instant>,
    pub(super) token: Option<Token>,
}

#[cfg(test)]
mod tests {
    use super::super::backoff::{Backoff, Jitter};
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn policy() -> RetryPolicy {
        RetryPolicy::builder().backoff(Backoff::new().jitter(Jitter::None)).build().unwrap()
    }

    fn fault(now: Instant) -> FailedAttempt<'static> {
        FailedAttempt {
            now,
            deadline: None,
            retries: 0,
            previous_backoff: Duration::ZERO,
            retry_after: None,
            sent: true,
            safety: RetrySafety::Idempotent,
            copied: Ok(()),
            budget: None,
        }
    }

    #[test]
    fn a_fault_is_followed_by_the_backoff() {
        let now = Instant::now();
        let pause = policy().decide(&fault(now)).unwrap();
        assert_eq!(pause.until, Some(now + SECOND / 10));
    }

    #[test]
    fn retry_safety_decides_which_requests_are_retried() {
        let stop =
            |safety, sent| policy().decide(&FailedAttempt { sent, safety, ..fault(Instant::now()) }).err();
        assert_eq!(stop(RetrySafety::UnlessSent, false), None);
        assert_eq!(stop(RetrySafety::UnlessSent, true), Some(StopReason::NotIdempotent));
        assert_eq!(stop(RetrySafety::Never, false), Some(StopReason::NotIdempotent));
        assert_eq!(stop(RetrySafety::Idempotent, true), None);
    }

    #[test]
    fn retry_after_is_a_floor_with_the_backoff_on_top() {
        let now = Instant::now();
        let pause = policy().decide(&FailedAttempt { retry_after: Some(SECOND), ..fault(now) }).unwrap();
        assert_eq!(pause.until, Some(now + SECOND + SECOND / 10));
    }

    #[test]
    fn calls_with_the_same_retry_after_do_not_come_back_together() {
        let now = Instant::now();
        let policy = RetryPolicy::builder().seed(1).build().unwrap();
        let ends: std::collections::HashSet<_> = (0..100)
            .map(|_| policy.decide(&FailedAttempt { retry_after: Some(SECOND), ..fault(now) }).unwrap().until)
            .collect();
        assert!(ends.len() > 90);
        assert!(ends.iter().all(|end| end.is_some_and(|end| end >= now + SECOND)));
    }

    #[test]
    fn a_retry_after_over_the_cap_ends_the_call() {
        let told =
            |wait| policy().decide(&FailedAttempt { retry_after: Some(wait), ..fault(Instant::now()) }).err();
        assert_eq!(told(2 * SECOND), None);
        assert_eq!(told(3 * SECOND), Some(StopReason::RetryAfterTooLong));
        assert_eq!(told(Duration::MAX), Some(StopReason::RetryAfterTooLong));
    }

    #[test]
    fn a_wait_that_cannot_end_before_the_deadline_is_not_started() {
        let now = Instant::now();
        let stop = |left| policy().decide(&FailedAttempt { deadline: Some(now + left), ..fault(now) }).err();
        assert_eq!(stop(SECOND / 10), Some(StopReason::Deadline));
        assert_eq!(stop(SECOND / 9), None);
        assert_eq!(stop(Duration::ZERO), Some(StopReason::Deadline));
    }

    #[test]
    fn a_retry_that_is_not_made_takes_no_token() {
        let budget = RetryBudget::default();
        let now = Instant::now();
        let late = FailedAttempt { deadline: Some(now), budget: Some(&budget), ..fault(now) };
        assert_eq!(policy().decide(&late).unwrap_err(), StopReason::Deadline);
        assert!((budget.tokens() - 2.0).abs() < f64::EPSILON);
    }

    #[test]
    fn an_empty_budget_ends_the_call() {
        let budget = RetryBudget::builder().initial(0.0).build().unwrap();
        let broke = FailedAttempt { budget: Some(&budget), ..fault(Instant::now()) };
        assert_eq!(policy().decide(&broke).unwrap_err(), StopReason::Budget);
    }

    #[test]
    fn a_policy_that_cannot_work_is_refused_by_field() {
        let field = |builder: RetryPolicyBuilder| builder.build().unwrap_err().field();
        assert_eq!(field(RetryPolicy::builder().max_retries(101)), "retry.max_retries");
        assert_eq!(field(RetryPolicy::builder().max_retry_after(Duration::MAX)), "retry.max_retry_after");
        assert_eq!(field(RetryPolicy::builder().backoff(Backoff::new().factor(0.0))), "retry.backoff.factor");
    }
}
