//! The time that good answers usually take, and the verdict on attempts that were cut while they waited.
//!
//! If no cut attempt counted as a failure, an upstream that never answers would stay unnoticed by callers with short
//! deadlines. If every cut attempt counted, callers whose deadlines are too short for any answer would open the
//! circuit of a healthy upstream. A cut attempt therefore counts only if it has waited clearly longer than good
//! answers usually take.
//!
//! # Memory ordering
//!
//! All accesses are relaxed, because neither word orders accesses to other words. The usual time changes by a load
//! and a store, so one of two answers that race may be lost; the average hardly differs.

use std::time::Duration;

use crate::internal::sync::atomic::AtomicU64;
use crate::internal::sync::atomic::Ordering::Relaxed;

/// The usual time of good answers, and the waits of cut attempts as long as no good answer is known.
#[derive(Debug, Default)]
pub(super) struct AnswerTime {
    /// The moving average of the times of good answers, in nanoseconds; zero before the first.
    usual: AtomicU64,
    /// The sum of the waits, in nanoseconds.
    cut_waits: AtomicU64,
}

impl AnswerTime {
    /// Adds the time of a good answer, with a weight of 1/16. An answer that comes late, after its attempt was judged
    /// as a failure, has a weight of 1/64: an overload of some seconds must not pass for a slow upstream.
    pub(super) fn answered(&self, took: Duration, is_late: bool) {
        let divisor = if is_late { 64 } else { 16 };
        let took = nanos(took).max(1);
        let usual = match self.usual.load(Relaxed) {
            0 => took,
            usual => (usual - usual / divisor).saturating_add(took / divisor).max(1),
        };
        self.usual.store(usual, Relaxed);
    }

    /// Returns the usual time; `None` before the first good answer.
    pub(super) fn usual(&self) -> Option<Duration> {
        Some(self.usual.load(Relaxed)).filter(|usual| *usual > 0).map(Duration::from_nanos)
    }

    /// True if a call that its caller drops after it has `waited` counts as a failure. A caller also drops a call
    /// that has become superfluous, so the wait must be long, and much longer than usual.
    pub(super) fn is_drop_a_failure(&self, waited: Duration, abandoned_after: Duration) -> bool {
        let unusual = self.usual().map_or(Duration::MAX, |usual| usual.saturating_mul(10));
        waited >= unusual.clamp(abandoned_after / 2, abandoned_after)
    }

    /// Adds the wait of an attempt that a time limit of its caller has cut. Returns true if the wait counts as a
    /// failure: if it was at least twice the usual time. As long as no good answer is known, the waits add up, and
    /// each three quarters of `abandoned_after` in the sum are a failure.
    pub(super) fn is_cut_a_failure(&self, waited: Duration, abandoned_after: Duration) -> bool {
        if let Some(usual) = self.usual() {
            return waited >= usual.saturating_mul(2);
        }
        let whole = nanos(abandoned_after.mul_f64(0.75)).max(1);
        let waited = nanos(waited).min(whole);
        let before = self.cut_waits.fetch_add(waited, Relaxed) % whole;
        before + waited >= whole
    }
}

/// Returns the nanoseconds of a duration, at most `u64::MAX` (584 years).
pub(super) fn nanos(duration: Duration) -> u64 {
    duration.as_nanos().try_into().unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);
    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_cut_is_a_failure_from_twice_the_usual_time_on() {
        let times = AnswerTime::default();
        times.answered(20 * MS, false);
        assert_eq!(times.usual(), Some(20 * MS));
        assert!(!times.is_cut_a_failure(39 * MS, SECOND));
        assert!(times.is_cut_a_failure(40 * MS, SECOND));
    }

    #[test]
    fn a_drop_is_a_failure_after_a_time_or_ten_times_the_usual_time() {
        let times = AnswerTime::default();
        assert!(!times.is_drop_a_failure(999 * MS, SECOND) && times.is_drop_a_failure(SECOND, SECOND));
        times.answered(20 * MS, false);
        assert!(!times.is_drop_a_failure(499 * MS, SECOND) && times.is_drop_a_failure(500 * MS, SECOND));
        (0..100).for_each(|_| times.answered(SECOND, false));
        assert!(!times.is_drop_a_failure(999 * MS, SECOND) && times.is_drop_a_failure(SECOND, SECOND));
    }

    #[test]
    fn the_usual_time_follows_the_answers() {
        let times = AnswerTime::default();
        times.answered(20 * MS, false);
        times.answered(Duration::from_secs(4), false);
        assert!(times.usual().unwrap() < 300 * MS, "one slow answer is not usual");
        (0..60).for_each(|_| times.answered(4 * SECOND, false));
        assert!(times.usual().unwrap() > 3 * SECOND);
        (0..200).for_each(|_| times.answered(Duration::ZERO, false));
        assert!(times.usual().unwrap() < MS, "and known for ever");
    }

    #[test]
    fn late_answers_count_for_less() {
        let usual = |is_late| {
            let times = AnswerTime::default();
            times.answered(SECOND, false);
            (0..30).for_each(|_| times.answered(5 * SECOND, is_late));
            times.usual().unwrap()
        };
        assert!(usual(true) < 3 * SECOND && usual(false) > 4 * SECOND);
    }

    #[test]
    fn without_a_good_answer_the_waits_add_up() {
        let times = AnswerTime::default();
        let failures = |count: u32, wait| (0..count).filter(|_| times.is_cut_a_failure(wait, SECOND)).count();
        assert_eq!(failures(75, 10 * MS), 1);
        assert_eq!(failures(75, 200 * MS), 20);
        assert_eq!(failures(25, 800 * MS), 25);
        assert_eq!(failures(10, 60 * SECOND), 10, "a wait is one failure at most");
    }

    #[test]
    fn with_no_time_to_abandon_each_cut_is_a_failure() {
        assert!(AnswerTime::default().is_cut_a_failure(MS, Duration::ZERO));
    }
}
