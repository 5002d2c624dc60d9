//! Examples, and a model that is walked beside the machine.

use rand::rngs::SmallRng;
use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};

use super::*;
use crate::circuit_breaker::{Circuit, CircuitBuilder};

const SECOND: Duration = Duration::from_secs(1);
const LEASE: Duration = Duration::from_secs(10);
/// The longest open time, and the shortest.
const NO_JITTER: f64 = 0.0;
const FULL_JITTER: f64 = 1.0;

/// A machine, its settings and its clock.
struct Rig {
    machine: Machine,
    settings: Settings,
    now: Instant,
    jitter: f64,
}

impl Rig {
    fn new(builder: CircuitBuilder) -> Self {
        let settings = builder.into_settings();
        Self { machine: Machine::new(), settings, now: Instant::now(), jitter: NO_JITTER }
    }

    /// Open 1 s to 4 s, and rounds of three probes of which one must succeed.
    fn default() -> Self {
        Self::new(Circuit::builder())
    }

    fn two_of_three() -> Self {
        Self::new(Circuit::builder().successes_to_close(2))
    }

    fn trip(&mut self) {
        let generation = self.machine.generation();
        self.machine.trip(&self.settings, generation, self.now, self.jitter);
    }

    fn enter(&mut self) -> Entry {
        self.machine.enter(&self.settings, self.now, self.jitter)
    }

    fn probe(&mut self) -> ProbeId {
        match self.enter() {
            Entry::Probe(id) => id,
            other => panic!("not a probe but {other:?}"),
        }
    }

    fn end(&mut self, id: ProbeId, result: ProbeResult) {
        self.machine.probe_ended(&self.settings, id, result, self.now, self.jitter);
    }

    /// Trips, and lets the open time pass.
    fn wait_for_half_open(&mut self) {
        self.trip();
        self.wait();
    }

    /// Lets the wait pass that a refused call is told; returns it.
    fn wait(&mut self) -> Duration {
        let wait = self.refusal().expect("a wait that ends");
        self.now += wait;
        wait
    }

