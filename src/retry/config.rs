//! The settings of retries and of their budget.

use std::sync::Arc;
use std::time::Duration;

use super::backoff::Backoff;
use crate::ConfigError;
use crate::config_error::MAX_DURATION;

/// Configures a [`RetryPolicy`](super::RetryPolicy).
#[derive(Debug, Clone, Copy)]
pub struct RetryPolicyBuilder {
    pub(super) max_retries: u32,
    pub(super) backoff: Backoff,
    pub(super) max_retry_after: Option<Duration>,
    pub(super) seed: Option<u64>,
}

impl RetryPolicyBuilder {
    pub(super) const fn new() -> Self {
        Self { max_retries: 3, backoff: Backoff::new(), max_retry_after: None, seed: None }
    }

    /// How many attempts may follow the first: 0 to 100. Default 3.
    ///
    /// There are fewer where a circuit breaker below sees [nothing but
    /// failures](crate::circuit_breaker::CircuitBreakerBuilder::consecutive_failures).
    pub const fn max_retries(mut self, retries: u32) -> Self {
        self.max_retries = retries;
        self
    }

    /// How long to wait before each.
    pub const fn backoff(mut self, backoff: Backoff) -> Self {
        self.backoff = backoff;
        self
    }

    /// The longest wait that an upstream may ask for. Told to wait longer, a call ends with the response that
    /// said so. Default: the cap of the backoff.
    pub const fn max_retry_after(mut self, longest: Duration) -> Self {
        self.max_retry_after = Some(longest);
        self
    }

    /// Makes the jitter repeatable. Default: seeded by the operating system.
    pub const fn seed(mut self, seed: u64) -> Self {
        self.seed = Some(seed);
        self
    }

    /// The settings, if each is in its range.
    pub(super) fn validate(&self) -> Result<PolicySettings, ConfigError> {
        ConfigError::check("retry.max_retries", self.max_retries, 0..=100)?;
        self.backoff.validate()?;
        let max_retry_after = self.max_retry_after.unwrap_or(self.backoff.get_cap());
        ConfigError::check("retry.max_retry_after", max_retry_after, Duration::ZERO..=MAX_DURATION)?;
        Ok(PolicySettings { backoff: self.backoff, max_retry_after })
    }
}

#[derive(Debug, Clone, Copy)]
pub(super) struct PolicySettings {
    pub(super) backoff: Backoff,
    pub(super) max_retry_after: Duration,
}

/// Configures a [`RetryBudget`](super::RetryBudget). Every figure is in tokens, exact to a thousandth.
#[derive(Debug, Clone)]
pub struct RetryBudgetBuilder {
    pub(super) name: Option<Arc<str>>,
    capacity: f64,
    initial: f64,
    per_call: f64,
    per_success: f64,
    per_failure: f64,
    per_retry: f64,
    per_second: f64,
    reserve: f64,
}

impl RetryBudgetBuilder {
    pub(super) const fn new() -> Self {
        Self {
            name: None,
            capacity: 10.0,
            initial: 2.0,
            per_call: 0.0,
            per_success: 0.6,
            per_failure: 0.3,
            per_retry: 1.0,
            per_second: 0.0,
            reserve: 0.0,
        }
    }

    /// The upstream's name, to tell budgets apart. Default: none.
    pub fn name(mut self, name: impl Into<Arc<str>>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// How many tokens there can be: 0 (no retry, ever) to 1,000,000.
    pub fn capacity(mut self, tokens: f64) -> Self {
        self.capacity = tokens;
        self
    }

    /// How many there are at first; at most the capacity.
    pub fn initial(mut self, tokens: f64) -> Self {
        self.initial = tokens;
        self
    }

    /// What each call adds, whatever becomes of it. Finagle's share of extra attempts: 0.2. Default 0.
    pub fn per_call(mut self, tokens: f64) -> Self {
        self.per_call = tokens;
        self
    }

    /// What each successful attempt adds.
    pub fn per_success(mut self, tokens: f64) -> Self {
        self.per_success = tokens;
        self
    }

    /// What each failed attempt takes, as far as there is any.
    pub fn per_failure(mut self, tokens: f64) -> Self {
        self.per_failure = tokens;
        self
    }

    /// What a retry costs.
    pub fn per_retry(mut self, tokens: f64) -> Self {
        self.per_retry = tokens;
        self
    }

    /// What each whole second adds, for clients with few calls. Finagle's reserve: 10. Default 0.
    pub fn per_second(mut self, tokens: f64) -> Self {
        self.per_second = tokens;
        self
    }

    /// How many tokens a retry has to leave in the bucket; where a retry costs nothing, how many there must be
    /// more of. Default 0.
    pub fn reserve(mut self, tokens: f64) -> Self {
        self.reserve = tokens;
        self
    }

    /// The settings in thousandths, if every figure is in its range.
    pub(super) fn validate(&self) -> Result<BudgetSettings, ConfigError> {
        let capacity = thousandths("retry.budget.capacity", self.capacity, 1e6)?;
        Ok(BudgetSettings {
            capacity,
            initial: thousandths("retry.budget.initial", self.initial, self.capacity)
                .map_err(|error| error.bounded_by("which is the capacity"))?,
            per_call: thousandths("retry.budget.per_call", self.per_call, 1e6)?,
            per_success: thousandths("retry.budget.per_success", self.per_success, 1e6)?,
            per_failure: thousandths("retry.budget.per_failure", self.per_failure, 1e6)?,
            per_retry: thousandths("retry.budget.per_retry", self.per_retry, 1e6)?,
            per_second: thousandths("retry.budget.per_second", self.per_second, 1e6)?,
            reserve: thousandths("retry.budget.reserve", self.reserve, self.capacity)
                .map_err(|error| error.bounded_by("which is the capacity"))?,
        })
    }
}

/// Rounds to thousandths: what is configured is what is used, however small.
fn thousandths(field: &'static str, tokens: f64, most: f64) -> Result<u32, ConfigError> {
    let tokens = ConfigError::check(field, tokens, 0.0..=most)?;
    let rounded = (tokens * 1000.0).round();
    if rounded == 0.0 && tokens > 0.0 {
        return Err(ConfigError::new(field, tokens, "0, or at least 0.001"));
    }
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    Ok(rounded as u32)
}

/// Tokens in thousandths, so that a bucket is a whole number.
#[derive(Debug, Clone, Copy)]
pub(super) struct BudgetSettings {
    pub(super) capacity: u32,
    pub(super) initial: u32,
    pub(super) per_call: u32,
    pub(super) per_success: u32,
    pub(super) per_failure: u32,
    pub(super) per_retry: u32,
    pub(super) per_second: u32,
    pub(super) reserve: u32,
}

impl BudgetSettings {
    /// What remains of so many tokens when a retry is paid for, if it can be.
    pub(super) fn pay(&self, tokens: u32) -> Option<u32> {
        let left = tokens.checked_sub(self.per_retry)?;
        // With a price, the reserve must remain; without one, the bucket must hold more than it.
        (if self.per_retry > 0 { left >= self.reserve } else { tokens > self.reserve }).then_some(left)
    }
}
