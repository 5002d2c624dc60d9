//! The ejections of a group of endpoints, as a pure state machine: faults eject an endpoint, probes bring it back.
//!
//! # Ejection
//!
//! A timeout or a failed connection ejects an endpoint at once, other faults after several in a row or at a large
//! share of the attempts. An endpoint is ejected only if it is worse than a quarter of the other available endpoints:
//! their shares of faults must be less than half as large. So an overload that affects all endpoints equally ejects
//! few. The last available endpoint can be ejected, too; then all endpoints are used. The sole endpoint of an upstream
//! is never ejected. A 503 with `Retry-After` ejects the endpoint for the requested time, but a single one for no longer
//! than an ejection lasts, since it may come from one route. A 429 with `Retry-After` ejects only after several
//! faults in a row.
//!
//! # Return
//!
//! When the time of an ejection is over, one call probes the endpoint. A success brings the endpoint back, with the
//! average from before its faults. A failure ejects it again, for twice the time. A probe has a lease, so a probe
//! that is lost does not keep the endpoint out. The first return after all were ejected makes the other probes due at
//! once, or the first endpoint would carry the load of all.
//!
//! # Generations
//!
//! An ejection and a return begin a new generation of the endpoint. The result of an attempt that began in an earlier
//! generation is ignored: a fault from before the return must not eject the endpoint again. During an ejection, the
//! endpoint gets only probes, and attempts for which every other endpoint is tried, silent or ejected. Of these
//! attempts, a success brings the endpoint back, and a fault is ignored.

use std::time::Duration;

use rand::RngExt as _;
use rand::rngs::SmallRng;

use super::config::EjectionSettings;
use super::fault_window::FaultWindow;
use super::status::EjectionCause;

/// The least number of attempts in the period for which a share counts.
const MIN_ATTEMPTS: u32 = 20;

/// The attempts that are added to those of an endpoint before its share of faults is compared.
const ASSUMED_ATTEMPTS: f64 = 3.0;

/// A probe without a result frees its place after this time, or after its time limit if that is longer.
pub(super) const MIN_LEASE: Duration = Duration::from_secs(1);

/// A probe that is overdue by this time may also be made by a call that cannot be sent again.
const OVERDUE_MS: u64 = 2000;

/// The longest pause for which an endpoint can ask by `Retry-After`, after several faults in a row.
const LONGEST_PAUSE: Duration = Duration::from_secs(300);

/// The time for which a probe that cannot be sent again keeps its place: it has no time limit of its own.
const UNSAFE_LEASE: Duration = Duration::from_secs(10);

/// The time for which a probe keeps its place after the good head of its answer: the default total time. A body that
/// stalls is usually cut earlier, and then the probe has failed.
const ANSWERED_LEASE: Duration = Duration::from_secs(10);

/// How an attempt failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum FaultKind {
    /// The endpoint answered with a fault, or the exchange broke off.
    Exchange,
    /// The application behind a route failed. Counts in the share of faults only.
    Application,
    /// The time of the attempt was up.
    Timeout,
    /// There was no connection.
    Unreachable,
    /// The attempt ended without an answer after an unusually long wait: by a drop, by the deadline, or by a limit
    /// below twice the latency.
    Abandoned,
    /// The endpoint is well, but asks for a pause.
    Throttled,
}

/// A failed attempt.
#[derive(Debug, Clone, Copy)]
pub(super) struct EndpointFault {
    pub(super) kind: FaultKind,
    pub(super) retry_after: Option<Duration>,
    /// The generation in which the attempt began.
    pub(super) generation: u32,
    pub(super) is_probe: bool,
    /// The time of the last good head, if the head of this attempt was not good. A fault after it is not in a row
    /// with the faults before.
    pub(super) good_head_ms: Option<u64>,
    /// The time at which the attempt began.
    pub(super) began_ms: u64,
}

/// The progress of an endpoint.
#[derive(Debug, Clone, Copy)]
pub(super) struct EndpointProgress {
    /// The number of ended attempts.
    pub(super) ended: u32,
    /// True if the last good answer is recent.
    pub(super) is_answering: bool,
}

/// The change that a result has caused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Transition {
    Ejected {
        cause: EjectionCause,
        until_ms: u64,
    },
    /// A probe has failed, so the ejection lasts longer.
    ProbeFailed {
        until_ms: u64,
    },
    Returned,
}

/// The health of the endpoints of a group. A slot is the position of an endpoint, below 64.
#[derive(Debug)]
pub(super) struct Ejections {
    slots: Vec<Option<Health>>,
    /// True if the endpoints are lanes of one address.
    are_lanes: bool,
    rng: SmallRng,
}

