//! Tests of ejections, probes and returns.

use rand::SeedableRng as _;

use super::*;

const SETTINGS: EjectionSettings = EjectionSettings {
    consecutive_faults: 3,
    fault_share: 0.5,
    eject_for: Duration::from_secs(1),
    max_eject_for: Duration::from_secs(8),
};

const LEASE: Duration = Duration::ZERO;

/// A group of endpoints with their counts of ended attempts.
struct Group {
    ejections: Ejections,
    ended: [u32; 8],
}

impl Group {
    fn of(endpoints: usize) -> Self {
        let mut ejections = Ejections::new(SmallRng::seed_from_u64(1));
        (0..endpoints).for_each(|slot| ejections.insert(slot, false));
        Self { ejections, ended: [0; 8] }
    }

    fn generation(&self, slot: usize) -> u32 {
        self.ejections.health(slot).unwrap().generation
    }

    fn fault_with(&mut self, slot: usize, now_ms: u64, fault: EndpointFault) -> Option<Transition> {
        self.ended[slot] += 1;
        let ended = self.ended;
        let progress = |slot: usize| EndpointProgress { ended: ended[slot], is_answering: false };
        self.ejections.fault(slot, fault, now_ms, &SETTINGS, progress)
    }

    fn fault(&mut self, slot: usize, kind: FaultKind, now_ms: u64) -> Option<Transition> {
        let fault = EndpointFault {
            kind,
            retry_after: None,
            generation: self.generation(slot),
            is_probe: false,
            good_head_ms: None,
            began_ms: 0,
        };
        self.fault_with(slot, now_ms, fault)
    }

    fn failed_probe(&mut self, slot: usize, now_ms: u64) -> u64 {
        let fault = EndpointFault {
            kind: FaultKind::Exchange,
            retry_after: None,
            generation: self.generation(slot),
            is_probe: true,
            good_head_ms: None,
            began_ms: 0,
        };
        match self.fault_with(slot, now_ms, fault) {
            Some(Transition::ProbeFailed { until_ms }) => until_ms - now_ms,
            transition => panic!("a failed probe ejects again: {transition:?}"),
        }
    }

    fn success(&mut self, slot: usize, now_ms: u64) -> Option<Transition> {
        self.ended[slot] += 1;
        self.ejections.success(slot, self.generation(slot), now_ms, now_ms)
    }

    fn eject(&mut self, slot: usize, now_ms: u64) -> u64 {
        match self.fault(slot, FaultKind::Timeout, now_ms) {
            Some(Transition::Ejected { until_ms, .. }) => until_ms,
            transition => panic!("a timeout ejects: {transition:?}"),
        }
    }

    fn is_ejected(&self, slot: usize) -> bool {
        self.ejections.health(slot).unwrap().ejected.is_some()
    }
}

fn cause(transition: Option<Transition>) -> Option<EjectionCause> {
    match transition {
        Some(Transition::Ejected { cause, .. }) => Some(cause),
        Some(Transition::Returned | Transition::ProbeFailed { .. }) | None => None,
    }
}

#[test]
fn three_faults_in_a_row_eject_and_a_success_between_does_not() {
    let mut group = Group::of(2);
    for now_ms in 0..20 {
        assert_eq!(group.fault(0, FaultKind::Exchange, now_ms), None);
        assert_eq!(group.fault(0, FaultKind::Exchange, now_ms), None);
        assert_eq!(group.success(0, now_ms), None);
        group.ended[0] += 10;
    }
    assert_eq!(group.fault(0, FaultKind::Exchange, 30), None);
    assert_eq!(group.fault(0, FaultKind::Abandoned, 31), None);
    assert_eq!(cause(group.fault(0, FaultKind::Exchange, 32)), Some(EjectionCause::ConsecutiveFaults));
}

#[test]
fn a_timeout_and_a_failed_connection_eject_at_once() {
    let mut group = Group::of(4);
    assert_eq!(cause(group.fault(0, FaultKind::Timeout, 0)), Some(EjectionCause::Timeout));
    assert_eq!(cause(group.fault(1, FaultKind::Unreachable, 0)), Some(EjectionCause::Unreachable));
}

