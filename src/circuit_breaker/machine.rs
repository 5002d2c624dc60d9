//! The state machine of a circuit that is not simply closed: pure, with `now` and chance as arguments.

use std::time::Duration;

use tokio::time::Instant;

use super::config::BreakerSettings;
use crate::internal::clock;

/// What the circuit is doing, and since which generation.
#[derive(Debug)]
pub(super) struct Machine {
    phase: Phase,
    /// Counts the changes of phase: a result speaks only of the generation that its call was admitted in.
    generation: u64,
    /// How many rounds of probes have failed since the circuit was last closed.
    failed_rounds: u32,
    next_probe: u64,
}

#[derive(Debug)]
pub(super) enum Phase {
    Closed,
    /// Until this instant; `None` is for ever.
    Open(Option<Instant>),
    HalfOpen(Round),
    ForcedOpen,
    ForcedClosed,
}

/// A round of probes.
#[derive(Debug, Default)]
pub(super) struct Round {
    /// Those under way, with the end of their lease.
    leases: Vec<(ProbeId, Option<Instant>)>,
    successes: u32,
    failures: u32,
}

/// Which probe.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct ProbeId(u64);

/// The answer to a call that asks to be admitted.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Admittance {
    /// As one of many.
    Admitted,
    /// As a probe.
    Probe(ProbeId),
    /// Not now; come back after this, if that is known.
    Refused(Option<Duration>),
}

/// How a probe ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ProbeResult {
    Success,
    Failure,
    /// It says nothing, and its place is free again.
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

    /// A call asks to be admitted. `jitter`, from 0 to 1, spreads the open time if a round has failed by now.
    pub(super) fn enter(&mut self, settings: &BreakerSettings, now: Instant, jitter: f64) -> Admittance {
        match &mut self.phase {
            Phase::Closed | Phase::ForcedClosed => return Admittance::Admitted,
            Phase::ForcedOpen => return Admittance::Refused(None),
            Phase::Open(until) => match until {
                Some(until) if now >= *until => self.change(Phase::HalfOpen(Round::default())),
                until => return Admittance::Refused(until.map(|until| until - now)),
            },
            Phase::HalfOpen(round) => {
                round.expire(now);
                self.decide(settings, now, jitter);
            }
        }
        match &mut self.phase {
            Phase::HalfOpen(round) if round.has_room(settings) => {
                let id = ProbeId(self.next_probe);
                self.next_probe += 1;
                round.leases.push((id, clock::after(now, settings.probe_lease)));
                Admittance::Probe(id)
            }
            Phase::HalfOpen(round) => Admittance::Refused(round.next_end().map(|end| end - now)),
            Phase::Open(until) => Admittance::Refused(until.map(|until| until - now)),
            Phase::Closed | Phase::ForcedClosed | Phase::ForcedOpen => Admittance::Admitted,
        }
    }

    /// A probe has ended. Says nothing if its round is over, or if its lease has run out.
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
        if let Some(index) = round.leases.iter().position(|(lease, _)| *lease == id) {
            round.leases.swap_remove(index);
            match result {
                ProbeResult::Success => round.successes += 1,
                ProbeResult::Failure => round.failures += 1,
                ProbeResult::Nothing => {}
            }
        }
        self.decide(settings, now, jitter);
    }

    /// Opens a circuit that was closed in this generation.
    pub(super) fn trip(&mut self, settings: &BreakerSettings, generation: u64, now: Instant, jitter: f64) {
        if matches!(self.phase, Phase::Closed) && self.generation == generation {
            self.open(settings, now, jitter);
        }
    }

    pub(super) fn force(&mut self, phase: Phase) {
        self.failed_rounds = 0;
        self.change(phase);
    }

    /// Ends a round that is decided.
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

    /// Opens for `open_for`, doubled with each failed round, up to the cap; jittered down to half.
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

    /// Probes whose lease has run out have failed.
    fn expire(&mut self, now: Instant) {
        let before = self.leases.len();
        self.leases.retain(|(_, end)| end.is_none_or(|end| now < end));
        self.failures += u32::try_from(before - self.leases.len()).unwrap_or(u32::MAX);
    }

    fn has_room(&self, settings: &BreakerSettings) -> bool {
        let taken = self.leases.len() + (self.successes + self.failures) as usize;
        taken < settings.probes as usize
    }

    /// When the next lease runs out.
    fn next_end(&self) -> Option<Instant> {
        self.leases.iter().filter_map(|(_, end)| *end).min()
    }
}

#[cfg(test)]
mod tests;
