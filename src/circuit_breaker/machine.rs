//! The state machine of a circuit. The machine is pure: the time and the jitter are arguments.
//!
//! The machine has no timer. The first call after the open time makes the circuit half-open. A probe that outlasts
//! its lease, its longest time, is noticed when the next call asks to be admitted, or when a probe ends.

use std::time::Duration;

use tokio::time::Instant;

use super::config::BreakerSettings;
use crate::internal::clock;

/// The phase and the generation of a circuit.
#[derive(Debug)]
pub(super) struct Machine {
    phase: Phase,
    /// Raised by every change of phase, and by every `force`. The result of a call counts only if the generation has
    /// not changed since the call was admitted.
    generation: u64,
    /// The number of rounds of probes that have failed since the circuit last closed, or was forced into a phase.
    failed_rounds: u32,
    next_probe: u64,
}

#[derive(Debug)]
pub(super) enum Phase {
    Closed,
    /// Open until this instant; `None` means for ever.
    Open(Option<Instant>),
    HalfOpen(Round),
    ForcedOpen,
    ForcedClosed,
}

/// A round of probes, of which `successes_to_close` must succeed.
///
/// The circuit closes when that many probes have succeeded, and opens again as soon as the round can no longer reach
/// this number. A probe that ends without a verdict frees its place in the round. When the lease of a probe runs out,
/// the probe has failed, unless a good answer has begun by then.
#[derive(Debug, Default)]
pub(super) struct Round {
    /// The probes in flight.
    leases: Vec<Lease>,
    successes: u32,
    failures: u32,
}

/// The longest time of a probe.
#[derive(Debug)]
struct Lease {
    probe: ProbeId,
    /// `None` if the lease never ends.
    end: Option<Instant>,
    /// True if the head of a good answer has come, and the body is being read.
    is_answered: bool,
}

/// The number of a probe, unique within its circuit breaker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct ProbeId(u64);

/// The answer to a call that asks to be admitted.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Decision {
    /// Admitted as a normal call.
    Admitted,
    /// Admitted as a probe.
    Probe(ProbeId),
    /// Refused, with the time to wait; `None` if that time is not known.
    Refused(Option<Duration>),
}

/// The verdict on a probe.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ProbeResult {
    Success,
    Failure,
    /// No verdict: another probe may take the place of this probe.
    Nothing,
}

impl Machine {
    pub(super) fn new() -> Self {
        Self { phase: Phase::Closed, generation: 0, failed_rounds: 0, next_probe: 0 }
    }

    pub(super) fn phase(&self) -> &Phase {
        &self.phase
    }

    pub(super) fn generation(&self) -> u64 {
        self.generation
    }

    /// Ends each probe whose lease has run out, and then admits or refuses the call. If the ended probes open the
    /// circuit, `jitter`, from 0 to 1, shortens the open time.
    ///
    /// The lease of a probe lasts at least until the call's `deadline`.
    pub(super) fn enter(
        &mut self,
        settings: &BreakerSettings,
        now: Instant,
        deadline: Option<Instant>,
        jitter: f64,
    ) -> Decision {
        match &mut self.phase {
            Phase::Closed | Phase::ForcedClosed => return Decision::Admitted,
            Phase::ForcedOpen => return Decision::Refused(None),
            Phase::Open(until) => match until {
                Some(until) if now >= *until => self.change(Phase::HalfOpen(Round::default())),
                until => return Decision::Refused(until.map(|until| until - now)),
            },
            Phase::HalfOpen(round) => {
                round.expire(now);
                self.decide(settings, now, jitter);
            }
        }
        match &mut self.phase {
            Phase::HalfOpen(round) if round.has_room(settings) => {
                let probe = ProbeId(self.next_probe);
                self.next_probe += 1;
                let end = clock::after(now, settings.probe_lease);
                let end = end.map(|end| deadline.map_or(end, |deadline| end.max(deadline)));
                round.leases.push(Lease { probe, end, is_answered: false });
                Decision::Probe(probe)
            }
            Phase::HalfOpen(round) => Decision::Refused(round.next_end().map(|end| end - now)),
            Phase::Open(until) => Decision::Refused(until.map(|until| until - now)),
            Phase::Closed | Phase::ForcedClosed | Phase::ForcedOpen => Decision::Admitted,
        }
    }

