//! Tests of the state machine by example. `model.rs` tests it by a random walk.

mod model;

use super::*;
use crate::circuit_breaker::{CircuitBreaker, CircuitBreakerBuilder};

const SECOND: Duration = Duration::from_secs(1);
const LEASE: Duration = Duration::from_secs(10);
/// No jitter gives the longest open time, full jitter the shortest.
const NO_JITTER: f64 = 0.0;
const FULL_JITTER: f64 = 1.0;

/// A machine with its settings, its clock and its jitter.
struct Rig {
    machine: Machine,
    settings: BreakerSettings,
    now: Instant,
    jitter: f64,
}

impl Rig {
    fn new(builder: CircuitBreakerBuilder) -> Self {
        let settings = builder.into_settings();
        Self { machine: Machine::new(), settings, now: Instant::now(), jitter: NO_JITTER }
    }

    /// The default settings: an open time of 1 s to 4 s, and rounds of three probes, of which one must succeed.
    fn default() -> Self {
        Self::new(CircuitBreaker::builder())
    }

    fn two_of_three() -> Self {
        Self::new(CircuitBreaker::builder().successes_to_close(2))
    }

    fn trip(&mut self) {
        let generation = self.machine.generation();
        self.machine.trip(&self.settings, generation, self.now, self.jitter);
    }

    fn enter(&mut self) -> Decision {
        self.machine.enter(&self.settings, self.now, None, self.jitter)
    }

    fn probe(&mut self) -> ProbeId {
        match self.enter() {
            Decision::Probe(id) => id,
            other => panic!("not a probe but {other:?}"),
        }
    }

    fn end(&mut self, id: ProbeId, result: ProbeResult) {
        self.machine.probe_ended(&self.settings, id, result, self.now, self.jitter);
    }

    /// Trips the circuit, and lets the open time pass.
    fn wait_for_half_open(&mut self) {
        self.trip();
        self.wait();
    }

    /// Makes a call that is refused, and waits for the time that the refusal gives. Returns this time.
    fn wait(&mut self) -> Duration {
        let wait = self.refusal().expect("a wait that ends");
        self.now += wait;
        wait
    }

    fn refusal(&mut self) -> Option<Duration> {
        match self.enter() {
            Decision::Refused(wait) => wait,
            other => panic!("not refused but {other:?}"),
        }
    }

    fn is_closed(&self) -> bool {
        matches!(self.machine.phase(), Phase::Closed)
    }

    fn is_open(&self) -> bool {
        matches!(self.machine.phase(), Phase::Open(_))
    }

    fn is_half_open(&self) -> bool {
        matches!(self.machine.phase(), Phase::HalfOpen(_))
    }
}

#[test]
fn a_new_machine_admits_everyone() {
    let mut rig = Rig::default();
    assert_eq!(rig.enter(), Decision::Admitted);
    assert_eq!(rig.machine.generation(), 0);
}

#[test]
fn a_refusal_by_an_open_machine_gives_the_rest_of_the_open_time() {
    let mut rig = Rig::default();
    rig.trip();
    assert_eq!(rig.refusal(), Some(SECOND));
    rig.now += SECOND / 4;
    assert_eq!(rig.refusal(), Some(SECOND * 3 / 4));
}

#[test]
fn the_first_call_after_the_open_time_is_a_probe() {
    let mut rig = Rig::default();
    rig.trip();
    rig.now += Duration::from_nanos(999_999_999);
    assert_eq!(rig.refusal(), Some(Duration::from_nanos(1)));
    rig.now += Duration::from_nanos(1);
    rig.probe();
    assert!(rig.is_half_open());
}

#[test]
fn a_trip_of_an_older_generation_does_not_count() {
    let mut rig = Rig::default();
    rig.machine.force(Phase::Closed);
    rig.machine.trip(&rig.settings, 0, rig.now, NO_JITTER);
    assert!(rig.is_closed());
}

#[test]
fn a_second_trip_of_the_same_generation_does_not_lengthen_the_open_time() {
    let mut rig = Rig::default();
    rig.trip();
    rig.now += SECOND / 2;
    rig.trip();
    rig.machine.trip(&rig.settings, 0, rig.now, NO_JITTER);
    assert_eq!(rig.refusal(), Some(SECOND / 2));
}

