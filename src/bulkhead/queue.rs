//! The queue for permits. It tells a burst from an overload.
//!
//! A burst is a queue that the upstream works off while the callers wait: every caller is served, in the order of
//! arrival. In an overload, some callers probably cannot be served in time, whatever the order. The queue then serves
//! the newest waiter first: its caller has the most time left, and most calls that are served have hardly waited.
//!
//! # When a queue is an overload
//!
//! The [`Forecast`] predicts the time in which the permits work off a number of waiters. A queue becomes an overload
//! when one of these things happens:
//!
//! - The queue is not expected to be empty in time: within 0.1 s and twice the time that was predicted when the queue
//!   was at its longest. The time starts again whenever all waiters have been replaced by others, and the queue has
//!   hardly grown meanwhile: such a queue is never empty, but each waiter is served in its turn.
//! - The queue is not expected to be empty before half of the patience of the most patient waiter is over.
//! - The queue is full. The oldest waiter then leaves in favour of the newcomer.
//!
//! The overload ends when the queue is empty. It changes only the order in which waiters are served, not their
//! patience. So a burst that is wrongly taken for an overload still gets all its permits, if it is worked off in
//! time.
//!
//! The queue is pure: the time and the forecast are arguments.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::Instant;

use crate::internal::clock;

/// The waiters, and the course of the queue since it was last empty.
#[derive(Debug)]
pub(super) struct WaitQueue<W> {
    /// The waiters by number, oldest first.
    waiters: BTreeMap<u64, W>,
    /// The number of the next waiter.
    next: u64,
    /// `None` while the queue is empty. Boxed, so that a bulkhead without a queue is small.
    course: Option<Box<Course>>,
}

/// The time in which the permits work off the queue.
#[derive(Debug, Clone, Copy)]
pub(super) struct Forecast {
    /// The time that a permit is held for each answer; `None` if unknown.
    pub(super) hold: Option<Duration>,
    pub(super) permits: usize,
}

/// The course of a queue since it was last empty, or since the last turn in which it has not grown.
#[derive(Debug)]
struct Course {
    began: Instant,
    /// The largest number of waiters so far.
    longest: usize,
    /// The predicted time for `longest` waiters; `None` if unknown.
    predicted: Option<Duration>,
    /// The latest instant at which half of a waiter's patience is over.
    half_patience: Instant,
    is_overload: bool,
    /// The number of the first waiter that joined after the last turn.
    next_turn: u64,
    /// The number of waiters at the last turn.
    waiting_at_turn: usize,
}

/// A new waiter's place in the queue.
#[derive(Debug)]
pub(super) struct Place<W> {
    pub(super) number: u64,
    /// True if the queue is expected to be empty before this waiter must leave.
    pub(super) is_hopeful: bool,
    /// The oldest waiter, if it had to leave for this one.
    pub(super) displaced: Option<W>,
}

impl Forecast {
    /// Returns the time in which `waiting` calls get permits; `None` if unknown.
    fn predicts(&self, waiting: usize) -> Option<Duration> {
        #[allow(clippy::cast_precision_loss)]
        let rounds = waiting as f64 / self.permits.max(1) as f64;
        let seconds = self.hold?.as_secs_f64() * rounds;
        Some(Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX))
    }
}

impl<W> WaitQueue<W> {
    pub(super) const fn new() -> Self {
        Self { waiters: BTreeMap::new(), next: 0, course: None }
    }

    pub(super) fn len(&self) -> usize {
        self.waiters.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.waiters.is_empty()
    }

    /// Adds a waiter that can wait until `patience`. At most `max` calls wait, and `max` is not zero.
    pub(super) fn join(
        &mut self,
        waiter: W,
        now: Instant,
        patience: Instant,
        forecast: Forecast,
        max: usize,
    ) -> Place<W> {
        let displaced = if self.len() >= max { self.waiters.pop_first() } else { None };
        let number = self.next;
        self.next += 1;
        self.waiters.insert(number, waiter);
        let waiting = self.len();
        let is_hopeful = self.is_hopeful(now, patience, forecast);
        let course = self.course.get_or_insert_with(|| {
            Box::new(Course {
                began: now,
                longest: 0,
                predicted: None,
                half_patience: now,
                is_overload: false,
                next_turn: number,
                waiting_at_turn: 0,
            })
        });
        if waiting > course.longest {
            (course.longest, course.predicted) = (waiting, forecast.predicts(waiting));
        }
        course.half_patience = course.half_patience.max(now + (patience - now) / 2);
        course.is_overload |= displaced.is_some();
        course.update(now, waiting, forecast);
        Place { number, is_hopeful, displaced: displaced.map(|(_, waiter)| waiter) }
    }

