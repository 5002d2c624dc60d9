//! The retry budget: backoff only delays retries, but an overload ends only if fewer retries are made.
//!
//! Therefore each retry takes a token from a bucket that successes fill. Failures drain the bucket, too, so an outage
//! empties it. The bucket starts nearly empty, because full buckets in many small clients would allow a flood of
//! retries (Brooker 2022-02-28, "Fixing retries with token buckets and circuit breakers").
//!
//! # Implementation
//!
//! The state is a [`Word`] of 64 bits: the tokens in thousandths, and the time of the last refill in seconds. Every
//! change is one compare-and-swap, so no token is paid out twice. Refill by time counts whole seconds, so that no
//! fraction is lost to rounding. Without refill by time, calls do not read the clock.
//!
//! A flag in the word marks a bucket that is full and can pay for a retry. A healthy call that sees the flag neither
//! writes the word nor reads the settings. Healthy calls on many threads then share a cache line that none of them
//! writes.
//!
//! A [`Token`] is a guard: if dropped before the retry is sent, the token goes back to the bucket.
//!
//! # Memory ordering
//!
//! Every access is relaxed. The word is the whole state of the bucket and orders no other memory; the count of
//! retries is independent.

use std::sync::Arc;

use tokio::time::Instant;

use super::config::{BudgetSettings, RetryBudgetBuilder};
use crate::ConfigError;
use crate::internal::shared_settings::SharedSettings;
use crate::internal::sync::atomic::{AtomicU64, Ordering};

/// A lock-free token bucket that bounds the number of retries to one upstream.
///
/// A clone is another handle to the same bucket. Cancel safe: if a call is dropped before its retry is sent, the
/// token goes back to the bucket.
///
/// An attempt that begins while the bucket cannot pay for a retry keeps no copy of the request. Such an attempt is
/// not retried, even if other calls fill the bucket before the attempt ends. With [refill by
/// time](RetryBudgetBuilder::per_second), the copy is kept, and only the tokens at the end of the attempt count.
///
/// Default: at most 10 tokens, 2 at first; a success adds 0.6, a failure takes 0.3, a retry takes 1.
///
/// ```
/// use steadfast::retry::RetryBudget;
///
/// // gRPC's retry throttling (gRFC A6): retries only while the bucket is more than half full.
/// let budget = RetryBudget::builder()
///     .capacity(10.0).initial(10.0)
///     .per_success(0.1).per_failure(1.0).per_retry(0.0)
///     .reserve(5.0)
///     .build()?;
/// assert_eq!(budget.tokens(), 10.0);
/// # Ok::<(), steadfast::ConfigError>(())
/// ```
#[doc(alias = "retry throttling")]
#[doc(alias = "token bucket")]
#[derive(Debug, Clone)]
pub struct RetryBudget(Arc<TokenBucket>);

#[derive(Debug)]
struct TokenBucket {
    name: Option<Arc<str>>,
    settings: SharedSettings<BudgetSettings>,
    /// The instant from which `word` counts seconds.
    epoch: Instant,
    /// A packed [`Word`].
    word: AtomicU64,
    /// The number of retries handed to the service below.
    retries: AtomicU64,
}

impl RetryBudget {
    /// Returns a builder with the default settings.
    pub const fn builder() -> RetryBudgetBuilder {
        RetryBudgetBuilder::new()
    }

    /// Returns a new bucket called `name`, with the same settings and the initial number of tokens.
    pub fn fresh(&self, name: impl Into<Arc<str>>) -> Self {
        Self::new(Some(name.into()), self.0.settings.read(|settings| *settings))
    }

    /// The upstream's name, if it was set.
    pub fn name(&self) -> Option<&str> {
        self.0.name.as_deref()
    }

    /// The number of tokens in the bucket.
    pub fn tokens(&self) -> f64 {
        let word = self.0.word.load(Ordering::Relaxed);
        f64::from(self.0.settings.read(|settings| self.0.refilled(settings, word)).tokens) / 1000.0
    }

    /// The number of retries that the budget has paid for, including retries that a layer below refused.
    pub fn retries(&self) -> u64 {
        self.0.retries.load(Ordering::Relaxed)
    }

    fn new(name: Option<Arc<str>>, settings: BudgetSettings) -> Self {
        let word = Word { seconds: 0, tokens: settings.initial }.pack(&settings);
        Self(Arc::new(TokenBucket {
            name,
            settings: SharedSettings::new(settings),
            epoch: Instant::now(),
            word: AtomicU64::new(word),
            retries: AtomicU64::new(0),
        }))
    }

    /// Records the start of a call.
    #[inline]
    pub(super) fn call(&self) {
        self.deposit(|settings| settings.per_call);
    }

    /// Records a successful attempt.
    #[inline]
    pub(super) fn success(&self) {
        self.deposit(|settings| settings.per_success);
    }

    /// Records a failed attempt.
    pub(super) fn failure(&self) {
        self.0.update(|settings, tokens| Some(tokens.saturating_sub(settings.per_failure)));
    }