#[test]
fn half_of_twenty_attempts_eject_although_successes_come_between() {
    let mut group = Group::of(2);
    let mut ejected_after = None;
    for number in 1..=40 {
        let transition = group.fault(0, FaultKind::Application, number * 10);
        if transition.is_some() {
            assert_eq!(cause(transition), Some(EjectionCause::FaultShare));
            ejected_after = Some(number * 2 - 1);
            break;
        }
        group.success(0, number * 10 + 5);
    }
    assert_eq!(ejected_after, Some(21), "attempts, of which every other one failed");
}

#[test]
fn faults_of_long_ago_do_not_count_in_the_share() {
    let mut group = Group::of(2);
    for number in 0..60 {
        assert_eq!(group.fault(0, FaultKind::Application, number * 600), None);
        group.success(0, number * 600);
    }
}

#[test]
fn if_the_last_available_endpoint_fails_all_are_used() {
    let mut group = Group::of(1);
    for now_ms in 0..100 {
        assert_eq!(group.fault(0, FaultKind::Timeout, now_ms), None);
    }
    let mut group = Group::of(3);
    group.eject(0, 0);
    group.eject(1, 1);
    assert_eq!(cause(group.fault(2, FaultKind::Timeout, 2)), Some(EjectionCause::Timeout));
}

#[test]
fn trouble_of_all_ejects_none() {
    let mut group = Group::of(4);
    // Each endpoint has failed once in ten attempts, when one has three faults in a row.
    for slot in 0..4 {
        group.fault(slot, FaultKind::Exchange, 0);
        group.success(slot, 1);
        group.ended[slot] += 8;
    }
    group.ended[0] += 20;
    for now_ms in 2..5 {
        assert_eq!(group.fault(0, FaultKind::Exchange, now_ms), None);
    }
    // The others have no fault for five seconds.
    assert_eq!(cause(group.fault(0, FaultKind::Exchange, 5100)), Some(EjectionCause::ConsecutiveFaults));
}

#[test]
fn only_failed_probes_double_the_time_and_a_return_resets_it() {
    let mut group = Group::of(2);
    let until_ms = group.eject(0, 0);
    assert!((750..=1250).contains(&until_ms));
    assert_eq!(group.fault(0, FaultKind::Exchange, 10), None, "an attempt while all are used");
    for seconds in [2.0, 4.0, 8.0, 8.0, 8.0] {
        let time = f64::from(u32::try_from(group.failed_probe(0, 10_000)).unwrap()) / 1000.0;
        assert!((seconds * 0.75 - 0.001..=seconds * 1.25).contains(&time), "{time} for {seconds}");
    }
    assert_eq!(group.success(0, 20_000), Some(Transition::Returned));
    assert!((750..=1250).contains(&(group.eject(0, 30_000) - 30_000)));
}

#[test]
fn a_retry_after_ejects_for_its_time() {
    let ask = |group: &mut Group, kind, seconds| {
        let generation = group.generation(0);
        let retry_after = Some(Duration::from_secs(seconds));
        group.fault_with(
            0,
            0,
            EndpointFault { kind, retry_after, generation, is_probe: false, good_head_ms: None, began_ms: 0 },
        )
    };
    let ejected = |until_ms| Some(Transition::Ejected { cause: EjectionCause::RetryAfter, until_ms });
    assert_eq!(ask(&mut Group::of(2), FaultKind::Exchange, 5), ejected(5000));
    assert_eq!(ask(&mut Group::of(2), FaultKind::Exchange, 30), ejected(8000), "one answer of one route");
    assert_eq!(ask(&mut Group::of(2), FaultKind::Exchange, 0), None, "no pause");
    let mut group = Group::of(2);
    (0..2).for_each(|_| assert_eq!(group.fault(0, FaultKind::Exchange, 0), None));
    assert_eq!(ask(&mut group, FaultKind::Exchange, 30), ejected(30_000), "the third in a row");
    let mut group = Group::of(2);
    (0..2).for_each(|_| assert_eq!(ask(&mut group, FaultKind::Throttled, 30), None));
    assert_eq!(ask(&mut group, FaultKind::Throttled, 1000), ejected(300_000), "at most five minutes");
}

