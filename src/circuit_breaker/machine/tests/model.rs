//! A random walk: random operations drive the machine, and a simple model predicts the results.

use rand::rngs::SmallRng;
use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};

use super::*;

/// A machine, and the expected state of its round of probes.
struct Model {
    rig: Rig,
    rng: SmallRng,
    /// The probes of the current round that are in flight, each with the end of its lease.
    under_way: Vec<(ProbeId, Instant)>,
    /// The probes whose results must be ignored: ended, expired, or of an earlier round.
    done: Vec<ProbeId>,
    successes: u32,
    failures: u32,
    failed_rounds: u32,
    /// The numbers of four kinds of event, to detect a walk in which one kind is rare.
    trips: u32,
    closes: u32,
    reopens: u32,
    expiries: u32,
}

/// A phase without its data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Closed,
    Open,
    HalfOpen,
    Forced,
}

impl Model {
    fn new(builder: CircuitBreakerBuilder, seed: u64) -> Self {
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
            (Kind::Closed, Kind::Closed, Decision::Admitted)
            | (Kind::Forced, Kind::Forced, Decision::Admitted | Decision::Refused(None))
            | (Kind::HalfOpen, Kind::Open, Decision::Refused(Some(_))) => {}
            (Kind::Open, Kind::Open, Decision::Refused(Some(wait))) => {
                assert!(wait > Duration::ZERO && wait <= self.rig.settings.max_open_for);
            }
            (Kind::Open | Kind::HalfOpen, Kind::HalfOpen, Decision::Probe(id)) => {
                self.under_way.push((id, self.rig.now + self.rig.settings.probe_lease));
            }
            (Kind::HalfOpen, Kind::HalfOpen, Decision::Refused(Some(wait))) => {
                let next = self.under_way.iter().map(|(_, end)| *end).min().expect("one holds its place");
                assert_eq!(self.rig.now + wait, next, "the wait is that for the next lease");
            }
            other => panic!("{other:?}"),
        }
        false
    }

    /// Ends a probe: mostly a probe in flight, at times a probe whose result must be ignored.
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

    /// Either waits a little, or waits after each refusal for the time that it gives, until a call becomes a probe or
    /// the circuit opens.
    fn advance(&mut self) -> bool {
        if self.rng.random_bool(0.5) {
            self.rig.now += self.rng.random_range(Duration::ZERO..self.rig.settings.probe_lease / 4);
            return false;
        }
        self.expire();
        let before = self.kind();
        let Decision::Refused(Some(wait)) = self.rig.enter() else {
            // The call was admitted, or refused without a time. If it became a probe, the probe is withdrawn at once.
            self.withdraw_what_the_model_does_not_know();
            return false;
        };
        if self.kind() != before {
            return false;
        }
        // A lease that runs out counts as a failure and frees no place, so the next answer can be another wait. When
        // all leases have run out, the round is over, so the waits end then.
        let latest = self.rig.now + wait.max(self.rig.settings.probe_lease);
        let mut next = wait;
        loop {
            self.rig.now += next;
            self.expire();
            match (self.rig.enter(), self.kind()) {
                (Decision::Probe(id), Kind::HalfOpen) => {
                    self.under_way.push((id, self.rig.now + self.rig.settings.probe_lease));
                    return false;
                }
                (Decision::Refused(Some(_)), Kind::Open) if before == Kind::HalfOpen => return false,
                (Decision::Refused(Some(wait)), Kind::HalfOpen) if before == Kind::HalfOpen => next = wait,
                other => panic!("{other:?} after the wait that it asked for"),
            }
            assert!(self.rig.now < latest, "a round that is stuck half-open");
        }
    }

    fn withdraw_what_the_model_does_not_know(&mut self) {
        let Phase::HalfOpen(round) = self.rig.machine.phase() else { return };
        let known = |id: &ProbeId| self.under_way.iter().any(|(known, _)| known == id);
        let unknown: Vec<_> = round.leases.iter().map(|lease| lease.probe).filter(|id| !known(id)).collect();
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

    /// Counts a failure for each probe whose lease has run out.
    fn expire(&mut self) {
        let now = self.rig.now;
        let hung: Vec<_> = self.under_way.iter().filter(|(_, end)| now >= *end).map(|(id, _)| *id).collect();
        self.under_way.retain(|(_, end)| now < *end);
        self.failures += u32::try_from(hung.len()).expect("few probes");
        self.expiries += u32::try_from(hung.len()).expect("few probes");
        self.done.extend(hung);
    }

    fn changed(&mut self, before: Kind, after: Kind, forced: bool) {
        let BreakerSettings { probes, successes_to_close, open_for, max_open_for, .. } = self.rig.settings;
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
        // The latest 50 probes suffice to test that results are ignored.
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
fn every_round_is_bounded_and_ends() {
    // Known mistake 3. Known mistake 4. Known mistake 5.
    let settings = [
        CircuitBreaker::builder(),
        CircuitBreaker::builder().successes_to_close(2),
        CircuitBreaker::builder().probes(1).max_open_for(60 * SECOND),
        CircuitBreaker::builder().probes(10).successes_to_close(3).probe_lease(SECOND / 2),
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