#[test]
fn half_open_admits_the_bounded_number_and_tells_the_rest_to_wait_for_a_lease() {
    // Known mistake 4.
    let mut rig = Rig::default();
    rig.wait_for_half_open();
    let entries: Vec<_> = (0..1000).map(|_| rig.enter()).collect();
    assert!(entries[..3].iter().all(|entry| matches!(entry, Decision::Probe(_))));
    assert!(entries[3..].iter().all(|entry| *entry == Decision::Refused(Some(LEASE))));
}

#[test]
fn one_success_closes() {
    let mut rig = Rig::default();
    rig.wait_for_half_open();
    let first = rig.probe();
    rig.end(first, ProbeResult::Success);
    assert!(rig.is_closed());
    assert_eq!(rig.enter(), Decision::Admitted);
}

#[test]
fn all_must_fail_to_open_again() {
    let mut rig = Rig::default();
    rig.wait_for_half_open();
    let probes = [rig.probe(), rig.probe(), rig.probe()];
    rig.end(probes[0], ProbeResult::Failure);
    rig.end(probes[1], ProbeResult::Failure);
    assert!(rig.is_half_open());
    rig.end(probes[2], ProbeResult::Failure);
    assert!(rig.is_open());
}

#[test]
fn a_failed_probe_is_not_replaced_within_its_round() {
    let mut rig = Rig::default();
    rig.wait_for_half_open();
    let probes = [rig.probe(), rig.probe(), rig.probe()];
    rig.end(probes[0], ProbeResult::Failure);
    assert_eq!(rig.refusal(), Some(LEASE));
}

#[test]
fn two_successes_of_three_close() {
    let mut rig = Rig::two_of_three();
    rig.wait_for_half_open();
    let probes = [rig.probe(), rig.probe(), rig.probe()];
    rig.end(probes[0], ProbeResult::Success);
    rig.end(probes[1], ProbeResult::Failure);
    assert!(rig.is_half_open());
    rig.end(probes[2], ProbeResult::Success);
    assert!(rig.is_closed());
}

#[test]
fn a_round_that_can_no_longer_succeed_opens_at_once() {
    let mut rig = Rig::two_of_three();
    rig.wait_for_half_open();
    let probes = [rig.probe(), rig.probe(), rig.probe()];
    rig.end(probes[0], ProbeResult::Failure);
    rig.end(probes[1], ProbeResult::Failure);
    assert!(rig.is_open(), "one probe is still under way, and cannot make two");
    rig.end(probes[2], ProbeResult::Success);
    assert!(rig.is_open(), "its round is over");
}

#[test]
fn a_probe_without_a_result_frees_its_place() {
    // Known mistake 3.
    let mut rig = Rig::default();
    rig.wait_for_half_open();
    let probes = [rig.probe(), rig.probe(), rig.probe()];
    rig.end(probes[1], ProbeResult::Nothing);
    rig.probe();
    assert_eq!(rig.refusal(), Some(LEASE));
}

#[test]
fn a_hung_probe_counts_as_failed_when_its_lease_runs_out() {
    // Known mistake 3.
    let mut rig = Rig::default();
    rig.wait_for_half_open();
    let probes = [rig.probe(), rig.probe()];
    rig.now += LEASE;
    let third = rig.probe();
    assert_eq!(rig.refusal(), Some(LEASE), "the two have had their turn");
    rig.end(third, ProbeResult::Failure);
    assert!(rig.is_open());
    rig.end(probes[0], ProbeResult::Success);
    assert!(rig.is_open(), "a result after its lease says nothing");
}

#[test]
fn a_round_of_hung_probes_opens_again() {
    // Known mistake 3.
    let mut rig = Rig::default();
    rig.wait_for_half_open();
    for _ in 0..3 {
        rig.probe();
    }
    assert_eq!(rig.wait(), LEASE);
    assert_eq!(rig.refusal(), Some(2 * SECOND));
    assert!(rig.is_open());
}

#[test]
fn a_late_result_of_a_hung_probe_still_ends_the_round_of_its_lease() {
    let mut rig = Rig::default();
    rig.wait_for_half_open();
    let probes = [rig.probe(), rig.probe(), rig.probe()];
    rig.now += LEASE;
    rig.end(probes[0], ProbeResult::Success);
    assert!(rig.is_open());
}

