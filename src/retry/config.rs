//! The builders of the retry policy and of the retry budget, and their validated settings.

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

    /// The largest number of retries in a call: 0 to 100. Resends of a request that was
    /// [not processed](crate::Outcome::NotProcessed) do not count. Default: 3.
    ///
    /// During a [run of failures](crate::circuit_breaker::CircuitBreakerBuilder::consecutive_failures), calls make
    /// fewer retries if a circuit breaker [advises](super::RetryLayer::advised_by) the layer.
    pub const fn max_retries(mut self, retries: u32) -> Self {
        self.max_retries = retries;
        self
    }

    /// The wait before each retry. Default: [`Backoff::new`].
    pub const fn backoff(mut self, backoff: Backoff) -> Self {
        self.backoff = backoff;
        self
    }

    /// The longest `Retry-After` that a call obeys, at most a year. A response with a longer `Retry-After` ends the
    /// call. Default: the cap of the backoff.
    pub const fn max_retry_after(mut self, longest: Duration) -> Self {
        self.max_retry_after = Some(longest);
        self
    }

    /// Seeds the jitter, to make it repeatable. Default: a seed from the operating system.
    pub const fn seed(mut self, seed: u64) -> Self {
        self.seed = Some(seed);
        self
    }

    /// Returns the settings if each is in its range.
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

/// Configures a [`RetryBudget`](super::RetryBudget). Every amount is in tokens, 0 to 1,000,000, rounded to a
/// thousandth.
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

    #[cfg(feature = "reqwest")]
    pub(crate) fn get_name(&self) -> Option<&str> {
        self.name.as_deref()
    }

    /// The size of the bucket: 0 to 1,000,000. With 0, no call is retried. The [`initial`](Self::initial) tokens, by
    /// default 2, must fit. Default: 10.
    pub fn capacity(mut self, tokens: f64) -> Self {
        self.capacity = tokens;
        self
    }

    /// The number of tokens in a new bucket, at most the capacity. Default: 2.
    pub fn initial(mut self, tokens: f64) -> Self {
        self.initial = tokens;
        self
    }

    /// The tokens that each call adds, whatever its result. Default: 0; in Finagle, 0.2.
    pub fn per_call(mut self, tokens: f64) -> Self {
        self.per_call = tokens;
        self
    }

    /// The tokens that each successful attempt adds. Default: 0.6.
    pub fn per_success(mut self, tokens: f64) -> Self {
        self.per_success = tokens;
        self
    }

    /// The tokens that each failed attempt takes, until the bucket is empty. Default: 0.3.
    pub fn per_failure(mut self, tokens: f64) -> Self {
        self.per_failure = tokens;
        self
    }

    /// The tokens that each retry takes. Default: 1.
    pub fn per_retry(mut self, tokens: f64) -> Self {
        self.per_retry = tokens;
        self
    }

    /// The tokens that each whole second adds, for clients with few calls. Default: 0; in Finagle, 10.
    pub fn per_second(mut self, tokens: f64) -> Self {
        self.per_second = tokens;
        self
    }

    /// The tokens that a retry must leave in the bucket, at most the capacity. Default: 0.
    ///
    /// If retries take no tokens, a retry is made only while the bucket holds more than the reserve.
    pub fn reserve(mut self, tokens: f64) -> Self {
        self.reserve = tokens;
        self
    }

    /// Returns the settings in thousandths of a token if every amount is in its range.
    pub(super) fn validate(&self) -> Result<BudgetSettings, ConfigError> {
        let capacity = thousandths("retry.budget.capacity", self.capacity, 1e6)?;
        Ok(BudgetSettings {
            capacity,
            initial: thousandths("retry.budget.initial", self.initial, self.capacity)
                .map_err(|error| error.bounded_by("the value of retry.budget.capacity"))?,
            per_call: thousandths("retry.budget.per_call", self.per_call, 1e6)?,
            per_success: thousandths("retry.budget.per_success", self.per_success, 1e6)?,
            per_failure: thousandths("retry.budget.per_failure", self.per_failure, 1e6)?,
            per_retry: thousandths("retry.budget.per_retry", self.per_retry, 1e6)?,
            per_second: thousandths("retry.budget.per_second", self.per_second, 1e6)?,
            reserve: thousandths("retry.budget.reserve", self.reserve, self.capacity)
                .map_err(|error| error.bounded_by("the value of retry.budget.capacity"))?,
        })
    }
}

/// Rounds to thousandths. A positive amount that rounds to zero is an error, because it would have no effect.
fn thousandths(field: &'static str, tokens: f64, most: f64) -> Result<u32, ConfigError> {
    let tokens = ConfigError::check(field, tokens, 0.0..=most)?;
    let rounded = (tokens * 1000.0).round();
    if rounded == 0.0 && tokens > 0.0 {
        return Err(ConfigError::new(field, tokens, "0, or at least 0.001"));
    }
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    Ok(rounded as u32)
}

/// Amounts in thousandths of a token, so that the level of a bucket is an integer.
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
    /// Returns the level of the bucket after a retry, or `None` if `tokens` cannot pay for a retry.
    pub(super) fn pay(&self, tokens: u32) -> Option<u32> {
        let left = tokens.checked_sub(self.per_retry)?;
        // A retry with a price must leave the reserve. A free retry needs a bucket with more than the reserve.
        (if self.per_retry > 0 { left >= self.reserve } else { tokens > self.reserve }).then_some(left)
    }
}
