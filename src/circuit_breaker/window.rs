//! The window of recent calls, over which a closed circuit measures the rates of failures and of slow calls.
//!
//! All calls to an upstream share the counts of a window. The counts take a fixed amount of memory, and the time is an
//! argument. A call takes a lock only when a time window moves on to the next bucket.
//!
//! # Implementation
//!
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
//! [`RateWindow::clear`] runs before the Release store of the new gate, the word that admits calls. A call that sees
//! the new gate therefore also sees the cleared counts.

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
}