    /// Puts back the price of a retry that was not sent, or was refused locally.
    pub(super) fn refund(&self) {
        self.deposit(|settings| settings.per_retry);
    }

    #[inline]
    fn deposit(&self, tokens: impl Fn(&BudgetSettings) -> u32) {
        if !self.0.is_plentiful() {
            self.0
                .update(|settings, held| Some(held.saturating_add(tokens(settings)).min(settings.capacity)));
        }
    }

    /// True if the bucket cannot pay for a retry now, and time does not refill it.
    #[inline]
    pub(super) fn is_spent(&self) -> bool {
        !self.0.is_plentiful()
            && self.0.settings.read(|settings| {
                let word = Word::unpack(self.0.word.load(Ordering::Relaxed));
                settings.per_second == 0 && settings.pay(word.tokens).is_none()
            })
    }

    /// Takes the price of a retry; `None` if the bucket cannot pay.
    pub(super) fn withdraw(&self) -> Option<Token> {
        let paid = self.0.update(BudgetSettings::pay);
        paid.then(|| Token { budget: Some(self.clone()) })
    }
}

impl RetryBudgetBuilder {
    /// Builds the bucket.
    ///
    /// # Errors
    ///
    /// Fails if an amount is out of its range.
    pub fn build(self) -> Result<RetryBudget, ConfigError> {
        let settings = self.validate()?;
        Ok(RetryBudget::new(self.name, settings))
    }
}

impl Default for RetryBudget {
    fn default() -> Self {
        Self::builder().build().expect("the default is valid")
    }
}

/// The price of one retry. A token that is dropped unspent goes back to the bucket.
#[derive(Debug)]
pub(super) struct Token {
    budget: Option<RetryBudget>,
}

impl Token {
    /// Spends the token, and counts the retry.
    pub(super) fn spend(mut self) {
        if let Some(budget) = self.budget.take() {
            budget.0.retries.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl Drop for Token {
    fn drop(&mut self) {
        if let Some(budget) = self.budget.take() {
            budget.refund();
        }
    }
}

// ===== impl TokenBucket =====

/// The state of a bucket. Packed into 64 bits: 32 bits of seconds, a flag, and 31 bits of tokens.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Word {
    /// The last refill by time, in whole seconds since the bucket's epoch.
    seconds: u32,
    /// The tokens in thousandths, at most 10⁹.
    tokens: u32,
}

impl Word {
    /// The flag of a bucket that is full and can pay for a retry. A deposit into such a bucket is skipped.
    const PLENTIFUL: u64 = 1 << 31;

    fn pack(self, settings: &BudgetSettings) -> u64 {
        let is_plentiful = self.tokens == settings.capacity && settings.pay(self.tokens).is_some();
        let flag = if is_plentiful { Self::PLENTIFUL } else { 0 };
        u64::from(self.seconds) << 32 | flag | u64::from(self.tokens)
    }

    #[allow(clippy::cast_possible_truncation)]
    fn unpack(word: u64) -> Self {
        Self { seconds: (word >> 32) as u32, tokens: (word & (Self::PLENTIFUL - 1)) as u32 }
    }
}

impl TokenBucket {
    #[inline]
    fn is_plentiful(&self) -> bool {
        self.word.load(Ordering::Relaxed) & Word::PLENTIFUL != 0
    }

    /// Changes the number of tokens, after the refill by time. If `change` returns `None`, the bucket stays as it is
    /// and `update` returns `false`.
    fn update(&self, change: impl Fn(&BudgetSettings, u32) -> Option<u32>) -> bool {
        self.settings.read(|settings| {
            let mut current = self.word.load(Ordering::Relaxed);
            loop {
                let held = self.refilled(settings, current);
                let Some(tokens) = change(settings, held.tokens) else { return false };
                let next = Word { tokens, ..held }.pack(settings);
                if next == current {
                    return true;
                }
                match self.word.compare_exchange_weak(current, next, Ordering::Relaxed, Ordering::Relaxed) {
                    Ok(_) => return true,
                    Err(newer) => current = newer,
                }
            }
        })
    }

    /// Unpacks `word`, and adds the tokens for the whole seconds since the last refill by time.
    fn refilled(&self, settings: &BudgetSettings, word: u64) -> Word {
        let held = Word::unpack(word);
        let BudgetSettings { per_second, capacity, .. } = *settings;
        if per_second == 0 {
            return held;
        }
        let now = u32::try_from(self.epoch.elapsed().as_secs()).unwrap_or(u32::MAX);
        // Saturating: `held.seconds` is later than `now` if another thread read the clock later but wrote the word
        // first.
        let added = now.saturating_sub(held.seconds).saturating_mul(per_second);
        Word { seconds: now.max(held.seconds), tokens: held.tokens.saturating_add(added).min(capacity) }
    }
}

#[cfg(all(test, steadfast_loom))]
mod models;

#[cfg(test)]
mod tests;
