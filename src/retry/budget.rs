//! How many extra attempts an upstream may be asked to bear.
//!
//! Backoff spreads retries out; it does not make them fewer, and an overload ends only when there are fewer. So
//! retries draw on an allowance that successes fill. It drains with every failure as well, so that it closes by
//! itself as an outage deepens, and it starts nearly empty: full buckets in many small clients are themselves a
//! flood (Brooker 2022-02-28, "Fixing retries with token buckets and circuit breakers").

use std::sync::Arc;

use tokio::time::Instant;

use super::config::{BudgetSettings, RetryBudgetBuilder};
use crate::ConfigError;
use crate::internal::shared_settings::SharedSettings;
use crate::internal::sync::atomic::{AtomicU64, Ordering};

/// The shared allowance of extra attempts towards one upstream: a lock-free token bucket.
///
/// A clone is another handle to the same bucket. Cancel safe: a retry that was paid for and never sent, because its
/// call was dropped while it waited, gives its token back.
///
/// An attempt that begins while the bucket could not pay for another one is not retried, even if calls that end
/// meanwhile fill it: no copy of its request is kept. Where time fills the bucket, only the end of the attempt counts.
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
#[doc(alias = "token bucket")]
#[derive(Debug, Clone)]
pub struct RetryBudget(Arc<TokenBucket>);

#[derive(Debug)]
struct TokenBucket {
    name: Option<Arc<str>>,
    settings: SharedSettings<BudgetSettings>,
    /// What the seconds in `word` are counted from.
    epoch: Instant,
    /// The [`Word`]: the tokens in thousandths, and the second of the last refill by time.
    word: AtomicU64,
    /// Relaxed: a count stands for itself.
    retries: AtomicU64,
}

impl RetryBudget {
    /// A builder that starts from the default.
    pub const fn builder() -> RetryBudgetBuilder {
        RetryBudgetBuilder::new()
    }

    /// Another bucket with the same configuration, as full as a new one, called `name`.
    pub fn fresh(&self, name: impl Into<Arc<str>>) -> Self {
        Self::new(Some(name.into()), self.0.settings.read(|settings| *settings))
    }

    /// The upstream's name.
    pub fn name(&self) -> Option<&str> {
        self.0.name.as_deref()
    }

    /// How many tokens there are.
    pub fn tokens(&self) -> f64 {
        let word = self.0.word.load(Ordering::Relaxed);
        f64::from(self.0.settings.read(|settings| self.0.refilled(settings, word)).tokens) / 1000.0
    }

    /// How many retries were made so far, those that were then refused on this side included.
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

    /// A call begins.
    #[inline]
    pub(super) fn call(&self) {
        self.deposit(|settings| settings.per_call);
    }

    /// An attempt succeeded.
    #[inline]
    pub(super) fn success(&self) {
        self.deposit(|settings| settings.per_success);
    }

    /// An attempt failed.
    pub(super) fn failure(&self) {
        self.0.update(|settings, tokens| Some(tokens.saturating_sub(settings.per_failure)));
    }

    /// A retry that was paid for was refused on this side.
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

    /// Whether the bucket cannot pay for a retry now, and time will not change that.
    #[inline]
    pub(super) fn is_spent(&self) -> bool {
        !self.0.is_plentiful()
            && self.0.settings.read(|settings| {
                let word = Word::unpack(self.0.word.load(Ordering::Relaxed));
                settings.per_second == 0 && settings.pay(word.tokens).is_none()
            })
    }

    /// Pays for a retry, if the bucket can.
    pub(super) fn withdraw(&self) -> Option<Token> {
        let paid = self.0.update(BudgetSettings::pay);
        paid.then(|| Token { budget: Some(self.clone()) })
    }
}

impl RetryBudgetBuilder {
    /// The bucket.
    ///
    /// # Errors
    ///
    /// If a figure is out of its range.
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

/// A paid retry. Dropped before it is spent, it goes back into the bucket.
#[derive(Debug)]
pub(super) struct Token {
    budget: Option<RetryBudget>,
}

impl Token {
    /// The retry is being sent.
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

#[derive(Clone, Copy, PartialEq, Eq)]
struct Word {
    seconds: u32,
    tokens: u32,
}

impl Word {
    /// Set in a word whose bucket is full and can pay for a retry: what only fills it need look no further, and healthy calls
    /// share a line that nobody writes. Tokens are fewer.
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

    /// Changes the number of tokens; `None` leaves them as they are and returns `false`.
    ///
    /// Relaxed: the word is all there is, and orders nothing else.
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

    /// The word with what time has added since it was written: whole seconds, so that no fraction is lost.
    fn refilled(&self, settings: &BudgetSettings, word: u64) -> Word {
        let held = Word::unpack(word);
        let BudgetSettings { per_second, capacity, .. } = *settings;
        if per_second == 0 {
            return held;
        }
        let now = u32::try_from(self.epoch.elapsed().as_secs()).unwrap_or(u32::MAX);
        // Another thread may have read its clock later and written first.
        let added = now.saturating_sub(held.seconds).saturating_mul(per_second);
        Word { seconds: now.max(held.seconds), tokens: held.tokens.saturating_add(added).min(capacity) }
    }
}

#[cfg(all(test, steadfast_loom))]
mod models;

#[cfg(test)]
mod tests;
