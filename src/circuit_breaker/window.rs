//! The counts of a closed circuit: the run of consecutive failures, and the window over which rates are measured.
//!
//! All calls to an upstream share these counts. The counts take a fixed amount of memory, and the time is an
//! argument. A call takes a lock only when a time window moves on to the next bucket.
//!
//! # Implementation
//!
//! - [`ConsecutiveFailures`] is one word: the generation, the length of the run, and the time of its first failure. A
//!   healthy call only reads the word, so that parallel calls share the word's cache line.
//! - [`TimeWindow`] is a ring of ten buckets. A call adds to the bucket at the head, with one `fetch_add`, or two if
//!   the call is slow. At the end of a bucket's time, one thread takes a lock, empties the buckets that drop out, and
//!   moves the head.
//! - [`CallWindow`] is a ring with one byte for each call, and the sums over the ring. A call replaces the oldest
//!   byte by its own, and corrects the sums by the difference. The cost of a call does not depend on the length of
//!   the ring.
//!
//! # Memory ordering
//!
//! The head of a time window is the only word here that orders accesses to other words. The head is stored with
//! Release after the new bucket is emptied, and is loaded with Acquire or under the lock. A thread that sees the new
//! head therefore sees no old counts in the new bucket, and this emptying erases no count that the thread adds.
//!
//! All other accesses are relaxed. Results are added by read-modify-writes, so concurrent results do not overwrite
//! each other, whatever their order. Only the clearing of a bucket is a plain store. When the circuit closes,
//! [`RateWindow::clear`] and [`ConsecutiveFailures::begin`] run before the Release store of the new gate, the word
//! that admits calls. A call that sees the new gate therefore also sees the cleared counts.

use std::sync::PoisonError;
use std::time::Duration;

use super::config::Window;
use crate::internal::sync::Mutex;
use crate::internal::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use crate::internal::sync::atomic::{AtomicI32, AtomicU8, AtomicU32, AtomicU64};

/// The result of one call, as a window records it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct CallRecord {
    pub(super) failed: bool,
    pub(super) slow: bool,
}

/// The sums over the calls of a window.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Counts {
    pub(super) calls: u32,
    pub(super) failures: u32,
    pub(super) slow: u32,
}

impl Counts {
    pub(super) fn failure_rate(&self) -> f64 {
        self.rate(self.failures)
    }

    pub(super) fn slow_rate(&self) -> f64 {
        self.rate(self.slow)
    }

    fn rate(&self, part: u32) -> f64 {
        if self.calls == 0 { 0.0 } else { f64::from(part) / f64::from(self.calls) }
    }
}

// ===== Consecutive =====

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

// ===== TimeWindow =====

/// The number of buckets in a time window. The window slides by one bucket at a time.
const BUCKETS: u32 = 10;

/// The latest calls, in ten buckets of equal length of time. The oldest bucket drops out as time goes on.
#[derive(Debug)]
pub(super) struct TimeWindow {
    bucket_length: Duration,
    buckets: [TimeBucket; BUCKETS as usize],
    /// The number of the current bucket. Bucket 0 began when the circuit breaker was made.
    head: AtomicU64,
    /// Locked only to move the head, at the end of a bucket's time.
    turn: Mutex<()>,
}

#[derive(Debug, Default)]
struct TimeBucket {
    /// The lower 32 bits are the number of calls, the upper 32 bits the number of failures.
    calls_and_failures: AtomicU64,
    slow: AtomicU32,
}

impl TimeWindow {
    pub(super) fn new(length: Duration) -> Self {
        Self {
            bucket_length: length / BUCKETS,
            buckets: Default::default(),
            head: AtomicU64::new(0),
            turn: Mutex::new(()),
        }
    }

    pub(super) fn record(&self, now: Duration, record: CallRecord) {
        let bucket = self.bucket(self.advance(now));
        bucket.calls_and_failures.fetch_add(1 | u64::from(record.failed) << 32, Relaxed);
        if record.slow {
            bucket.slow.fetch_add(1, Relaxed);
        }
    }

