//! The run of consecutive failures of a closed circuit.
//!
//! # Implementation
//!
//! [`ConsecutiveFailures`] is one word: the generation, the length of the run, and the time of its first failure. A
//! healthy call only reads the word.
//!
//! A run ages. If a run has not opened the circuit [`MAX_AGE`] after its first failure, the next failure begins a new
//! run. Without this limit, a failure of the morning and a failure of the evening would count as failures in a row.
//!
//! # Memory ordering
//!
//! All accesses are relaxed, because the word orders no accesses to other words. When the circuit closes,
//! [`ConsecutiveFailures::begin`] runs before the Release store of the new gate, the word that admits calls. A call
//! that sees the new gate therefore also sees the new run.

use std::time::Duration;

use super::config::Consecutive;
use crate::internal::sync::atomic::AtomicU64;
use crate::internal::sync::atomic::Ordering::Relaxed;

/// The largest age of a run, beyond the span that its rule asks for.
const MAX_AGE: Duration = Duration::from_secs(10 * 60);

/// The length of the run of failures and the time of its first failure, in one word.
///
/// The word also holds the generation, so that a late result neither extends nor ends the run of a later generation.
#[derive(Debug, Default)]
pub(super) struct ConsecutiveFailures(AtomicU64);

/// The content of the word. `generation` takes the upper 10 bits, `failures` the next 14, and `first` the lower 40.
#[derive(Clone, Copy)]
struct Run {
    /// The lowest bits of the generation.
    generation: u16,
    failures: u16,
    /// The time of the first failure in the run, in milliseconds since the circuit breaker was made. 40 bits last for
    /// 34 years.
    first: u64,
}

const GENERATIONS: u16 = 1 << 10;
/// The longest run that the word can count.
pub(super) const MAX_FAILURES: u16 = (1 << 14) - 1;
const FIRST_BITS: u32 = 40;

impl Run {
    fn pack(self) -> u64 {
        u64::from(self.generation) << 54 | u64::from(self.failures) << FIRST_BITS | self.first
    }

    /// Returns the time since the first failure; zero if another thread read a later clock for that failure.
    fn span(self, now: u64) -> Duration {
        Duration::from_millis(now.saturating_sub(self.first))
    }

    #[allow(clippy::cast_possible_truncation)]
    fn unpack(word: u64) -> Self {
        Self {
            generation: (word >> 54) as u16,
            failures: (word >> FIRST_BITS) as u16 & MAX_FAILURES,
            first: word & ((1 << FIRST_BITS) - 1),
        }
    }
}

impl ConsecutiveFailures {
    /// Begins an empty run for a new generation.
    ///
    /// The word has room for only 10 bits of the generation, and calls update the word only while the circuit is
    /// closed. Without `begin` at each closing, the generation in the word could become so old that its 10 bits look
    /// like those of a later generation.
    pub(super) fn begin(&self, generation: u64) {
        // A store would suffice. This is a swap because loom cannot order a store against another thread's
        // read-modify-write.
        self.0.swap(Run { generation: in_word(generation), failures: 0, first: 0 }.pack(), Relaxed);
    }

    /// Ends the run. If there is no run, as in a healthy circuit, only reads the word.
    pub(super) fn success(&self, generation: u64) {
        let word = self.0.load(Relaxed);
        let run = Run::unpack(word);
        if run.failures > 0 && run.generation == in_word(generation) {
            // If another thread has added a failure since the load, the exchange fails, and the run goes on: the
            // failure counts as later than this success.
            let ended = Run { failures: 0, ..run }.pack();
            let _ = self.0.compare_exchange(word, ended, Relaxed, Relaxed);
        }
    }

    /// Adds a failure to the run, or begins a new run if the run is too old. Returns true if the run fulfils `rule`.
    pub(super) fn failure(&self, rule: Consecutive, generation: u64, now: Duration) -> bool {
        let now = millis(now);
        let generation = in_word(generation);
        let mut word = self.0.load(Relaxed);
        loop {
            let run = Run::unpack(word);
            let age = generation.wrapping_sub(run.generation) % GENERATIONS;
            if age > GENERATIONS / 2 {
                // The word already belongs to a later generation, so this failure does not count.
                return false;
            }
            let next = if age == 0 && run.failures > 0 && run.span(now) <= rule.span + MAX_AGE {
                Run { failures: (run.failures + 1).min(MAX_FAILURES), ..run }
            } else {
                Run { generation, failures: 1, first: now }
            };
            match self.0.compare_exchange_weak(word, next.pack(), Relaxed, Relaxed) {
                Ok(_) => return next.failures >= rule.failures && next.span(now) >= rule.span,
                Err(newer) => word = newer,
            }
        }
    }

