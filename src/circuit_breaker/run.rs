//! The run of consecutive failures of a closed circuit.
//!
//! # Implementation
//!
//! [`ConsecutiveFailures`] is one word: the generation, the length of the run, and the time of its first failure. A
//! healthy call only reads the word, so that parallel calls share the word's cache line.
//!
//! # Memory ordering
//!
//! All accesses are relaxed, because the word orders no accesses to other words. When the circuit closes,
//! [`ConsecutiveFailures::begin`] runs before the Release store of the new gate, the word that admits calls. A call
//! that sees the new gate therefore also sees the new run.

use std::time::Duration;

use crate::internal::sync::atomic::AtomicU64;
use crate::internal::sync::atomic::Ordering::Relaxed;

/// The length of the run of failures and the time of its first failure, in one word.
///
/// The word also holds the generation, so that a late result neither extends nor ends the run of a later generation.
#[derive(Debug, Default)]
pub(super) struct ConsecutiveFailures(AtomicU64);

#[derive(Clone, Copy)]
struct Run {
    generation: u16,
    failures: u16,
    /// The time of the first failure in the run, in milliseconds since the circuit breaker was made. The value wraps
    /// after 49 days, but only differences are used.
    first: u32,
}

impl Run {
    fn pack(self) -> u64 {
        u64::from(self.generation) << 48 | u64::from(self.failures) << 32 | u64::from(self.first)
    }

    /// Returns the time since the first failure.
    fn span(self, now: u32) -> Duration {
        let span = now.wrapping_sub(self.first);
        // A difference above half the range means a negative time: this thread read the clock earlier than the thread
        // of the first failure.
        Duration::from_millis(if span > u32::MAX / 2 { 0 } else { span.into() })
    }

    #[allow(clippy::cast_possible_truncation)]
    fn unpack(word: u64) -> Self {
        Self { generation: (word >> 48) as u16, failures: (word >> 32) as u16, first: word as u32 }
    }
}

#[allow(clippy::cast_possible_truncation)]
impl ConsecutiveFailures {
    /// Begins an empty run for a new generation.
    ///
    /// The word has room for only 16 bits of the generation, and calls update the word only while the circuit is
    /// closed. Without `begin` at each closing, the generation in the word could become so old that its 16 bits look
    /// like those of a later generation.
    pub(super) fn begin(&self, generation: u64) {
        // A store would suffice. This is a swap because loom cannot order a store against another thread's
        // read-modify-write.
        self.0.swap(Run { generation: generation as u16, failures: 0, first: 0 }.pack(), Relaxed);
    }

    /// Ends the run. If there is no run, as in a healthy circuit, only reads the word.
    pub(super) fn success(&self, generation: u64) {
        let word = self.0.load(Relaxed);
        let run = Run::unpack(word);
        if run.failures > 0 && run.generation == generation as u16 {
            // If another thread has added a failure since the load, the exchange fails, and the run goes on: the
            // failure counts as later than this success.
            let ended = Run { failures: 0, ..run }.pack();
            let _ = self.0.compare_exchange(word, ended, Relaxed, Relaxed);
        }
    }

    /// Adds a failure to the run. Returns the length of the run and the time since its first failure.
    pub(super) fn failure(&self, generation: u64, now: Duration) -> (u16, Duration) {
        let now = now.as_millis() as u32;
        let generation = generation as u16;
        let mut word = self.0.load(Relaxed);
        loop {
            let run = Run::unpack(word);
            let age = generation.wrapping_sub(run.generation);
            if age > u16::MAX / 2 {
                // The word already belongs to a later generation, so this failure does not count.
                return (0, Duration::ZERO);
            }
            let next = if age == 0 && run.failures > 0 {
                Run { failures: run.failures.saturating_add(1), ..run }
            } else {
                Run { generation, failures: 1, first: now }
            };
            match self.0.compare_exchange_weak(word, next.pack(), Relaxed, Relaxed) {
                Ok(_) => return (next.failures, next.span(now)),
                Err(newer) => word = newer,
            }
        }
    }

    pub(super) fn count(&self, generation: u64) -> u16 {
        self.run(generation).map_or(0, |run| run.failures)
    }

    /// True if the run has at least `failures` failures, and the first was at least `span` ago. Calls `now` only if
    /// there are enough failures.
    pub(super) fn has_reached(
        &self,
        failures: u16,
        span: Duration,
        generation: u64,
        now: impl FnOnce() -> Duration,
    ) -> bool {
        let run = self.run(generation).filter(|run| run.failures >= failures);
        run.is_some_and(|run| run.span(now().as_millis() as u32) >= span)
    }

    fn run(&self, generation: u64) -> Option<Run> {
        Some(Run::unpack(self.0.load(Relaxed))).filter(|run| run.generation == generation as u16)
    }
}

#[cfg(all(test, steadfast_loom))]
mod models;

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_run_of_failures_is_measured_from_its_first() {
        let run = ConsecutiveFailures::default();
        assert_eq!(run.failure(0, 5 * SECOND), (1, Duration::ZERO));
        assert_eq!(run.failure(0, 7 * SECOND), (2, 2 * SECOND));
        run.success(0);
        assert_eq!(run.count(0), 0);
        assert_eq!(run.failure(0, 8 * SECOND), (1, Duration::ZERO));
    }

    #[test]
    fn a_run_belongs_to_its_generation() {
        let run = ConsecutiveFailures::default();
        run.failure(1, SECOND);
        run.success(2);
        assert_eq!(run.count(1), 1);
        assert_eq!(run.failure(2, 2 * SECOND), (1, Duration::ZERO));
        assert_eq!(run.failure(1, 2 * SECOND), (0, Duration::ZERO));
        assert_eq!((run.count(1), run.count(2)), (0, 1));
    }

    #[test]
    fn a_run_survives_the_wrap_of_its_clock() {
        let run = ConsecutiveFailures::default();
        let before = Duration::from_millis(u64::from(u32::MAX) - 500);
        run.failure(0, before);
        assert_eq!(run.failure(0, before + SECOND), (2, SECOND));
    }
}