/// The health of one endpoint.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Health {
    pub(super) generation: u32,
    pub(super) faults_in_row: u32,
    /// The times of the first and of the last of the faults in a row.
    run_ms: (u64, u64),
    pub(super) ejected: Option<Ejected>,
    window: FaultWindow,
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Ejected {
    pub(super) cause: EjectionCause,
    pub(super) until_ms: u64,
    /// The end of the lease of the probe that is under way.
    pub(super) leased_until_ms: Option<u64>,
    /// True if the head of the answer to this probe was good, and its body is a stream without a known length.
    is_stream: bool,
    failed_probes: u32,
}

impl Ejected {
    /// The time at which the next probe may begin.
    fn due_ms(&self) -> u64 {
        self.leased_until_ms.unwrap_or(self.until_ms)
    }
}

impl Ejections {
    pub(super) const fn new(rng: SmallRng) -> Self {
        Self { slots: Vec::new(), are_lanes: false, rng }
    }

    /// Adds an endpoint, which is a lane if the others are lanes, too.
    pub(super) fn insert(&mut self, slot: usize, is_lane: bool) {
        self.are_lanes = is_lane;
        if self.slots.len() <= slot {
            self.slots.resize(slot + 1, None);
        }
        self.slots[slot] = Some(Health::default());
    }

    pub(super) fn remove(&mut self, slot: usize) {
        self.slots[slot] = None;
    }

    pub(super) fn health(&self, slot: usize) -> Option<&Health> {
        self.slots.get(slot)?.as_ref()
    }

    fn health_mut(&mut self, slot: usize) -> Option<&mut Health> {
        self.slots.get_mut(slot)?.as_mut()
    }

    fn others_available(&self, slot: usize) -> impl Iterator<Item = (usize, &Health)> {
        let healths =
            self.slots.iter().enumerate().filter_map(|(slot, health)| Some((slot, health.as_ref()?)));
        healths.filter(move |(other, health)| *other != slot && health.ejected.is_none())
    }

    /// True if another endpoint is available.
    pub(super) fn has_available_other(&self, slot: usize) -> bool {
        self.others_available(slot).next().is_some()
    }

    /// True if another endpoint is available. An idle lane proves nothing, so another lane has to give good answers.
    pub(super) fn has_working_other(
        &self,
        slot: usize,
        progress: &impl Fn(usize) -> EndpointProgress,
    ) -> bool {
        self.others_available(slot).any(|(other, _)| !self.are_lanes || progress(other).is_answering)
    }

    /// Records a fault. `progress` returns the progress of a slot, the failed attempt included. Returns the
    /// transition, if there is one.
    pub(super) fn fault(
        &mut self,
        slot: usize,
        fault: EndpointFault,
        now_ms: u64,
        settings: &EjectionSettings,
        progress: impl Fn(usize) -> EndpointProgress,
    ) -> Option<Transition> {
        let health = self.health_mut(slot)?;
        if health.generation != fault.generation {
            return None;
        }
        if let Some(ejected) = &health.ejected {
            // While all endpoints are used, only the fault of a probe counts.
            if !fault.is_probe {
                return None;
            }
            let (cause, failed_probes) = (ejected.cause, ejected.failed_probes + 1);
            let is_run = failed_probes >= settings.consecutive_faults;
            let pause = pause(fault.retry_after, is_run, settings);
            return Some(self.eject(slot, cause, failed_probes, pause, now_ms, settings));
        }
        for (slot, health) in self.slots.iter_mut().enumerate() {
            if let Some(health) = health {
                health.window.roll(now_ms, progress(slot).ended);
            }
        }
        let health = self.health_mut(slot)?;
        health.window.add(progress(slot).ended);
        if fault.kind != FaultKind::Application {
            if fault.good_head_ms.is_some_and(|good_ms| good_ms > health.run_ms.1) {
                health.faults_in_row = 0;
            }
            let first_ms = if health.faults_in_row == 0 { now_ms } else { health.run_ms.0 };
            health.run_ms = (first_ms, now_ms);
            health.faults_in_row += 1;
        }
        let is_run = health.faults_in_row >= settings.consecutive_faults;
        let cause = self.cause(slot, fault, is_run, settings, &progress)?;
        let pause = pause(fault.retry_after, is_run || cause == EjectionCause::FaultShare, settings);
        Some(self.eject(slot, cause, 0, pause, now_ms, settings))
    }