    #[allow(clippy::cast_possible_truncation)]
    pub(super) fn counts(&self, now: Duration) -> Counts {
        self.advance(now);
        self.buckets.iter().fold(Counts::default(), |sum, bucket| {
            let both = bucket.calls_and_failures.load(Relaxed);
            Counts {
                calls: sum.calls.saturating_add(both as u32),
                failures: sum.failures.saturating_add((both >> 32) as u32),
                slow: sum.slow.saturating_add(bucket.slow.load(Relaxed)),
            }
        })
    }

    pub(super) fn clear(&self) {
        self.buckets.iter().for_each(TimeBucket::clear);
    }

    /// Moves the head to the bucket of `now`, and empties the buckets that drop out. Returns the number of the head.
    fn advance(&self, now: Duration) -> u64 {
        let number = (now.as_nanos() / self.bucket_length.as_nanos().max(1)).try_into().unwrap_or(u64::MAX);
        // Acquire: a thread that sees the new head sees the new bucket empty.
        let head = self.head.load(Acquire);
        if number <= head {
            return head;
        }
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        let head = self.head.load(Relaxed); // Ordered by the lock.
        if number <= head {
            return head;
        }
        // A thread that adds to one of these buckets now is late by a whole window, and its result may be lost.
        for dropped in (head + 1..=number).take(self.buckets.len()) {
            self.bucket(dropped).clear();
        }
        // Release: the buckets are empty before the head moves.
        self.head.store(number, Release);
        number
    }

    #[allow(clippy::cast_possible_truncation)]
    fn bucket(&self, number: u64) -> &TimeBucket {
        &self.buckets[(number % u64::from(BUCKETS)) as usize]
    }
}

impl TimeBucket {
    fn clear(&self) {
        self.calls_and_failures.store(0, Relaxed);
        self.slow.store(0, Relaxed);
    }
}

// ===== CallWindow =====

/// The last N calls. A ring has one byte for each call. Three sums count the calls, failures and slow calls in the
/// ring.
#[derive(Debug)]
pub(super) struct CallWindow {
    ring: Box<[AtomicU8]>,
    cursor: AtomicU64,
    // Signed, because a sum is negative for a moment if one thread subtracts an entry before another thread has added
    // it.
    calls: AtomicI32,
    failures: AtomicI32,
    slow: AtomicI32,
}

const EMPTY: u8 = 0;
const CALL: u8 = 1;
const FAILED: u8 = 2;
const SLOW: u8 = 4;

impl CallWindow {
    pub(super) fn new(calls: u32) -> Self {
        Self {
            ring: (0..calls).map(|_| AtomicU8::new(EMPTY)).collect(),
            cursor: AtomicU64::new(0),
            calls: AtomicI32::new(0),
            failures: AtomicI32::new(0),
            slow: AtomicI32::new(0),
        }
    }

    pub(super) fn record(&self, record: CallRecord) {
        let entry = CALL | if record.failed { FAILED } else { 0 } | if record.slow { SLOW } else { 0 };
        let position = self.cursor.fetch_add(1, Relaxed) % self.ring.len() as u64;
        #[allow(clippy::cast_possible_truncation)]
        self.replace(&self.ring[position as usize], entry);
    }

    pub(super) fn counts(&self) -> Counts {
        let read = |sum: &AtomicI32| sum.load(Relaxed).try_into().unwrap_or(0);
        Counts { calls: read(&self.calls), failures: read(&self.failures), slow: read(&self.slow) }
    }

    pub(super) fn clear(&self) {
        self.ring.iter().for_each(|slot| self.replace(slot, EMPTY));
    }