#[test]
fn a_probe_whose_head_was_good_keeps_its_place_while_its_body_is_read() {
    let mut group = Group::of(2);
    let due_ms = group.eject(0, 0);
    assert_eq!(group.ejections.take_probe(!0, true, LEASE, due_ms), Some(0));
    let generation = group.generation(0);
    group.ejections.probe_answered(0, generation, true, due_ms + 10);
    let end_ms = due_ms + 10 + to_millis(ANSWERED_LEASE);
    assert_eq!(group.ejections.take_probe(!0, true, LEASE, end_ms - 1), None);
    assert_eq!(group.ejections.streaming_probe(end_ms - 1), None);
    assert_eq!(group.ejections.streaming_probe(end_ms), Some(0), "a stream that never ends");
}

#[test]
fn late_results_of_an_earlier_era_say_nothing() {
    let mut group = Group::of(2);
    let late = |kind| EndpointFault {
        kind,
        retry_after: None,
        generation: 0,
        is_probe: false,
        good_head_ms: None,
        began_ms: 0,
    };
    group.eject(0, 0);
    assert_eq!(group.ejections.success(0, 0, 10, 10), None, "a success from before the ejection");
    assert_eq!(group.success(0, 2000), Some(Transition::Returned));
    for _ in 0..10 {
        assert_eq!(
            group.fault_with(0, 2001, late(FaultKind::Timeout)),
            None,
            "a fault from before the return"
        );
    }
    assert!(!group.is_ejected(0));
}

#[test]
fn one_call_probes_an_endpoint_that_is_due() {
    let mut group = Group::of(3);
    let until_ms = group.eject(0, 0);
    assert_eq!(group.ejections.next_probe_ms(), until_ms);
    assert_eq!(group.ejections.take_probe(!0, true, LEASE, until_ms - 1), None);
    assert_eq!(group.ejections.take_probe(!1, true, LEASE, until_ms), None, "the call has tried it");
    assert_eq!(group.ejections.take_probe(!0, true, LEASE, until_ms), Some(0));
    assert_eq!(group.ejections.take_probe(!0, true, LEASE, until_ms), None);
    // The lease frees the place of a probe that was lost.
    assert_eq!(group.ejections.next_probe_ms(), until_ms + to_millis(MIN_LEASE));
    assert_eq!(group.ejections.take_probe(!0, true, LEASE, until_ms + to_millis(MIN_LEASE)), Some(0));
    let generation = group.generation(0);
    group.ejections.release_probe(0, generation);
    assert_eq!(group.ejections.take_probe(!0, true, LEASE, until_ms + to_millis(MIN_LEASE)), Some(0));
}

#[test]
fn a_call_that_cannot_be_sent_again_probes_only_when_nobody_else_does() {
    let mut group = Group::of(2);
    let until_ms = group.eject(0, 0);
    assert_eq!(group.ejections.take_probe(!0, false, LEASE, until_ms + OVERDUE_MS - 1), None);
    assert_eq!(group.ejections.take_probe(!0, false, LEASE, until_ms + OVERDUE_MS), Some(0));
    let lease_ms = until_ms + OVERDUE_MS + to_millis(UNSAFE_LEASE);
    assert_eq!(group.ejections.next_probe_ms(), lease_ms, "such a probe has no time limit");
}

#[test]
fn the_first_return_of_a_whole_outage_makes_the_other_probes_due() {
    let mut group = Group::of(3);
    for slot in 0..2 {
        group.eject(slot, 0);
        for _ in 0..5 {
            group.failed_probe(slot, 0);
        }
    }
    assert!(group.ejections.next_probe_ms() > 5000);
    group.ejections.remove(2);
    assert_eq!(group.success(1, 100), Some(Transition::Returned));
    assert_eq!(group.ejections.next_probe_ms(), 100);
    assert_eq!(group.ejections.take_probe(!0, true, LEASE, 100), Some(0));
}