    /// True if the queue is expected to be empty before `patience`, or if nothing is known.
    pub(super) fn is_hopeful(&self, now: Instant, patience: Instant, forecast: Forecast) -> bool {
        forecast
            .predicts(self.len())
            .is_none_or(|predicted| predicted <= patience.saturating_duration_since(now))
    }

    /// Removes the waiter that gets the next permit: the oldest, or the newest in an overload.
    pub(super) fn pop(&mut self, now: Instant, forecast: Forecast) -> Option<W> {
        let waiting = self.len();
        let course = self.course.as_mut()?;
        course.update(now, waiting, forecast);
        let popped = if course.is_overload { self.waiters.pop_last() } else { self.waiters.pop_first() };
        if self.waiters.first_key_value().is_some_and(|(first, _)| *first >= course.next_turn) {
            course.turn(now, self.waiters.len(), self.next, forecast);
        }
        self.end_if_empty();
        popped.map(|(_, waiter)| waiter)
    }

    /// Removes a waiter that leaves. Returns false if the waiter was not in the queue any more.
    pub(super) fn leave(&mut self, number: u64) -> bool {
        let was_waiting = self.waiters.remove(&number).is_some();
        self.end_if_empty();
        was_waiting
    }

    fn end_if_empty(&mut self) {
        if self.waiters.is_empty() {
            self.course = None;
        }
    }
}

impl Course {
    /// Begins a turn, because all waiters of the last turn have left the queue. If the queue has hardly grown since,
    /// it is worked off as fast as it fills, and is measured anew. In an overload, the oldest waiters leave because
    /// their time is over, so a queue that does not grow says nothing.
    fn turn(&mut self, now: Instant, waiting: usize, next: u64, forecast: Forecast) {
        if !self.is_overload && waiting <= self.waiting_at_turn + self.waiting_at_turn / 8 {
            self.began = now;
            (self.longest, self.predicted) = (waiting, forecast.predicts(waiting));
        }
        self.next_turn = next;
        self.waiting_at_turn = waiting;
    }

    /// Notes an overload if the queue is not expected to be empty in time.
    fn update(&mut self, now: Instant, waiting: usize, forecast: Forecast) {
        const GRACE: Duration = Duration::from_millis(100);
        // If no hold time was known when the queue was at its longest, predict for that length now.
        self.predicted = self.predicted.or_else(|| forecast.predicts(self.longest));
        let allowed = self.predicted.unwrap_or_default().saturating_mul(2).saturating_add(GRACE);
        let due = clock::earliest(clock::after(self.began, allowed), Some(self.half_patience));
        let empty_at = clock::after(now, forecast.predicts(waiting).unwrap_or_default());
        self.is_overload |= empty_at.is_none_or(|empty_at| due.is_some_and(|due| empty_at > due));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);
    const SECOND: Duration = Duration::from_secs(1);

    /// A queue of numbered waiters, with its clock, for 128 permits.
    struct Rig {
        queue: WaitQueue<usize>,
        now: Instant,
        hold: Option<Duration>,
        joined: usize,
        max: usize,
    }

    impl Rig {
        fn new(hold: Option<Duration>) -> Self {
            Self { queue: WaitQueue::new(), now: Instant::now(), hold, joined: 0, max: 10_000 }
        }

        fn forecast(&self) -> Forecast {
            Forecast { hold: self.hold, permits: 128 }
        }

        fn join(&mut self, patience: Duration) -> Place<usize> {
            self.joined += 1;
            let forecast = self.forecast();
            self.queue.join(self.joined, self.now, self.now + patience, forecast, self.max)
        }

        fn join_all(&mut self, number: usize, patience: Duration) {
            (0..number).for_each(|_| _ = self.join(patience));
        }

        fn pop(&mut self) -> usize {
            let forecast = self.forecast();
            self.queue.pop(self.now, forecast).unwrap()
        }

        /// Works off `number` waiters at the speed of `hold`, and returns them.
        fn work(&mut self, number: usize, hold: Duration) -> Vec<usize> {
            let each = hold / 128;
            (0..number)
                .map(|_| {
                    self.now += each;
                    self.pop()
                })
                .collect()
        }
    }

    fn is_newest_first(popped: &[usize]) -> bool {
        popped.iter().rev().is_sorted()
    }