#[test]
fn a_probe_of_an_earlier_round_does_not_count() {
    // Known mistake 5.
    let mut rig = Rig::two_of_three();
    rig.wait_for_half_open();
    let early = [rig.probe(), rig.probe(), rig.probe()];
    rig.end(early[0], ProbeResult::Failure);
    rig.end(early[1], ProbeResult::Failure);
    rig.wait();
    let late = [rig.probe(), rig.probe()];
    rig.end(early[2], ProbeResult::Success);
    rig.end(late[0], ProbeResult::Success);
    assert!(rig.is_half_open());
    rig.end(late[1], ProbeResult::Success);
    assert!(rig.is_closed());
}

#[test]
fn a_probe_ends_once() {
    let mut rig = Rig::two_of_three();
    rig.wait_for_half_open();
    let id = rig.probe();
    rig.end(id, ProbeResult::Success);
    rig.end(id, ProbeResult::Success);
    assert!(rig.is_half_open());
}

/// Returns the open times after a trip and after each of `rounds` failed rounds.
fn open_times(rig: &mut Rig, rounds: usize) -> Vec<Duration> {
    rig.trip();
    let mut times = vec![rig.wait()];
    for _ in 0..rounds {
        for id in [rig.probe(), rig.probe(), rig.probe()] {
            rig.end(id, ProbeResult::Failure);
        }
        times.push(rig.wait());
    }
    times
}

#[test]
fn the_open_time_doubles_up_to_its_cap() {
    let mut rig = Rig::default();
    assert_eq!(open_times(&mut rig, 4), [1, 2, 4, 4, 4].map(Duration::from_secs));
}

#[test]
fn jitter_shortens_the_open_time_down_to_half() {
    let mut rig = Rig::default();
    rig.jitter = FULL_JITTER;
    assert_eq!(open_times(&mut rig, 3), [500, 1000, 2000, 2000].map(Duration::from_millis));
}

#[test]
fn the_open_time_starts_over_after_recovery() {
    let mut rig = Rig::default();
    open_times(&mut rig, 3);
    let id = rig.probe();
    rig.end(id, ProbeResult::Success);
    assert_eq!(open_times(&mut rig, 1), [1, 2].map(Duration::from_secs));
}

#[test]
fn the_open_time_starts_over_after_a_reset() {
    let mut rig = Rig::default();
    open_times(&mut rig, 3);
    rig.machine.force(Phase::Closed);
    assert_eq!(open_times(&mut rig, 0), [SECOND]);
}

#[test]
fn any_number_of_failed_rounds_stays_at_the_cap() {
    let year = Duration::from_secs(60 * 60 * 24 * 365);
    for longest in [4 * SECOND, year] {
        let mut rig = Rig::new(CircuitBreaker::builder().probes(1).max_open_for(longest));
        rig.machine.failed_rounds = u32::MAX - 1;
        rig.wait_for_half_open();
        for _ in 0..3 {
            let id = rig.probe();
            rig.end(id, ProbeResult::Failure);
            assert_eq!(rig.wait(), longest);
        }
    }
}

#[test]
fn a_refusal_by_a_machine_that_is_forced_open_gives_no_time() {
    let mut rig = Rig::default();
    rig.machine.force(Phase::ForcedOpen);
    rig.now += 1000 * SECOND;
    assert_eq!(rig.refusal(), None);
}

#[test]
fn a_machine_that_is_forced_does_not_trip() {
    let mut rig = Rig::default();
    rig.machine.force(Phase::ForcedClosed);
    rig.trip();
    assert_eq!(rig.enter(), Decision::Admitted);
    rig.machine.force(Phase::ForcedOpen);
    rig.trip();
    assert_eq!(rig.refusal(), None);
}

#[test]
fn forcing_ends_a_round_of_probes() {
    let mut rig = Rig::default();
    rig.wait_for_half_open();
    let id = rig.probe();
    rig.machine.force(Phase::ForcedOpen);
    rig.end(id, ProbeResult::Success);
    assert!(matches!(rig.machine.phase(), Phase::ForcedOpen));
}