    /// Returns the reason to eject an available endpoint.
    fn cause(
        &self,
        slot: usize,
        fault: EndpointFault,
        is_run: bool,
        settings: &EjectionSettings,
        progress: &impl Fn(usize) -> EndpointProgress,
    ) -> Option<EjectionCause> {
        if self.slots.iter().flatten().count() == 1 {
            return None; // An only endpoint is used in any case.
        }
        let health = self.health(slot)?;
        let (faults, attempts) = health.window.counts(progress(slot).ended);
        let is_share =
            attempts >= MIN_ATTEMPTS && f64::from(faults) >= settings.fault_share * f64::from(attempts);
        let cause = match fault.kind {
            FaultKind::Timeout => EjectionCause::Timeout,
            FaultKind::Unreachable => EjectionCause::Unreachable,
            FaultKind::Exchange if fault.retry_after.is_some_and(|pause| !pause.is_zero()) => {
                EjectionCause::RetryAfter
            }
            // A single caller can be throttled while others are served.
            FaultKind::Throttled if is_run => EjectionCause::RetryAfter,
            FaultKind::Exchange | FaultKind::Abandoned if is_run => EjectionCause::ConsecutiveFaults,
            FaultKind::Exchange | FaultKind::Abandoned | FaultKind::Application if is_share => {
                EjectionCause::FaultShare
            }
            _ => return None,
        };
        (!self.has_available_other(slot) || self.is_worse(slot, progress)).then_some(cause)
    }

    /// True if a quarter of the other available endpoints, and at least one, have less than half of this endpoint's
    /// share of faults. A single one of many can have a small share by chance.
    ///
    /// Most lanes have few attempts, and an idle lane proves nothing. So lanes without an attempt and without a
    /// recent answer do not count, and the others are judged as carefully as this one.
    pub(super) fn is_worse(&self, slot: usize, progress: &impl Fn(usize) -> EndpointProgress) -> bool {
        let Some(health) = self.health(slot) else { return false };
        let counts = |slot: usize, health: &Health| {
            let (faults, attempts) = health.window.counts(progress(slot).ended);
            (f64::from(faults), f64::from(attempts))
        };
        let (faults, attempts) = counts(slot, health);
        let others = || {
            let others = self.others_available(slot).map(|(other, health)| (other, counts(other, health)));
            let counts = others.filter(|(other, (_, attempts))| {
                !self.are_lanes || *attempts > 0.0 || progress(*other).is_answering
            });
            counts.map(|(_, counts)| counts)
        };
        let (all_faults, all_attempts) =
            others().fold((0.0, 0.0), |(faults, attempts), (more, of)| (faults + more, attempts + of));
        // A few attempts say little, so some more are assumed, with the share of the others.
        let usual_share = all_faults / all_attempts.max(1.0);
        let careful_share = |faults: f64, attempts: f64| {
            ASSUMED_ATTEMPTS.mul_add(usual_share, faults) / (attempts + ASSUMED_ATTEMPTS)
        };
        let share = careful_share(faults, attempts);
        let share_of = |faults: f64, attempts: f64| {
            if self.are_lanes { careful_share(faults, attempts) } else { faults / attempts.max(1.0) }
        };
        let better = others().filter(|(faults, attempts)| share_of(*faults, *attempts) * 2.0 < share).count();
        better >= others().count().div_ceil(4).max(1)
    }

    /// Returns the recent faults and attempts of all endpoints.
    pub(super) fn totals(&self, now_ms: u64, progress: &impl Fn(usize) -> EndpointProgress) -> (u32, u32) {
        let healths =
            self.slots.iter().enumerate().filter_map(|(slot, health)| Some((slot, health.as_ref()?)));
        let counts = healths.map(|(slot, health)| health.window.recent_counts(now_ms, progress(slot).ended));
        counts.fold((0, 0), |(faults, attempts), (more, of)| (faults + more, attempts + of))
    }

    fn eject(
        &mut self,
        slot: usize,
        cause: EjectionCause,
        failed_probes: u32,
        pause: Duration,
        now_ms: u64,
        settings: &EjectionSettings,
    ) -> Transition {
        let doubled = settings.eject_for.saturating_mul(1 << failed_probes.min(20));
        let time = doubled.min(settings.max_eject_for).mul_f64(self.rng.random_range(0.75..1.25));
        let until_ms = now_ms.saturating_add(to_millis(time.max(pause)));
        let health = self.slots[slot].as_mut().expect("the slot of an endpoint");
        let is_new = health.ejected.is_none();
        if is_new {
            health.begin_generation();
        }
        health.ejected =
            Some(Ejected { cause, until_ms, leased_until_ms: None, is_stream: false, failed_probes });
        if is_new { Transition::Ejected { cause, until_ms } } else { Transition::ProbeFailed { until_ms } }
    }

