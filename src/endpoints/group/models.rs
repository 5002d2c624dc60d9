//! Loom models of the state that the calls of an upstream share. Each checks a property in every order of the steps
//! of two threads.

use std::num::NonZeroU16;
use std::ops::Deref;

use super::*;
use crate::endpoints::ejection::{EndpointFault, FaultKind, Health};
use crate::endpoints::{Endpoints, endpoint::FaultReport, load_words::LoadCounts};
use crate::internal::sync::race;

/// A group with two endpoints, in the slots 0 and 1.
struct Pair {
    group: Arc<EndpointGroup>,
    endpoints: [Arc<Endpoint>; 2],
}

impl Deref for Pair {
    type Target = EndpointGroup;

    fn deref(&self) -> &EndpointGroup {
        &self.group
    }
}

/// A time at which a probe of an endpoint is due that was ejected at the time 0. In milliseconds, as all times.
const PROBE_IS_DUE: u64 = 2000;

impl Pair {
    /// Two available endpoints. Two faults in a row eject one.
    fn new() -> Self {
        let group = EndpointGroup::new(&Endpoints::builder().consecutive_faults(2).seed(1), None);
        let endpoints = [0, 1].map(|slot| group.insert(slot, id(slot), "a"));
        Self { group, endpoints }
    }

    /// The endpoint 0 has a fault.
    fn with_a_fault() -> Self {
        let pair = Self::new();
        pair.fault(0, FaultKind::Exchange, 0, 0);
        pair
    }

    /// The endpoint 0 is ejected, in its generation 1.
    fn with_an_ejection() -> Self {
        let pair = Self::new();
        pair.fault(0, FaultKind::Unreachable, 0, 0);
        pair
    }

    fn fault(&self, slot: usize, kind: FaultKind, generation: u32, now_ms: u64) -> FaultReport {
        let fault = EndpointFault {
            kind,
            retry_after: None,
            generation,
            is_probe: false,
            good_head_ms: None,
            began_ms: 0,
        };
        self.endpoints[slot].faulted(fault, 0, self.at(now_ms))
    }

    /// Ends a good answer, as the drop of its body does.
    fn success(&self, slot: usize, generation: u32, now_ms: u64) {
        if !self.endpoints[slot].load.health().is_well() {
            self.endpoints[slot].recovered(generation, now_ms, self.at(now_ms));
        }
    }

    /// Puts a new endpoint in the slot 0.
    fn replace(&self) -> Arc<Endpoint> {
        self.remove(0);
        self.group.insert(0, id(2), "b")
    }

    /// Begins a probe of the endpoint 0, if one is due. Returns the generation of the attempt.
    fn begin_probe(&self) -> Option<u32> {
        let pick = self.take_probe(0b11, ProbeRight::Resendable, PROBE_IS_DUE, true, || Duration::ZERO)?;
        assert!(pick.choice.slot() == 0 && pick.probe.is_some());
        Some(self.endpoints[0].load.health().generation())
    }

    fn at(&self, now_ms: u64) -> Instant {
        self.epoch + Duration::from_millis(now_ms)
    }
}

impl EndpointGroup {
    /// Returns the health of an endpoint. Checks that the words show what the table says.
    fn checked_health(&self, slot: usize) -> Health {
        let state = self.lock();
        let (mut present, mut available) = (0, 0);
        for endpoint in state.endpoints.iter().flatten() {
            let health = state.ejections.health(endpoint.slot).unwrap();
            let is_ejected = health.ejected.is_some();
            let word = HealthWord::new(health.generation, is_ejected, health.faults_in_row);
            assert_eq!(endpoint.load.health(), word);
            present |= 1 << endpoint.slot;
            available |= u64::from(!is_ejected) << endpoint.slot;
        }
        assert_eq!((self.present.load(Relaxed), self.available.load(Relaxed)), (present, available));
        assert_eq!(self.next_probe_ms.load(Relaxed), state.ejections.next_probe_ms());
        *state.ejections.health(slot).unwrap()
    }
}

fn id(number: usize) -> EndpointId {
    EndpointId::new(NonZeroU16::MIN.saturating_add(u16::try_from(number).unwrap()))
}

/// Ends an attempt while another begins. Afterwards, `ended` attempts have ended.
fn while_another_begins(end: fn(&EndpointLoad), ended: u32) {
    let in_flight = || {
        let load = EndpointLoad::new(EndpointLifetime::endless(0));
        load.begin(0);
        load
    };
    let begins = |load: &EndpointLoad| {
        load.begin(1);
        assert!((1..=2).contains(&load.counts().in_flight()));
    };
    race(in_flight, end, begins, move |load, (), ()| {
        assert_eq!(load.counts(), LoadCounts { awaited: 1, open_bodies: 0, ended });
        load.withdrawn();
        assert_eq!(load.counts().in_flight(), 0);
    });
}

#[test]
fn attempts_are_neither_lost_nor_counted_twice() {
    let answered = |load: &EndpointLoad| {
        load.answered(1);
        load.body_ended();
    };
    while_another_begins(answered, 1);
    while_another_begins(|load| load.failed(1), 1);
    while_another_begins(EndpointLoad::withdrawn, 0);
}