    /// Replaces an entry, and corrects the sums. Each entry is added to the sums once and subtracted once, so the
    /// sums match the ring.
    fn replace(&self, slot: &AtomicU8, entry: u8) {
        let previous = slot.swap(entry, Relaxed);
        for (sum, bit) in [(&self.calls, CALL), (&self.failures, FAILED), (&self.slow, SLOW)] {
            match (previous & bit != 0, entry & bit != 0) {
                (false, true) => _ = sum.fetch_add(1, Relaxed),
                (true, false) => _ = sum.fetch_sub(1, Relaxed),
                _ => {}
            }
        }
    }
}

// ===== RateWindow =====

/// The window over which a circuit breaker measures its rates.
#[derive(Debug)]
pub(super) enum RateWindow {
    Time(TimeWindow),
    Calls(CallWindow),
}

impl RateWindow {
    pub(super) fn new(window: Window) -> Self {
        match window {
            Window::Time(length) => Self::Time(TimeWindow::new(length)),
            Window::Calls(calls) => Self::Calls(CallWindow::new(calls)),
        }
    }

    pub(super) fn record(&self, now: Duration, record: CallRecord) {
        match self {
            Self::Time(window) => window.record(now, record),
            Self::Calls(window) => window.record(record),
        }
    }

    pub(super) fn counts(&self, now: Duration) -> Counts {
        match self {
            Self::Time(window) => window.counts(now),
            Self::Calls(window) => window.counts(),
        }
    }

    pub(super) fn clear(&self) {
        match self {
            Self::Time(window) => window.clear(),
            Self::Calls(window) => window.clear(),
        }
    }
}

#[cfg(all(test, steadfast_loom))]
mod models;

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: CallRecord = CallRecord { failed: false, slow: false };
    const BAD: CallRecord = CallRecord { failed: true, slow: false };
    const SLOW_CALL: CallRecord = CallRecord { failed: false, slow: true };
    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_window_of_calls_slides_after_any_number_of_them() {
        // Known mistake 1: after 10,000 successes, five failures must be half of the last ten calls.
        let window = CallWindow::new(10);
        for _ in 0..10_000 {
            window.record(GOOD);
        }
        for _ in 0..5 {
            window.record(BAD);
        }
        assert_eq!(window.counts(), Counts { calls: 10, failures: 5, slow: 0 });
        for _ in 0..10 {
            window.record(SLOW_CALL);
        }
        assert_eq!(window.counts(), Counts { calls: 10, failures: 0, slow: 10 });
        window.clear();
        assert_eq!(window.counts(), Counts::default());
    }

    #[test]
    fn a_window_of_time_forgets_older_records() {
        let window = TimeWindow::new(10 * SECOND);
        for second in 0..10 {
            window.record(second * SECOND, BAD);
        }
        let failures = |now| window.counts(now).failures;
        assert_eq!(failures(9 * SECOND), 10);
        assert_eq!(failures(10 * SECOND), 9);
        assert_eq!(failures(14 * SECOND), 5);
        assert_eq!(failures(19 * SECOND), 0);
        window.record(1_000_000 * SECOND, GOOD);
        assert_eq!(window.counts(1_000_000 * SECOND), Counts { calls: 1, failures: 0, slow: 0 });
    }

    #[test]
    fn a_clock_that_is_read_late_adds_to_the_present() {
        let window = TimeWindow::new(10 * SECOND);
        window.record(20 * SECOND, GOOD);
        window.record(3 * SECOND, SLOW_CALL);
        assert_eq!(window.counts(20 * SECOND), Counts { calls: 2, failures: 0, slow: 1 });
    }

    #[test]
    fn no_record_is_lost_when_threads_race() {
        let time = TimeWindow::new(10 * SECOND);
        let calls = CallWindow::new(1000);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for step in 0..10_000_u32 {
                        time.record(step * Duration::from_micros(900), BAD);
                        calls.record(if step % 2 == 0 { BAD } else { SLOW_CALL });
                    }
                });
            }
        });
        assert_eq!(time.counts(9 * SECOND).failures, 40_000);
        let counts = calls.counts();
        assert_eq!((counts.calls, counts.failures + counts.slow), (1000, 1000));
    }

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