    /// Records a success whose head came at `answered_ms`. It ends a run of faults only if it is newer.
    pub(super) fn success(
        &mut self,
        slot: usize,
        generation: u32,
        answered_ms: u64,
        now_ms: u64,
    ) -> Option<Transition> {
        let is_first = !self.has_available_other(slot);
        let health = self.health_mut(slot)?;
        if health.generation != generation {
            return None;
        }
        let (first_ms, last_ms) = health.run_ms;
        if health.faults_in_row > 0 && answered_ms < last_ms {
            // The last fault is newer than the head. The others may be, too, if the run is.
            if answered_ms >= first_ms {
                health.faults_in_row = 1;
                health.run_ms.0 = last_ms;
            }
            return None;
        }
        health.faults_in_row = 0;
        health.ejected?;
        health.ejected = None;
        health.begin_generation();
        if is_first {
            for ejected in self.slots.iter_mut().flatten().filter_map(|health| health.ejected.as_mut()) {
                ejected.until_ms = ejected.until_ms.min(now_ms);
            }
        }
        Some(Transition::Returned)
    }

    /// Leases a probe of one of the `allowed` slots, if one is due. `is_safe` tells whether the call can be sent
    /// again after the probe, which then has this time `limit`.
    pub(super) fn take_probe(
        &mut self,
        allowed: u64,
        is_safe: bool,
        limit: Duration,
        now_ms: u64,
    ) -> Option<usize> {
        let (wait, lease) = if is_safe { (0, limit.max(MIN_LEASE)) } else { (OVERDUE_MS, UNSAFE_LEASE) };
        let due = |(slot, health): (usize, &Option<Health>)| {
            let due_ms = health.as_ref()?.ejected?.due_ms().saturating_add(wait);
            (due_ms <= now_ms && allowed & (1 << slot) != 0).then_some((due_ms, slot))
        };
        let (_, slot) = self.slots.iter().enumerate().filter_map(due).min()?;
        let ejected = self.health_mut(slot)?.ejected.as_mut()?;
        ejected.leased_until_ms = Some(now_ms.saturating_add(to_millis(lease)));
        Some(slot)
    }

    /// Records that the head of the answer to a probe was good. A stream may never end.
    pub(super) fn probe_answered(&mut self, slot: usize, generation: u32, is_stream: bool, now_ms: u64) {
        let health = self.health_mut(slot).filter(|health| health.generation == generation);
        if let Some(ejected) = health.and_then(|health| health.ejected.as_mut()) {
            ejected.is_stream = is_stream;
            ejected.leased_until_ms = Some(now_ms.saturating_add(to_millis(ANSWERED_LEASE)));
        }
    }

    /// Returns an endpoint whose probe got a good head, and whose lease has expired while the body is still being
    /// read. Such a probe has succeeded.
    pub(super) fn streaming_probe(&self, now_ms: u64) -> Option<usize> {
        self.slots.iter().position(|health| {
            let ejected = health.as_ref().and_then(|health| health.ejected.as_ref());
            ejected.is_some_and(|ejected| ejected.is_stream && ejected.due_ms() <= now_ms)
        })
    }

    /// Ends the lease of a probe without a result. Another call may probe the endpoint.
    pub(super) fn release_probe(&mut self, slot: usize, generation: u32) {
        let health = self.health_mut(slot).filter(|health| health.generation == generation);
        if let Some(ejected) = health.and_then(|health| health.ejected.as_mut()) {
            ejected.leased_until_ms = None;
            ejected.is_stream = false;
        }
    }

    /// Returns the time at which the next probe is due; `u64::MAX` if no endpoint is ejected.
    pub(super) fn next_probe_ms(&self) -> u64 {
        let ejected = self.slots.iter().flatten().filter_map(|health| health.ejected.as_ref());
        ejected.map(Ejected::due_ms).min().unwrap_or(u64::MAX)
    }
}

/// Returns the pause for which a fault asks. A single answer may be that of one route, so it can ask for no more than
/// the longest ejection.
fn pause(retry_after: Option<Duration>, is_run: bool, settings: &EjectionSettings) -> Duration {
    let longest = if is_run { LONGEST_PAUSE } else { settings.max_eject_for.min(LONGEST_PAUSE) };
    retry_after.unwrap_or_default().min(longest)
}

impl Health {
    fn begin_generation(&mut self) {
        self.generation = (self.generation + 1) & 0x00ff_ffff;
        self.faults_in_row = 0;
        self.window = FaultWindow::default();
    }
}

#[allow(clippy::cast_possible_truncation)]
fn to_millis(time: Duration) -> u64 {
    time.as_millis() as u64
}

#[cfg(test)]
mod tests;
