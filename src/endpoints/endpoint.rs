//! The consequences of the results of one endpoint, for the endpoint itself, its group, and the retry.

use std::sync::Arc;
use std::time::Duration;

use http::Version;
use tokio::time::Instant;

use super::ejection::{EndpointFault, FaultKind, Transition};
use super::group::{Endpoint, EndpointGroup, GroupRun, GroupState, progress};
use super::load::millis_since;
use crate::internal::log_events;
use crate::internal::sync::atomic::Ordering::Relaxed;

/// The least interval between two charges of one endpoint to the retry budget, while another endpoint is better.
const CHARGE_EVERY_MS: u64 = 100;

/// After this number of faults without a good answer of any lane, those without one since are in doubt.
const DOUBT_FAULTS: u32 = 3;

/// The budget of renewals is told of good answers after this number of answers.
const EARN_EVERY: u32 = 16;

/// A connection is renewed by this time before the server closes it, or by half of the server's time.
const KEEP_ALIVE_MARGIN: Duration = Duration::from_secs(1);

/// The consequences of a fault for the retry.
#[derive(Debug, Clone, Copy)]
pub(super) struct FaultReport {
    /// True if the fault is charged to the retry budget.
    pub(super) is_charged: bool,
    /// True if another endpoint is available, and this one is worse.
    pub(super) has_better: bool,
}

impl Endpoint {
    pub(super) fn address(&self) -> &str {
        &self.address
    }

    pub(super) fn version(&self) -> u32 {
        self.version.load(Relaxed)
    }

    pub(super) fn millis(&self, now: Instant) -> u64 {
        millis_since(self.epoch, now)
    }

    /// True if the service is to be made anew.
    pub(super) fn needs_renewal(&self) -> bool {
        self.needs_renewal.load(Relaxed)
    }

    /// Returns true once if the service is to be made anew.
    pub(super) fn take_renewal(&self) -> bool {
        self.needs_renewal() && self.needs_renewal.swap(false, Relaxed)
    }

    /// Runs `with` on the state of the group, unless the group is gone or the endpoint has been removed.
    fn with_group<T>(&self, with: impl FnOnce(&EndpointGroup, &mut GroupState) -> T) -> Option<T> {
        let group = self.group.upgrade()?;
        let mut state = group.lock();
        let current = state.endpoints.get(self.slot)?.as_ref()?;
        (current.id == self.id).then(|| with(&group, &mut state))
    }

    /// Reports a fault to the retry. It is charged to the retry budget if it is the first within a short interval, or
    /// if no other endpoint is better.
    fn report_to_retry(&self, group: &EndpointGroup, has_better: bool, now_ms: u64) -> FaultReport {
        // Several lanes can lead to the same instance, and fail at once.
        let charged_until_ms =
            if group.lanes.are_used() { &group.charged_until_ms } else { &self.charged_until_ms };
        let is_charged = !has_better || now_ms >= charged_until_ms.load(Relaxed);
        if is_charged {
            charged_until_ms.store(now_ms.saturating_add(CHARGE_EVERY_MS), Relaxed);
        }
        FaultReport { is_charged, has_better }
    }

    /// Makes the service anew for the next attempt.
    fn renew(&self) {
        self.version.fetch_add(1, Relaxed);
        self.is_head_awaited.store(true, Relaxed);
        self.needs_renewal.store(true, Relaxed);
    }

    /// Makes the service anew if the server may be closing the idle connections. Called before an attempt.
    #[inline]
    pub(super) fn renew_after_rest(&self, now_ms: u64) {
        let keep_alive_ms = self.keep_alive_ms.load(Relaxed);
        if keep_alive_ms > 0 && self.load.rests_for(now_ms).is_some_and(|ms| ms >= u64::from(keep_alive_ms)) {
            self.keep_alive_ms.store(0, Relaxed);
            self.renew();
        }
    }

    /// True once for each service: the head of its first answer is to be looked at.
    #[inline]
    pub(super) fn takes_head(&self) -> bool {
        self.is_head_awaited.load(Relaxed) && self.is_head_awaited.swap(false, Relaxed)
    }

    /// Records the protocol of an answer, and the time for which the server keeps an idle connection.
    #[cold]
    pub(super) fn has_head(&self, version: Version, keep_alive: Option<Duration>) {
        if let Some(group) = self.group.upgrade() {
            group.lanes.answered_over(version);
        }
        let limit = keep_alive.filter(|_| version < Version::HTTP_2);
        // Less than the server's time, because its close takes time to arrive.
        let limit =
            limit.map_or(0, |limit| limit.saturating_sub(KEEP_ALIVE_MARGIN.min(limit / 2)).as_millis());
        self.keep_alive_ms.store(u32::try_from(limit).unwrap_or(u32::MAX), Relaxed);
    }

    /// Records a success of an endpoint that had faults. The head came at `answered_ms`.
    #[cold]
    pub(super) fn recovered(&self, generation: u32, answered_ms: u64, now: Instant) {
        let now_ms = self.millis(now);
        let transition =
            self.with_group(|group, state| group.succeeded(state, self, generation, answered_ms, now_ms));
        self.report(transition.flatten(), now_ms);
    }

    /// Records good answers from time to time, for the budget of renewals.
    #[inline]
    pub(super) fn earn_renewals(&self) {
        // Called before the answer is counted.
        if self.load.counts().ended % EARN_EVERY == EARN_EVERY - 1 && self.load.health().is_well() {
            self.earn();
        }
    }