    #[test]
    fn a_burst_that_is_worked_off_as_predicted_is_served_in_order() {
        let mut rig = Rig::new(Some(50 * MS));
        rig.join_all(5000, 9 * SECOND);
        assert!(rig.work(5000, 50 * MS).is_sorted());
    }

    #[test]
    fn a_burst_before_anything_is_known_is_served_in_order() {
        let mut rig = Rig::new(None);
        rig.join_all(5000, 9 * SECOND);
        rig.now += 50 * MS;
        rig.hold = Some(50 * MS);
        assert!(rig.work(5000, 50 * MS).is_sorted());
    }

    #[test]
    fn a_queue_that_is_worked_off_more_slowly_than_predicted_serves_the_newest() {
        let mut rig = Rig::new(Some(50 * MS));
        rig.join_all(1000, 9 * SECOND);
        rig.hold = Some(100 * MS);
        assert!(rig.work(100, 100 * MS).is_sorted());
        rig.hold = Some(250 * MS);
        assert!(is_newest_first(&rig.work(900, 250 * MS)));
    }

    #[test]
    fn a_queue_that_outlasts_half_of_the_longest_patience_serves_the_newest() {
        for (hold, served) in [(110 * MS, 1), (120 * MS, 5000)] {
            let mut rig = Rig::new(Some(hold));
            rig.join_all(5000, 9 * SECOND);
            assert_eq!(rig.pop(), served, "{hold:?}");
        }
    }

    #[test]
    fn one_impatient_waiter_makes_no_overload() {
        let mut rig = Rig::new(Some(50 * MS));
        rig.join_all(1000, 9 * SECOND);
        assert!(!rig.join(10 * MS).is_hopeful);
        assert_eq!(rig.pop(), 1);
    }

    #[test]
    fn an_upstream_that_hangs_is_noticed_without_any_answer() {
        let mut rig = Rig::new(Some(20 * MS));
        rig.join_all(10, 9 * SECOND);
        rig.now += 99 * MS;
        rig.join_all(1, 9 * SECOND);
        assert_eq!(rig.pop(), 1);
        rig.now += 10 * MS;
        assert_eq!(rig.pop(), 11);
    }

    #[test]
    fn a_steady_overload_is_noticed_soon() {
        // Three calls come for two that are served.
        let mut rig = Rig::new(Some(50 * MS));
        let mut newest_first = 0;
        for _ in 0..2000 {
            rig.join_all(3, 9 * SECOND);
            rig.now += 50 * MS * 2 / 128;
            newest_first += usize::from(rig.pop() == rig.joined);
            rig.pop();
        }
        assert!(newest_first > 1700, "{newest_first} of 2000");
    }

    #[test]
    fn a_queue_that_is_never_empty_and_does_not_grow_is_served_in_order() {
        // For each waiter that is served, another joins.
        let mut rig = Rig::new(Some(50 * MS));
        rig.join_all(200, 9 * SECOND);
        for number in 1..100_000 {
            rig.now += 50 * MS / 128;
            assert_eq!(rig.pop(), number);
            rig.join_all(1, 9 * SECOND);
        }
    }

    #[test]
    fn an_overload_ends_with_the_queue() {
        let mut rig = Rig::new(Some(250 * MS));
        rig.join_all(5000, 9 * SECOND);
        rig.work(5000, MS);
        rig.hold = Some(50 * MS);
        rig.join_all(3, 9 * SECOND);
        assert_eq!(rig.pop(), 5001);
    }

    #[test]
    fn a_full_queue_displaces_its_oldest_waiter() {
        let mut rig = Rig::new(Some(50 * MS));
        rig.max = 3;
        rig.join_all(3, 9 * SECOND);
        assert_eq!(rig.join(9 * SECOND).displaced, Some(1));
        assert_eq!((rig.queue.len(), rig.pop()), (3, 4));
    }

    #[test]
    fn a_waiter_that_leaves_is_not_served() {
        let mut rig = Rig::new(None);
        let place = rig.join(SECOND);
        rig.join_all(1, SECOND);
        assert!(rig.queue.leave(place.number) && !rig.queue.leave(place.number));
        assert_eq!(rig.pop(), 2);
        assert!(rig.queue.is_empty());
    }

    #[test]
    fn endless_predictions_do_not_overflow() {
        let mut rig = Rig::new(Some(Duration::MAX));
        assert!(!rig.join(SECOND).is_hopeful);
        assert_eq!(rig.pop(), 1);
    }
}