    fn refusal(&mut self) -> Option<Duration> {
        match self.enter() {
            Entry::Refused(wait) => wait,
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
    assert_eq!(rig.enter(), Entry::Admitted);
    assert_eq!(rig.machine.generation(), 0);
}

#[test]
fn an_open_machine_says_how_long_it_stays_so() {
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
fn a_trip_of_an_older_generation_says_nothing() {
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
    // Mistake 4.
    let mut rig = Rig::default();
    rig.wait_for_half_open();
    let entries: Vec<_> = (0..1000).map(|_| rig.enter()).collect();
    assert!(entries[..3].iter().all(|entry| matches!(entry, Entry::Probe(_))));
    assert!(entries[3..].iter().all(|entry| *entry == Entry::Refused(Some(LEASE))));
}

#[test]
fn one_success_closes() {
    let mut rig = Rig::default();
    rig.wait_for_half_open();
    let first = rig.probe();
    rig.end(first, ProbeResult::Success);
    assert!(rig.is_closed());
    assert_eq!(rig.enter(), Entry::Admitted);
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
fn a_probe_that_says_nothing_frees_its_place() {
    // Mistake 3.
    let mut rig = Rig::default();
    rig.wait_for_half_open();
    let probes = [rig.probe(), rig.probe(), rig.probe()];
    rig.end(probes[1], ProbeResult::Nothing);
    rig.probe();
    assert_eq!(rig.refusal(), Some(LEASE));
}

#[test]
fn a_hung_probe_counts_as_failed_when_its_lease_runs_out() {
    // Mistake 3.
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
    // Mistake 3.
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
fn a_probe_of_an_earlier_round_says_nothing() {
    // Mistake 5.
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

/// The open times of the trip and of `rounds` failed rounds after it.
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
        let mut rig = Rig::new(Circuit::builder().probes(1).max_open_for(longest));
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
fn a_machine_that_is_forced_open_does_not_know_when_it_will_not_be() {
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
    assert_eq!(rig.enter(), Entry::Admitted);
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

// ===== The model =====

/// What must be true of a machine, kept beside it while chance drives both.
struct Model {
    rig: Rig,
    rng: SmallRng,
    /// Probes of the current round that have not been reported, with the end of their lease.
    under_way: Vec<(ProbeId, Instant)>,
    /// Probes that must not matter any more: ended, expired, or of an earlier round.
    done: Vec<ProbeId>,
    successes: u32,
    failures: u32,
    failed_rounds: u32,
    /// How often each thing happened, so that a walk that never gets anywhere is found out.
    trips: u32,
    closes: u32,
    reopens: u32,
    expiries: u32,
}

/// A phase without what it holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Closed,
    Open,
    HalfOpen,
    Forced,
}

impl Model {
    fn new(builder: CircuitBuilder, seed: u64) -> Self {
        Self {
            rig: Rig::new(builder),
            rng: SmallRng::seed_from_u64(seed),
            under_way: Vec::new(),
            done: Vec::new(),
            successes: 0,
            failures: 0,
            failed_rounds: 0,
            trips: 0,
            closes: 0,
            reopens: 0,
            expiries: 0,
        }
    }

    fn kind(&self) -> Kind {
        match self.rig.machine.phase() {
            Phase::Closed => Kind::Closed,
            Phase::Open(_) => Kind::Open,
            Phase::HalfOpen(_) => Kind::HalfOpen,
            Phase::ForcedOpen | Phase::ForcedClosed => Kind::Forced,
        }
    }

    fn step(&mut self) {
        let (before, generation) = (self.kind(), self.rig.machine.generation());
        self.rig.jitter = self.rng.random();
        let forced = match self.rng.random_range(0..100) {
            0..40 => self.enter(),
            40..70 => self.end(),
            70..85 => self.advance(),
            85..99 => self.trip(),
            _ => self.force(),
        };
        let after = self.kind();
        let changed = before != after || forced;
        let expected = generation + u64::from(changed);
        assert_eq!(self.rig.machine.generation(), expected, "{before:?} to {after:?}");
        if changed {
            self.changed(before, after, forced);
        }
        self.check_round();
    }

    fn enter(&mut self) -> bool {
        self.expire();
        let before = self.kind();
        let entry = self.rig.enter();
        match (before, self.kind(), entry) {
            (Kind::Closed, Kind::Closed, Entry::Admitted)
            | (Kind::Forced, Kind::Forced, Entry::Admitted | Entry::Refused(None))
            | (Kind::HalfOpen, Kind::Open, Entry::Refused(Some(_))) => {}
            (Kind::Open, Kind::Open, Entry::Refused(Some(wait))) => {
                assert!(wait > Duration::ZERO && wait <= self.rig.settings.max_open_for);
            }
            (Kind::Open | Kind::HalfOpen, Kind::HalfOpen, Entry::Probe(id)) => {
                self.under_way.push((id, self.rig.now + self.rig.settings.probe_lease));
            }
            (Kind::HalfOpen, Kind::HalfOpen, Entry::Refused(Some(wait))) => {
                let next = self.under_way.iter().map(|(_, end)| *end).min().expect("one holds its place");
                assert_eq!(self.rig.now + wait, next, "the wait is that for the next lease");
            }
            other => panic!("{other:?}"),
        }
        false
    }

    /// Ends a probe: mostly one that is under way, at times one that should say nothing.
    fn end(&mut self) -> bool {
        self.expire();
        let result =
            *[ProbeResult::Success, ProbeResult::Failure, ProbeResult::Failure, ProbeResult::Nothing]
                .choose(&mut self.rng)
                .expect("four to choose from");
        let stale = self.rng.random_bool(0.2);
        if let Some(id) = self.done.choose(&mut self.rng).copied().filter(|_| stale) {
            self.rig.end(id, result);
        } else if !self.under_way.is_empty() {
            let index = self.rng.random_range(0..self.under_way.len());
            let (id, _) = self.under_way.swap_remove(index);
            self.done.push(id);
            match result {
                ProbeResult::Success => self.successes += 1,
                ProbeResult::Failure => self.failures += 1,
                ProbeResult::Nothing => {}
            }
            self.rig.end(id, result);
        }
        false
    }

    /// Waits a little, or as long as a refused call is told to; then something must have become of the round.
    fn advance(&mut self) -> bool {
        if self.rng.random_bool(0.5) {
            self.rig.now += self.rng.random_range(Duration::ZERO..self.rig.settings.probe_lease / 4);
            return false;
        }
        self.expire();
        let before = self.kind();
        let Entry::Refused(Some(wait)) = self.rig.enter() else {
            // Whoever got in is dropped at once.
            self.withdraw_what_the_model_does_not_know();
            return false;
        };
        if self.kind() != before {
            return false;
        }
        // The end of one lease makes a failure of it, and may leave no room yet; the end of all of them does.
        let latest = self.rig.now + wait.max(self.rig.settings.probe_lease);
        let mut next = wait;
        loop {
            self.rig.now += next;
            self.expire();
            match (self.rig.enter(), self.kind()) {
                (Entry::Probe(id), Kind::HalfOpen) => {
                    self.under_way.push((id, self.rig.now + self.rig.settings.probe_lease));
                    return false;
                }
                (Entry::Refused(Some(_)), Kind::Open) if before == Kind::HalfOpen => return false,
                (Entry::Refused(Some(wait)), Kind::HalfOpen) if before == Kind::HalfOpen => next = wait,
                other => panic!("{other:?} after the wait that it asked for"),
            }
            assert!(self.rig.now < latest, "a round that is stuck half-open");
        }
    }

    fn withdraw_what_the_model_does_not_know(&mut self) {
        let Phase::HalfOpen(round) = self.rig.machine.phase() else { return };
        let known = |id: &ProbeId| self.under_way.iter().any(|(known, _)| known == id);
        let unknown: Vec<_> = round.leases.iter().map(|(id, _)| *id).filter(|id| !known(id)).collect();
        for id in unknown {
            self.rig.end(id, ProbeResult::Nothing);
            self.done.push(id);
        }
    }

    fn trip(&mut self) -> bool {
        let generation = self.rig.machine.generation();
        let late = generation.checked_sub(self.rng.random_range(1..4));
        if let Some(late) = late.filter(|_| self.rng.random_bool(0.2)) {
            let before = self.kind();
            self.rig.machine.trip(&self.rig.settings, late, self.rig.now, self.rig.jitter);
            assert_eq!(self.kind(), before, "a trip of an older generation");
        } else {
            self.rig.trip();
        }
        false
    }

    fn force(&mut self) -> bool {
        let phase = match self.rng.random_range(0..4) {
            0 => Phase::ForcedOpen,
            1 => Phase::ForcedClosed,
            _ => Phase::Closed,
        };
        self.rig.machine.force(phase);
        true
    }

    /// Moves what has run out of its lease to the failures.
    fn expire(&mut self) {
        let now = self.rig.now;
        let hung: Vec<_> = self.under_way.iter().filter(|(_, end)| now >= *end).map(|(id, _)| *id).collect();
        self.under_way.retain(|(_, end)| now < *end);
        self.failures += u32::try_from(hung.len()).expect("few probes");
        self.expiries += u32::try_from(hung.len()).expect("few probes");
        self.done.extend(hung);
    }

    fn changed(&mut self, before: Kind, after: Kind, forced: bool) {
        let Settings { probes, successes_to_close, open_for, max_open_for, .. } = self.rig.settings;
        if before == Kind::HalfOpen && !forced {
            match after {
                Kind::Closed => {
                    assert_eq!(self.successes, successes_to_close);
                    self.closes += 1;
                }
                Kind::Open => {
                    assert!(self.failures > probes - successes_to_close, "too few failures to open");
                    self.failed_rounds += 1;
                    self.reopens += 1;
                }
                other => panic!("half-open to {other:?}"),
            }
        }
        if after != Kind::HalfOpen {
            self.done.extend(self.under_way.drain(..).map(|(id, _)| id));
            self.successes = 0;
            self.failures = 0;
        }
        match after {
            Kind::Closed | Kind::Forced => self.failed_rounds = 0,
            Kind::Open => {
                self.trips += u32::from(before == Kind::Closed);
                let Phase::Open(Some(until)) = self.rig.machine.phase() else { panic!("open for ever") };
                let longest = (open_for * 2_u32.pow(self.failed_rounds.min(20))).min(max_open_for);
                let open = *until - self.rig.now;
                assert!(open <= longest && open >= longest / 2, "{open:?} of {longest:?}");
            }
            Kind::HalfOpen => assert_eq!(before, Kind::Open),
        }
        // Only the most recent are worth trying again.
        let old = self.done.len().saturating_sub(50);
        self.done.drain(..old);
    }

    fn check_round(&mut self) {
        let Phase::HalfOpen(round) = self.rig.machine.phase() else { return };
        let probes = self.rig.settings.probes;
        let in_flight = u32::try_from(round.in_flight()).expect("few probes");
        assert!(in_flight <= probes, "{in_flight} probes at a time");
        assert!(in_flight + round.successes + round.failures <= probes, "{round:?}");
    }
}

#[test]
fn whatever_happens_a_round_is_bounded_and_ends() {
    // Mistakes 3, 4 and 5.
    let settings = [
        Circuit::builder(),
        Circuit::builder().successes_to_close(2),
        Circuit::builder().probes(1).max_open_for(60 * SECOND),
        Circuit::builder().probes(10).successes_to_close(3).probe_lease(SECOND / 2),
    ];
    for (seed, builder) in (1..).zip(settings) {
        let mut model = Model::new(builder, seed);
        for _ in 0..100_000 {
            model.step();
        }
        let happened = [model.trips, model.closes, model.reopens, model.expiries];
        assert!(happened.iter().all(|times| *times > 100), "a walk that led nowhere: {happened:?}");
    }
}
