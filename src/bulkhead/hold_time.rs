//! The time that attempts hold their permits.
//!
//! The time counts from an attempt's first wait for the upstream to the return of its permit. Attempts that never
//! wait are left out.
//!
//! # Memory ordering
//!
//! All accesses are relaxed, because the words order no accesses to other words. The averages change by a load and a
//! store, so one of two attempts that end together may be lost; the averages hardly differ.

use std::time::Duration;

use crate::internal::sync::atomic::Ordering::Relaxed;
use crate::internal::sync::atomic::{AtomicU32, AtomicU64};

/// Moving averages over the attempts, as `f32`. Zero before the first attempt.
#[derive(Debug, Default)]
pub(super) struct HoldTime {
    /// The upper half is the time of all attempts in seconds, the lower half the share that ended with an answer.
    all: AtomicU64,
    /// The time of the answered attempts in seconds.
    answered: AtomicU32,
}

/// The weight of one attempt in the averages.
const WEIGHT: f32 = 1.0 / 64.0;

impl HoldTime {
    /// Adds an attempt that held its permit for `held`, and ended with or without an answer.
    pub(super) fn add(&self, held: Duration, is_answered: bool) {
        let answered = if is_answered { 1.0 } else { 0.0 };
        // Zero stands for "no attempt yet", so a time is never zero.
        let held = held.as_secs_f32().max(f32::MIN_POSITIVE);
        // The first attempt sets the time. The share begins with one: a single failure says little about it.
        let (time, share) = match unpack(self.all.load(Relaxed)) {
            (0.0, _) => (held, 1.0),
            averages => averages,
        };
        let (time, share) = (with(held, time), share + (answered - share) * WEIGHT);
        self.all.store(u64::from(time.to_bits()) << 32 | u64::from(share.to_bits()), Relaxed);
        if is_answered {
            let time = match f32::from_bits(self.answered.load(Relaxed)) {
                0.0 => held,
                time => with(held, time),
            };
            self.answered.store(time.to_bits(), Relaxed);
        }
    }

    /// Returns the time that permits are held for each answer, `None` before the first attempt. An attempt that ends
    /// without an answer adds to the time, but not to the answers.
    pub(super) fn for_each_answer(&self) -> Option<Duration> {
        let (time, share) = unpack(self.all.load(Relaxed));
        (time > 0.0).then(|| Duration::try_from_secs_f32(time / share).unwrap_or(Duration::MAX))
    }

    /// Returns the time that an answered attempt usually holds its permit; zero before the first answer. Unlike
    /// [`for_each_answer`](Self::for_each_answer), this time does not grow while the upstream hangs.
    pub(super) fn of_an_answer(&self) -> Duration {
        Duration::try_from_secs_f32(f32::from_bits(self.answered.load(Relaxed))).unwrap_or(Duration::MAX)
    }
}

/// Returns the average `time` with one more attempt. One long download must not spoil the average.
fn with(held: f32, time: f32) -> f32 {
    time + (held.min(time * 8.0) - time) * WEIGHT
}

#[allow(clippy::cast_possible_truncation)]
fn unpack(word: u64) -> (f32, f32) {
    (f32::from_bits((word >> 32) as u32), f32::from_bits(word as u32))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn close(time: Option<Duration>, expected: Duration) {
        let time = time.unwrap();
        assert!(time.abs_diff(expected) < expected / 10, "{time:?} instead of {expected:?}");
    }

    #[test]
    fn the_average_follows_the_attempts() {
        let hold = HoldTime::default();
        assert_eq!(hold.for_each_answer(), None);
        hold.add(50 * MS, true);
        close(hold.for_each_answer(), 50 * MS);
        (0..300).for_each(|_| hold.add(250 * MS, true));
        close(hold.for_each_answer(), 250 * MS);
    }

    #[test]
    fn attempts_without_an_answer_cost_time() {
        let hold = HoldTime::default();
        (0..1000).for_each(|number| hold.add(100 * MS, number % 2 == 0));
        close(hold.for_each_answer(), 200 * MS);
        close(Some(hold.of_an_answer()), 100 * MS);
    }

    #[test]
    fn without_any_answer_the_time_grows_without_bound() {
        let hold = HoldTime::default();
        (0..1000).for_each(|_| hold.add(MS, false));
        assert!(hold.for_each_answer().unwrap() > 1000 * MS);
        (0..100_000).for_each(|_| hold.add(MS, false));
        assert_eq!(hold.for_each_answer(), Some(Duration::MAX));
        hold.add(Duration::MAX, false);
        hold.add(Duration::ZERO, true);
        assert!(hold.for_each_answer().is_some());
    }
}
