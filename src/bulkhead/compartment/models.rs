//! What must hold of the permits in whatever order threads come.

use std::cell::{Cell, RefCell};

use super::*;
use crate::sync::race;

/// A compartment, and its permits.
struct Full {
    compartment: Compartment,
    permits: RefCell<Vec<Permit>>,
}

impl Full {
    fn new(max_concurrent: usize) -> Self {
        let compartment =
            Compartment::builder().max_concurrent(max_concurrent).max_waiting(1).build().unwrap();
        let permits = RefCell::new(std::iter::from_fn(|| compartment.try_acquire()).collect());
        Self { compartment, permits }
    }

    fn resize(&self, max_concurrent: usize) {
        self.compartment.resize(max_concurrent).unwrap();
    }

    /// One of the calls ends.
    fn end_one(&self) {
        let permit = self.permits.borrow_mut().pop();
        assert!(permit.is_some());
    }

    /// How many are let through once the other calls have ended, too.
    fn free_at_the_end(&self) -> usize {
        self.permits.take();
        *self.permits.borrow_mut() = std::iter::from_fn(|| self.compartment.try_acquire()).collect();
        self.permits.borrow().len()
    }
}

#[test]
fn a_smaller_size_is_reached_with_the_last_call_over_it() {
    race(
        || Full::new(2),
        Full::end_one,
        |full| full.resize(1),
        |full, (), ()| {
            assert!(full.compartment.try_acquire().is_none(), "one is still in flight");
            assert_eq!(full.free_at_the_end(), 1);
        },
    );
}

#[test]
fn a_permit_that_a_waiter_gave_up_makes_up_for_a_smaller_size() {
    let set_up = || {
        let full = Full::new(2);
        let place = Cell::new(Place::take(full.compartment.clone()));
        // A permit has been given to the waiter, which is in its turn now.
        std::mem::forget(full.permits.borrow_mut().pop());
        (full, place)
    };
    let give_up = |(full, place): &(Full, Cell<Option<Place>>)| {
        full.compartment.0.semaphore.add_permits(1); // What tokio does when such a waiter is dropped.
        drop(place.take());
    };
    race(
        set_up,
        give_up,
        |(full, _)| full.resize(1),
        |(full, _), (), ()| {
            assert!(full.compartment.try_acquire().is_none(), "one is still in flight");
        },
    );
}

#[test]
fn two_that_end_at_once_make_up_for_the_smaller_size_once() {
    let set_up = || {
        let full = Full::new(2);
        full.resize(1);
        full
    };
    race(set_up, Full::end_one, Full::end_one, |full, (), ()| assert_eq!(full.free_at_the_end(), 1));
}

#[test]
fn after_two_resizes_the_size_is_what_one_of_them_says() {
    for [before, one, two] in [[3, 1, 2], [2, 1, 3], [1, 2, 3]] {
        let [one, two] = [one, two].map(|size| move |full: &Full| full.resize(size));
        race(
            move || Full::new(before),
            one,
            two,
            |full, (), ()| {
                assert_eq!(full.free_at_the_end(), full.compartment.max_concurrent());
            },
        );
    }
}

#[test]
fn the_queue_has_no_more_places_than_it_says() {
    let take = |full: &Full| Place::take(full.compartment.clone());
    race(
        || Full::new(1),
        take,
        take,
        |full, one, two| {
            assert_eq!((one.is_some() ^ two.is_some(), full.compartment.waiting()), (true, 1));
        },
    );
}

#[test]
fn a_place_that_is_left_is_free_again() {
    let set_up = || Compartment::builder().max_waiting(2).build().unwrap();
    let come_and_go = |compartment: &Compartment| drop(Place::take(compartment.clone()));
    race(set_up, come_and_go, come_and_go, |compartment, (), ()| assert_eq!(compartment.waiting(), 0));
}

#[test]
fn every_refusal_is_counted() {
    race(Compartment::default, Compartment::refuse, Compartment::refuse, |compartment, _, _| {
        assert_eq!(compartment.refused(), 2);
    });
}
