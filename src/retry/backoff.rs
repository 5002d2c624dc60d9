//! The length of the wait before a retry.
//!
//! Clients whose calls fail together also retry together, unless jitter spreads the retries out. In a comparison by
//! AWS, full jitter needs the fewest calls:
//! <https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/>.

use std::time::Duration;

use rand::{Rng, RngExt};

use crate::ConfigError;
use crate::config_error::MAX_DURATION;

/// Exponential backoff with jitter.
///
/// The wait before the *n*-th retry has a ceiling: `base × factorⁿ⁻¹`, at most `cap`. The [`Jitter`] sets the range
/// from which the wait is drawn. The range ends at the cap, so no wait exceeds the cap, and the waits of a jitter do
/// not gather there.
///
/// Default: base 100 ms, factor 2, cap 2 s, full jitter.
///
/// ```
/// use std::time::Duration;
/// use steadfast::retry::{Backoff, Jitter, RetryPolicy};
///
/// let backoff = Backoff::new().base(Duration::from_millis(50)).jitter(Jitter::Equal);
/// let policy = RetryPolicy::builder().backoff(backoff).build()?;
/// # Ok::<(), steadfast::ConfigError>(())
/// ```
#[doc(alias = "exponential backoff")]
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Backoff {
    base: Duration,
    factor: f64,
    cap: Duration,
    jitter: Jitter,
}

/// The range from which a wait is drawn.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Jitter {
    /// Exactly the ceiling. For tests, and for upstreams with a single client.
    None,
    /// From zero to the ceiling.
    Full,
    /// From half the ceiling to the ceiling.
    Equal,
    /// From the base to three times the previous wait (before the first retry, three times the base), or to the cap
    /// if the cap is lower. Ignores the ceiling.
    Decorrelated,
    /// From this share below the ceiling to the same share above the ceiling, or to the cap if the cap is lower. The
    /// share is 0 to 1: 0.7 means ±70 %.
    Proportional(f64),
}

impl Backoff {
    /// Returns the default backoff.
    pub const fn new() -> Self {
        Self {
            base: Duration::from_millis(100),
            factor: 2.0,
            cap: Duration::from_secs(2),
            jitter: Jitter::Full,
        }
    }

    /// The ceiling of the wait before the first retry, at most the cap. With zero, only `Retry-After` makes a call
    /// wait. Default: 100 ms.
    pub const fn base(mut self, base: Duration) -> Self {
        self.base = base;
        self
    }

    /// The factor by which the ceiling grows with each retry: 1 to 100. Default: 2.
    pub const fn factor(mut self, factor: f64) -> Self {
        self.factor = factor;
        self
    }

    /// The longest backoff: at least the base, at most a year. A `Retry-After` is added to the backoff. Default: 2 s.
    pub const fn cap(mut self, cap: Duration) -> Self {
        self.cap = cap;
        self
    }

    /// The jitter. Default: [`Jitter::Full`].
    pub const fn jitter(mut self, jitter: Jitter) -> Self {
        self.jitter = jitter;
        self
    }

    pub(super) fn validate(&self) -> Result<(), ConfigError> {
        ConfigError::check("retry.backoff.cap", self.cap, Duration::ZERO..=MAX_DURATION)?;
        ConfigError::check("retry.backoff.base", self.base, Duration::ZERO..=self.cap)
            .map_err(|error| error.bounded_by("the value of retry.backoff.cap"))?;
        ConfigError::check("retry.backoff.factor", self.factor, 1.0..=100.0)?;
        if let Jitter::Proportional(share) = self.jitter {
            ConfigError::check("retry.backoff.jitter", share, 0.0..=1.0)?;
        }
        Ok(())
    }

    pub(super) fn get_cap(&self) -> Duration {
        self.cap
    }

    /// Draws the wait before the next retry. `retries` is the number of retries so far; `previous` is the backoff of
    /// the last retry, or zero before the first retry.
    pub(super) fn wait(&self, retries: u32, previous: Duration, rng: &mut impl Rng) -> Duration {
        let ceiling = self.ceiling(retries);
        // Clamp the range before the draw. A clamp after the draw would give many waits the length of the cap, and
        // the clients would retry together.
        let mut between = |low: Duration, high: Duration| {
            low + high.min(self.cap).saturating_sub(low).mul_f64(rng.random::<f64>())
        };
        match self.jitter {
            Jitter::None => ceiling,
            Jitter::Full => between(Duration::ZERO, ceiling),
            Jitter::Equal => between(ceiling / 2, ceiling),
            Jitter::Decorrelated => between(self.base, previous.max(self.base).saturating_mul(3)),
            Jitter::Proportional(share) => {
                between(ceiling.mul_f64(1.0 - share), ceiling.mul_f64(1.0 + share))
            }
        }
    }

