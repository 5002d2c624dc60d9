//! Loom models of the permits. Each checks a property in every order of the steps of two threads.

use std::cell::{Cell, RefCell};
use std::time::Duration;

use tokio::time::Instant;

use crate::bulkhead::handle::{Permit, WaitSlot};
use crate::bulkhead::{Bulkhead, BulkheadBuilder};
use crate::internal::sync::race;

/// A full bulkhead, the permits of its calls in flight, and the place of its waiter, if there is one.
struct Full {
    bulkhead: Bulkhead,
    permits: RefCell<Vec<Permit>>,
    slot: Cell<Option<WaitSlot>>,
}

/// Joins a queue that holds one waiter.
fn slot(bulkhead: &Bulkhead) -> WaitSlot {
    let now = Instant::now();
    WaitSlot::take(bulkhead.clone(), now, now + Duration::from_secs(60 * 60), 1)
}

impl Full {
    fn new(max_concurrent: usize) -> Self {
        Self::of(Bulkhead::builder().max_concurrent(max_concurrent).max_waiting(1))
    }

    fn of(config: BulkheadBuilder) -> Self {
        let bulkhead = config.build().unwrap();
        let permits = RefCell::new(std::iter::from_fn(|| bulkhead.try_acquire()).collect());
        Self { bulkhead, permits, slot: Cell::new(None) }
    }

    /// A full bulkhead with one waiter.
    fn and_queued(max_concurrent: usize) -> Self {
        let full = Self::new(max_concurrent);
        full.queue();
        full
    }

    fn queue(&self) {
        self.slot.set(Some(slot(&self.bulkhead)));
    }

    /// Takes the waiter out of the queue.
    fn leave(&self) {
        drop(self.slot.take());
    }

    /// True if the waiter has received a permit. The waiter leaves the queue in any case.
    fn is_served(&self) -> bool {
        self.slot.take().is_some_and(|mut slot| slot.place.permit.try_recv().is_ok())
    }

    fn resize(&self, max_concurrent: usize) {
        self.bulkhead.resize(max_concurrent).unwrap();
    }

    /// Ends one of the calls in flight.
    fn end_one(&self) {
        let permit = self.permits.borrow_mut().pop();
        assert!(permit.is_some());
    }

    /// Ends all calls in flight. Returns the number of calls that the bulkhead admits afterwards.
    fn free_at_the_end(&self) -> usize {
        self.permits.take();
        *self.permits.borrow_mut() = std::iter::from_fn(|| self.bulkhead.try_acquire()).collect();
        self.permits.borrow().len()
    }
}

#[test]
fn one_of_two_racing_calls_gets_the_last_permit() {
    let one_free = || Bulkhead::builder().max_concurrent(1).build().unwrap();
    race(one_free, Bulkhead::try_acquire, Bulkhead::try_acquire, |bulkhead, one, two| {
        assert!(one.is_some() ^ two.is_some());
        assert_eq!(bulkhead.in_flight(), 1);
    });
}

#[test]
fn permits_released_together_are_all_free() {
    race(
        || Full::new(2),
        Full::end_one,
        Full::end_one,
        |full, (), ()| {
            assert_eq!(full.bulkhead.in_flight(), 0);
            assert_eq!(full.free_at_the_end(), 2);
        },
    );
}

#[test]
fn a_waiter_that_queues_during_a_release_gets_the_permit() {
    race(
        || Full::new(1),
        Full::queue,
        Full::end_one,
        |full, (), ()| {
            assert!(full.is_served());
            assert_eq!(full.free_at_the_end(), 1);
        },
    );
}

#[test]
fn a_call_that_may_not_wait_takes_no_permit_from_a_later_call() {
    race(
        || Full::of(Bulkhead::builder().max_concurrent(1).max_wait(Duration::ZERO)),
        |full| full.bulkhead.queue(None).is_none(),
        |full| {
            full.end_one();
            full.bulkhead.try_acquire().is_some()
        },
        |_, refused, admitted| assert!(refused && admitted),
    );
}