    /// Returns the time until a lease runs out, if the circuit is half-open and has no room for another probe until
    /// then.
    pub(super) fn is_full_for(&self, settings: &BreakerSettings, now: Instant) -> Option<Duration> {
        let Phase::HalfOpen(round) = &self.phase else { return None };
        let end = round.next_end().filter(|_| !round.has_room(settings))?;
        end.checked_duration_since(now).filter(|wait| !wait.is_zero())
    }

    /// Records the end of a probe. The result does not count if the probe's round is over or its lease has run out.
    pub(super) fn probe_ended(
        &mut self,
        settings: &BreakerSettings,
        id: ProbeId,
        result: ProbeResult,
        now: Instant,
        jitter: f64,
    ) {
        let Phase::HalfOpen(round) = &mut self.phase else { return };
        round.expire(now);
        if let Some(index) = round.leases.iter().position(|lease| lease.probe == id) {
            round.leases.swap_remove(index);
            match result {
                ProbeResult::Success => round.successes += 1,
                ProbeResult::Failure => round.failures += 1,
                ProbeResult::Nothing => {}
            }
        }
        self.decide(settings, now, jitter);
    }

    /// Records that a good answer to a probe has begun, unless the lease of the probe has run out. The body can still
    /// make the probe fail, for [`abandoned_after`](BreakerSettings::abandoned_after): a stream must not keep the
    /// circuit half-open.
    pub(super) fn probe_answered(
        &mut self,
        settings: &BreakerSettings,
        id: ProbeId,
        now: Instant,
        jitter: f64,
    ) {
        let Phase::HalfOpen(round) = &mut self.phase else { return };
        round.expire(now);
        if let Some(lease) = round.leases.iter_mut().find(|lease| lease.probe == id) {
            lease.is_answered = true;
            lease.end = clock::earliest(lease.end, clock::after(now, settings.abandoned_after));
        }
        self.decide(settings, now, jitter);
    }

    /// Opens the circuit if the circuit is closed and `generation` is the current one.
    pub(super) fn trip(&mut self, settings: &BreakerSettings, generation: u64, now: Instant, jitter: f64) {
        if matches!(self.phase, Phase::Closed) && self.generation == generation {
            self.open(settings, now, jitter);
        }
    }

    pub(super) fn force(&mut self, phase: Phase) {
        self.failed_rounds = 0;
        self.change(phase);
    }

    /// Closes the circuit if the round has enough successes. Opens the circuit if the round has too many failures.
    fn decide(&mut self, settings: &BreakerSettings, now: Instant, jitter: f64) {
        let Phase::HalfOpen(round) = &self.phase else { return };
        if round.successes >= settings.successes_to_close {
            self.failed_rounds = 0;
            self.change(Phase::Closed);
        } else if round.failures > settings.probes - settings.successes_to_close {
            self.failed_rounds = self.failed_rounds.saturating_add(1);
            self.open(settings, now, jitter);
        }
    }

    /// Opens the circuit for `open_for`, doubled for each failed round, up to `max_open_for`. Jitter shortens the
    /// time by up to half.
    fn open(&mut self, settings: &BreakerSettings, now: Instant, jitter: f64) {
        let growth = 2_u32.checked_pow(self.failed_rounds).unwrap_or(u32::MAX);
        let longest = settings.open_for.saturating_mul(growth).min(settings.max_open_for);
        self.change(Phase::Open(clock::after(now, longest.mul_f64(1.0 - jitter / 2.0))));
    }

    fn change(&mut self, phase: Phase) {
        self.phase = phase;
        self.generation += 1;
    }
}

impl Round {
    pub(super) fn in_flight(&self) -> usize {
        self.leases.len()
    }

    /// Removes each probe whose lease has run out, and counts its result.
    fn expire(&mut self, now: Instant) {
        let Self { leases, successes, failures } = self;
        leases.retain(|lease| {
            let is_valid = lease.end.is_none_or(|end| now < end);
            match lease.is_answered {
                _ if is_valid => {}
                true => *successes += 1,
                false => *failures += 1,
            }
            is_valid
        });
    }

    fn has_room(&self, settings: &BreakerSettings) -> bool {
        let taken = self.leases.len() + (self.successes + self.failures) as usize;
        taken < settings.probes as usize
    }

    /// Returns the end of the lease that runs out next.
    fn next_end(&self) -> Option<Instant> {
        self.leases.iter().filter_map(|lease| lease.end).min()
    }
}

#[cfg(test)]
mod tests;