    fn ceiling(&self, retries: u32) -> Duration {
        let growth = self.factor.powi(retries.try_into().unwrap_or(i32::MAX));
        Duration::try_from_secs_f64(self.base.as_secs_f64() * growth).map_or(self.cap, |it| it.min(self.cap))
    }
}

impl Default for Backoff {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use rand::{SeedableRng, rngs::SmallRng};

    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn waits(backoff: Backoff, seed: u64) -> Vec<Duration> {
        let mut rng = SmallRng::seed_from_u64(seed);
        let mut previous = Duration::ZERO;
        (0..40)
            .map(|retries| {
                previous = backoff.wait(retries, previous, &mut rng);
                previous
            })
            .collect()
    }

    #[test]
    fn without_jitter_the_wait_doubles_up_to_the_cap() {
        let waits = waits(Backoff::new().jitter(Jitter::None), 0);
        assert_eq!(waits[..6], [100 * MS, 200 * MS, 400 * MS, 800 * MS, 1600 * MS, 2000 * MS]);
    }

    #[test]
    fn no_jitter_lifts_a_wait_over_the_cap_at_any_attempt() {
        let jitters =
            [Jitter::None, Jitter::Full, Jitter::Equal, Jitter::Decorrelated, Jitter::Proportional(0.7)];
        for jitter in jitters {
            for seed in 0..200 {
                let backoff = Backoff::new().jitter(jitter);
                assert!(waits(backoff, seed).iter().all(|wait| *wait <= 2000 * MS), "{jitter:?}");
                let mut rng = SmallRng::seed_from_u64(seed);
                assert!(backoff.wait(u32::MAX, MAX_DURATION, &mut rng) <= 2000 * MS, "{jitter:?}");
            }
        }
    }

    #[test]
    fn the_waits_of_a_jitter_do_not_gather_at_the_cap() {
        for jitter in [Jitter::Full, Jitter::Equal, Jitter::Decorrelated, Jitter::Proportional(0.5)] {
            let backoff = Backoff::new().jitter(jitter);
            let mut rng = SmallRng::seed_from_u64(1);
            let mut previous = 2000 * MS;
            let late_waits = (1000..2000).map(|retries| {
                previous = backoff.wait(retries, previous, &mut rng);
                previous
            });
            let at_the_cap = late_waits.filter(|wait| *wait == 2000 * MS).count();
            assert!(at_the_cap < 10, "{at_the_cap} of 1,000 waits equal the cap with {jitter:?}");
        }
    }

    #[test]
    fn each_jitter_stays_in_its_range_and_fills_it() {
        let range = |jitter| {
            let first = (0..2000).map(|seed| waits(Backoff::new().jitter(jitter), seed)[0]);
            (first.clone().min().unwrap(), first.max().unwrap())
        };
        let near = |(low, high): (Duration, Duration), expected: (u32, u32)| {
            assert!(low >= expected.0 * MS && low < (expected.0 + 5) * MS, "{low:?} for {expected:?}");
            assert!(high <= expected.1 * MS && high + 5 * MS > expected.1 * MS, "{high:?} for {expected:?}");
        };
        near(range(Jitter::Full), (0, 100));
        near(range(Jitter::Equal), (50, 100));
        near(range(Jitter::Decorrelated), (100, 300));
        near(range(Jitter::Proportional(0.7)), (30, 170));
    }

    #[test]
    fn the_same_seed_gives_the_same_waits_and_another_gives_others() {
        assert_eq!(waits(Backoff::new(), 7), waits(Backoff::new(), 7));
        assert_ne!(waits(Backoff::new(), 7), waits(Backoff::new(), 8));
    }

    #[test]
    fn a_backoff_that_cannot_work_is_refused_by_field() {
        let field = |backoff: Backoff| backoff.validate().unwrap_err().field();
        assert_eq!(field(Backoff::new().base(3 * Duration::from_secs(1))), "retry.backoff.base");
        assert_eq!(field(Backoff::new().factor(0.5)), "retry.backoff.factor");
        assert_eq!(field(Backoff::new().factor(f64::NAN)), "retry.backoff.factor");
        assert_eq!(field(Backoff::new().cap(Duration::MAX)), "retry.backoff.cap");
        assert_eq!(field(Backoff::new().jitter(Jitter::Proportional(1.1))), "retry.backoff.jitter");
    }
}