#[test]
fn the_permit_of_a_waiter_that_leaves_is_free() {
    race(
        || Full::and_queued(1),
        Full::leave,
        Full::end_one,
        |full, (), ()| {
            assert_eq!((full.bulkhead.in_flight(), full.bulkhead.waiting()), (0, 0));
            assert_eq!(full.free_at_the_end(), 1);
        },
    );
}

#[test]
fn the_waiter_gets_one_of_two_released_permits() {
    race(
        || Full::and_queued(2),
        Full::end_one,
        Full::end_one,
        |full, (), ()| {
            assert!(full.bulkhead.try_acquire().is_some() && full.bulkhead.in_flight() == 1);
            assert!(full.is_served());
            assert_eq!(full.free_at_the_end(), 2);
        },
    );
}

#[test]
fn a_larger_size_serves_a_waiter() {
    race(
        || Full::new(1),
        Full::queue,
        |full| full.resize(2),
        |full, (), ()| {
            assert!(full.is_served());
            assert_eq!(full.free_at_the_end(), 2);
        },
    );
}

#[test]
fn a_smaller_size_is_reached_with_the_last_call_over_it() {
    race(
        || Full::new(2),
        Full::end_one,
        |full| full.resize(1),
        |full, (), ()| {
            assert!(full.bulkhead.try_acquire().is_none(), "one is still in flight");
            assert_eq!(full.free_at_the_end(), 1);
        },
    );
}

#[test]
fn the_permit_of_a_waiter_that_leaves_counts_towards_a_smaller_size() {
    let set_up = || {
        let full = Full::and_queued(2);
        full.end_one(); // The permit is now on its way to the waiter.
        full
    };
    race(
        set_up,
        Full::leave,
        |full| full.resize(1),
        |full, (), ()| {
            assert!(full.bulkhead.try_acquire().is_none(), "one is still in flight");
        },
    );
}

#[test]
fn two_calls_that_end_together_shrink_the_bulkhead_once() {
    let set_up = || {
        let full = Full::new(2);
        full.resize(1);
        full
    };
    race(set_up, Full::end_one, Full::end_one, |full, (), ()| assert_eq!(full.free_at_the_end(), 1));
}

#[test]
fn after_racing_resizes_the_permits_match_the_size() {
    for [before, one, two] in [[3, 1, 2], [2, 1, 3], [1, 2, 3]] {
        let [one, two] = [one, two].map(|size| move |full: &Full| full.resize(size));
        race(
            move || Full::new(before),
            one,
            two,
            |full, (), ()| {
                assert_eq!(full.free_at_the_end(), full.bulkhead.max_concurrent());
            },
        );
    }
}

#[test]
fn one_of_two_waiters_for_one_place_is_displaced() {
    let take = |full: &Full| slot(&full.bulkhead);
    race(
        || Full::new(1),
        take,
        take,
        |full, mut one, mut two| {
            assert_eq!(full.bulkhead.waiting(), 1);
            full.end_one();
            // The other waiter has been displaced.
            assert!(one.place.permit.try_recv().is_ok() ^ two.place.permit.try_recv().is_ok());
        },
    );
}

#[test]
fn a_waiter_that_is_displaced_as_its_permit_comes_loses_no_permit() {
    race(
        || Full::and_queued(1),
        |full| slot(&full.bulkhead),
        Full::end_one,
        |full, newcomer, ()| {
            full.leave();
            drop(newcomer);
            assert_eq!(full.bulkhead.waiting(), 0);
            assert_eq!(full.free_at_the_end(), 1);
        },
    );
}

#[test]
fn every_refusal_is_counted() {
    race(Bulkhead::default, Bulkhead::refuse, Bulkhead::refuse, |bulkhead, _, _| {
        assert_eq!(bulkhead.refused(), 2);
    });
}