    #[cold]
    fn earn(&self) {
        if let Some(group) = self.group.upgrade().filter(|group| group.lanes.are_used()) {
            group.lock().renewals.earn(EARN_EVERY);
        }
    }

    /// Records a fault. `version` is that of the service at the start of the attempt.
    #[cold]
    pub(super) fn faulted(&self, fault: EndpointFault, version: u32, now: Instant) -> FaultReport {
        let now_ms = self.millis(now);
        let recorded = self.with_group(|group, state| {
            let GroupState { ejections, endpoints, .. } = state;
            let progress = progress(endpoints, now_ms);
            let transition =
                group.settings.read(|settings| ejections.fault(self.slot, fault, now_ms, settings, progress));
            let has_better = state.has_better(self.slot, now_ms);
            // An ejection begins a new run.
            let is_second = transition.is_some()
                || state.ejections.health(self.slot).is_some_and(|health| health.faults_in_row > 1);
            let has_bad_connections = match fault.kind {
                FaultKind::Timeout | FaultKind::Unreachable => true,
                FaultKind::Abandoned => is_second,
                // Another connection to the same address can lead to another instance.
                FaultKind::Exchange => transition.is_some() && group.lanes.are_used(),
                FaultKind::Application | FaultKind::Throttled => false,
            };
            // An ejected lane gets a new connection anyway, or is given up.
            let is_run = is_second && transition.is_none() && fault.kind != FaultKind::Throttled;
            if is_run && has_better && group.lanes.are_used() {
                self.load.condemn();
            }
            // Many attempts can fail on one dead connection, so a version is renewed once.
            if has_bad_connections && version == self.version() && state.renewals.take(has_better, now_ms) {
                self.renew();
            }
            if group.lanes.are_used() {
                doubt_lanes(group, state, fault);
            }
            group.publish(state, self);
            (transition, self.report_to_retry(group, has_better, now_ms))
        });
        let (transition, report) = recorded.unwrap_or_else(|| (None, self.faulted_after_removal(now_ms)));
        self.report(transition, now_ms);
        report
    }

    /// Returns the consequences of a fault of an endpoint that has been removed: any available endpoint is better. A
    /// lane was replaced, so another one is better only if it has just given a good answer.
    fn faulted_after_removal(&self, now_ms: u64) -> FaultReport {
        let Some(group) = self.group.upgrade() else {
            return FaultReport { is_charged: true, has_better: false };
        };
        let has_better = if group.lanes.are_used() {
            group.lock().endpoints.iter().flatten().any(|lane| lane.load.is_answering(now_ms))
        } else {
            group.available.load(Relaxed) != 0
        };
        self.report_to_retry(&group, has_better, now_ms)
    }

    /// Records the good head of an answer to a probe.
    #[cold]
    pub(super) fn probe_answered(&self, generation: u32, is_stream: bool, now_ms: u64) {
        self.with_group(|group, state| {
            state.ejections.probe_answered(self.slot, generation, is_stream, now_ms);
            group.publish(state, self);
        });
    }

    /// Gives up a probe without a result.
    #[cold]
    pub(super) fn release_probe(&self, generation: u32) {
        self.with_group(|group, state| {
            state.ejections.release_probe(self.slot, generation);
            group.publish(state, self);
        });
    }

    /// Emits the event of an ejection or a return, outside the lock.
    pub(super) fn report(&self, transition: Option<Transition>, now_ms: u64) {
        let (Some(transition), Some(group)) = (transition, self.group.upgrade()) else { return };
        let upstream = group.name().map(|name| &**name).unwrap_or_default();
        let time_until = |until_ms: u64| Duration::from_millis(until_ms.saturating_sub(now_ms));
        let (address, are_lanes) = (&*self.address, group.lanes.are_used());
        match transition {
            Transition::Ejected { cause, until_ms } if are_lanes => {
                log_events::lane_ejected(upstream, address, cause.as_str(), time_until(until_ms));
            }
            Transition::Ejected { cause, until_ms } => {
                log_events::endpoint_ejected(upstream, address, cause.as_str(), time_until(until_ms));
            }
            Transition::ProbeFailed { until_ms } => {
                log_events::endpoint_probe_failed(upstream, address, time_until(until_ms));
            }
            Transition::Returned if are_lanes => log_events::lane_returned(upstream, address),
            Transition::Returned => log_events::endpoint_returned(upstream, address),
        }
    }
}

/// Lets the other lanes be in doubt after a fault: if the attempt got no answer, all connections may be dead, and if no
/// lane has given a good answer since the first of several faults, all may lead to bad instances.
fn doubt_lanes(group: &EndpointGroup, state: &mut GroupState, fault: EndpointFault) {
    let EndpointFault { kind, began_ms, .. } = fault;
    match kind {
        FaultKind::Timeout | FaultKind::Abandoned => group.lanes.one_was_silent_since(began_ms),
        FaultKind::Exchange | FaultKind::Unreachable => {
            let GroupState { endpoints, run, .. } = state;
            let is_good = |lane: &Arc<Endpoint>| lane.load.has_good_answer_since(run.began_ms);
            if run.faults == 0 || endpoints.iter().flatten().any(is_good) {
                *run = GroupRun { began_ms, faults: 0 };
            }
            run.faults += 1;
            if run.faults >= DOUBT_FAULTS {
                group.lanes.are_failing_since(run.began_ms);
            }
        }
        FaultKind::Application | FaultKind::Throttled => {}
    }
}