#[test]
fn two_faults_eject_an_endpoint_once() {
    let fault = |pair: &Pair| pair.fault(0, FaultKind::Exchange, 0, 0);
    race(Pair::new, fault, fault, |pair, _, _| {
        let health = pair.checked_health(0);
        // The same seed gives the first ejection the same jitter.
        let until_ms = Pair::with_an_ejection().checked_health(0).ejected.unwrap().until_ms;
        assert_eq!((health.generation, health.ejected.unwrap().until_ms), (1, until_ms));
        assert_eq!(pair.next_probe_ms.load(Relaxed), until_ms);
    });
}

#[test]
fn both_of_two_ejections_are_published() {
    let fault = |slot| move |pair: &Pair| pair.fault(slot, FaultKind::Unreachable, 0, 0);
    race(Pair::new, fault(0), fault(1), |pair, _, _| {
        assert!(pair.checked_health(0).ejected.is_some() && pair.checked_health(1).ejected.is_some());
    });
}

#[test]
fn a_success_from_before_an_ejection_does_not_end_it() {
    race(
        Pair::with_a_fault,
        |pair| pair.success(0, 0, 0),
        |pair| pair.fault(0, FaultKind::Exchange, 0, 0),
        |pair, (), _| {
            let health = pair.checked_health(0);
            // The success came first and ended the row, or it came too late.
            let expected = if health.ejected.is_some() { (1, 0) } else { (0, 1) };
            assert_eq!((health.generation, health.faults_in_row), expected);
        },
    );
}

#[test]
fn one_of_two_calls_gets_a_due_probe() {
    race(Pair::with_an_ejection, Pair::begin_probe, Pair::begin_probe, |pair, one, two| {
        assert!(one.is_some() ^ two.is_some());
        assert!(pair.checked_health(0).ejected.unwrap().leased_until_ms > Some(PROBE_IS_DUE));
    });
}

#[test]
fn a_probe_belongs_to_the_ejection_that_made_it_due() {
    race(
        Pair::new,
        |pair| pair.fault(0, FaultKind::Unreachable, 0, 0),
        |pair| {
            let generation = pair.begin_probe();
            generation.inspect(|it| pair.success(0, *it, PROBE_IS_DUE)).is_some()
        },
        |pair, _, has_returned| assert_eq!(pair.checked_health(0).ejected.is_none(), has_returned),
    );
}

#[test]
fn a_late_fault_does_not_undo_a_return() {
    for kind in [FaultKind::Exchange, FaultKind::Unreachable] {
        race(
            || {
                let pair = Pair::with_an_ejection();
                assert_eq!(pair.begin_probe(), Some(1));
                pair
            },
            |pair| pair.success(0, 1, PROBE_IS_DUE),
            move |pair| pair.fault(0, kind, 0, PROBE_IS_DUE),
            |pair, (), _| {
                let health = pair.checked_health(0);
                assert!(health.ejected.is_none());
                assert_eq!((health.generation, health.faults_in_row), (2, 0));
            },
        );
    }
}

/// Runs the end of an attempt at the endpoint 0 while a new endpoint takes its slot. The new endpoint must be well.
fn while_an_endpoint_is_replaced(set_up: fn() -> Pair, end: impl Fn(&Pair) + Send + Sync + Copy + 'static) {
    race(set_up, end, Pair::replace, |pair, (), endpoint| {
        assert!(endpoint.load.health().is_well());
        let health = pair.checked_health(0);
        assert!(health.ejected.is_none());
        assert_eq!((health.generation, health.faults_in_row), (0, 0));
        assert_eq!(pair.next_probe_ms.load(Relaxed), u64::MAX);
    });
}

#[test]
fn a_fault_of_a_removed_endpoint_does_not_count_for_the_next_one_in_its_slot() {
    for kind in [FaultKind::Exchange, FaultKind::Unreachable] {
        while_an_endpoint_is_replaced(Pair::new, move |pair| _ = pair.fault(0, kind, 0, 0));
    }
}

#[test]
fn a_probe_of_a_removed_endpoint_changes_nothing() {
    while_an_endpoint_is_replaced(Pair::with_an_ejection, |pair| {
        if let Some(generation) = pair.begin_probe() {
            pair.success(0, generation, PROBE_IS_DUE);
        }
    });
    while_an_endpoint_is_replaced(Pair::with_an_ejection, |pair| pair.endpoints[0].release_probe(1));
}

#[test]
fn a_return_is_published_although_another_endpoint_is_replaced() {
    let set_up = || {
        let pair = Pair::new();
        pair.fault(1, FaultKind::Unreachable, 0, 0);
        pair
    };
    race(
        set_up,
        |pair| pair.success(1, 1, 0),
        Pair::replace,
        |pair, (), _| {
            assert!(pair.checked_health(1).ejected.is_none());
        },
    );
}

#[test]
fn one_of_two_faults_in_an_interval_is_charged() {
    let fault = |pair: &Pair| pair.fault(0, FaultKind::Exchange, 0, 0);
    race(Pair::new, fault, fault, |_, one, two| assert!(one.is_charged ^ two.is_charged));
}