    pub(super) fn count(&self, generation: u64) -> u16 {
        self.run(generation).map_or(0, |run| run.failures)
    }

    /// True if the run fulfils `rule` now. Calls `now` only if the run is long enough.
    pub(super) fn has_reached(
        &self,
        rule: Consecutive,
        generation: u64,
        now: impl FnOnce() -> Duration,
    ) -> bool {
        let run = self.run(generation).filter(|run| run.failures >= rule.failures);
        run.is_some_and(|run| run.span(millis(now())) >= rule.span)
    }

    fn run(&self, generation: u64) -> Option<Run> {
        Some(Run::unpack(self.0.load(Relaxed))).filter(|run| run.generation == in_word(generation))
    }
}

/// Returns the bits of the generation that the word holds.
#[allow(clippy::cast_possible_truncation)]
fn in_word(generation: u64) -> u16 {
    (generation % u64::from(GENERATIONS)) as u16
}

#[allow(clippy::cast_possible_truncation)]
fn millis(time: Duration) -> u64 {
    time.as_millis() as u64 & ((1 << FIRST_BITS) - 1)
}

#[cfg(all(test, steadfast_loom))]
mod models;

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);
    const THREE_OVER_TWO_SECONDS: Consecutive = Consecutive { failures: 3, span: Duration::from_secs(2) };

    fn failure(run: &ConsecutiveFailures, generation: u64, now: Duration) -> bool {
        run.failure(THREE_OVER_TWO_SECONDS, generation, now)
    }

    #[test]
    fn a_run_needs_both_its_length_and_its_span() {
        let run = ConsecutiveFailures::default();
        assert!(!failure(&run, 0, 5 * SECOND));
        assert!(!failure(&run, 0, 6 * SECOND));
        assert!(!failure(&run, 0, 13 * SECOND / 2), "long enough, but too fast");
        assert!(failure(&run, 0, 7 * SECOND));
        run.success(0);
        assert_eq!(run.count(0), 0);
        assert!(!failure(&run, 0, 8 * SECOND));
    }

    #[test]
    fn a_run_belongs_to_its_generation() {
        let run = ConsecutiveFailures::default();
        failure(&run, 1, SECOND);
        run.success(2);
        assert_eq!(run.count(1), 1);
        failure(&run, 2, 2 * SECOND);
        failure(&run, 1, 2 * SECOND);
        assert_eq!((run.count(1), run.count(2)), (0, 1));
    }

    #[test]
    fn generations_wrap_and_keep_their_order() {
        let run = ConsecutiveFailures::default();
        let last = u64::from(GENERATIONS) - 1;
        run.begin(last);
        failure(&run, last, SECOND);
        failure(&run, last + 1, SECOND);
        failure(&run, last, SECOND);
        assert_eq!((run.count(last), run.count(last + 1)), (0, 1));
    }

    #[test]
    fn a_run_of_any_age_begins_anew() {
        for idle in [MAX_AGE + 3 * SECOND, 25 * 24 * 3600 * SECOND, 60 * 24 * 3600 * SECOND] {
            let run = ConsecutiveFailures::default();
            failure(&run, 0, SECOND);
            failure(&run, 0, SECOND);
            assert!(!failure(&run, 0, SECOND + idle), "after {idle:?}");
            assert_eq!(run.count(0), 1);
        }
    }

    #[test]
    fn the_longest_run_is_counted_without_overflow() {
        let run = ConsecutiveFailures::default();
        (0..u32::from(MAX_FAILURES) + 10).for_each(|_| _ = failure(&run, 0, SECOND));
        assert_eq!(run.count(0), MAX_FAILURES);
    }

    #[test]
    fn a_clock_that_is_read_late_gives_no_negative_span() {
        let run = ConsecutiveFailures::default();
        failure(&run, 0, 9 * SECOND);
        failure(&run, 0, 8 * SECOND);
        assert!(!failure(&run, 0, 8 * SECOND));
        assert_eq!(run.count(0), 3);
    }
}
