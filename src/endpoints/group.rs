//! The endpoints of one upstream: their loads and their health, shared by all calls.
//!
//! # Implementation
//!
//! Each endpoint has a slot, a number below 64. Two words hold a bit for each slot: the endpoints that exist, and
//! those that are available. A healthy call reads these words, and the loads of two endpoints, and takes no lock. A
//! fault, a success of an endpoint that has faults, and a probe take the lock of [`Ejections`].
//!
//! # Easing in
//!
//! An endpoint that is new or has returned may be cold. For two seconds, a growing part of the choices considers it,
//! unless most of the available endpoints that the call has not tried are new.
//!
//! # Memory ordering
//!
//! Every access to the words is relaxed. They are written under the lock, and are copies of the state that it
//! protects; only the end of easing in is written by any call, and a lost update cuts the easing short. A call that
//! reads an old value uses an endpoint that has just been ejected, or leaves out one that has just returned.

use std::sync::{Arc, PoisonError, Weak};
use std::time::Duration;

use tokio::time::Instant;

use super::choice::{Candidates, Dice, DiceRoll, choose};
use super::config::{EjectionSettings, EndpointsBuilder};
use super::ejection::{Ejections, EndpointFault, FaultKind, Health, Transition};
use super::load::{EndpointLoad, HealthWord, millis_since};
use super::renewal::Renewals;
use super::status::EjectionCause;
use crate::EndpointId;
use crate::internal::log_events;
use crate::internal::rng;
use crate::internal::shared_settings::SharedSettings;
use crate::internal::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::Relaxed};
use crate::internal::sync::{Mutex, MutexGuard};

/// The shared state of an upstream's endpoints.
#[derive(Debug)]
pub(super) struct EndpointGroup {
    name: Option<Arc<str>>,
    settings: SharedSettings<EjectionSettings>,
    /// The instant from which times are counted.
    epoch: Instant,
    /// A bit for each slot with an endpoint.
    present: AtomicU64,
    /// A bit for each slot with an endpoint that is not ejected.
    available: AtomicU64,
    /// A bit for each slot with an endpoint that is being eased in.
    easing: AtomicU64,
    /// The time at which the next probe is due; `u64::MAX` if no endpoint is ejected.
    next_probe_ms: AtomicU64,
    dice: Dice,
    state: Mutex<GroupState>,
}

#[derive(Debug)]
struct GroupState {
    ejections: Ejections,
    renewals: Renewals,
    /// The endpoint of each slot.
    endpoints: Vec<Option<Arc<Endpoint>>>,
}

/// The endpoint that was chosen for an attempt.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pick {
    pub(super) slot: u32,
    /// If the attempt is a probe: its time limit, unless it cannot be sent again.
    pub(super) probe: Option<Duration>,
    /// The time of the choice.
    pub(super) now_ms: u64,
}

impl EndpointGroup {
    pub(super) fn new(builder: &EndpointsBuilder, name: Option<Arc<str>>) -> Arc<Self> {
        let mut rng = rng::generator(builder.seed);
        Arc::new(Self {
            name,
            settings: SharedSettings::new(builder.settings),
            epoch: Instant::now(),
            present: AtomicU64::new(0),
            available: AtomicU64::new(0),
            easing: AtomicU64::new(0),
            next_probe_ms: AtomicU64::new(u64::MAX),
            dice: Dice::new(rand::Rng::next_u64(&mut rng)),
            state: Mutex::new(GroupState {
                ejections: Ejections::new(rng),
                renewals: Renewals::new(),
                endpoints: Vec::new(),
            }),
        })
    }

    pub(super) fn name(&self) -> Option<&Arc<str>> {
        self.name.as_ref()
    }

    fn lock(&self) -> MutexGuard<'_, GroupState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn millis(&self, now: Instant) -> u64 {
        millis_since(self.epoch, now)
    }

    /// Adds an endpoint in the slot, which must be free.
    pub(super) fn insert(self: &Arc<Self>, slot: usize, id: EndpointId, address: &str) -> Arc<Endpoint> {
        let endpoint = Arc::new(Endpoint::new(Arc::downgrade(self), self.epoch, slot, id, address));
        let mut state = self.lock();
        // The first endpoints of an upstream are all new, and share its load at once.
        if state.endpoints.iter().flatten().any(|other| other.load.latency().is_some()) {
            self.ease_in(&endpoint, self.millis(Instant::now()));
        }
        if state.endpoints.len() <= slot {
            state.endpoints.resize(slot + 1, None);
        }
        state.endpoints[slot] = Some(Arc::clone(&endpoint));
        state.ejections.insert(slot);
        self.present.store(self.present.load(Relaxed) | 1 << slot, Relaxed);
        self.available.store(self.available.load(Relaxed) | 1 << slot, Relaxed);
        endpoint
    }

    /// Removes the endpoint in the slot. The results of its attempts in flight are ignored.
    pub(super) fn remove(&self, slot: usize) {
        let mut state = self.lock();
        state.endpoints[slot] = None;
        state.ejections.remove(slot);
        self.present.store(self.present.load(Relaxed) & !(1 << slot), Relaxed);
        self.available.store(self.available.load(Relaxed) & !(1 << slot), Relaxed);
        self.easing.fetch_and(!(1 << slot), Relaxed);
        self.next_probe_ms.store(state.ejections.next_probe_ms(), Relaxed);
    }

    /// Chooses an endpoint for an attempt. `slots` are those of the list of members that the call has read; an
    /// endpoint that was added since is not in that list. `load` returns the load of an endpoint, `tried` the slots
    /// that the call has tried. `right` says whether the attempt may be a probe, and `probe_limit` how long a probe
    /// may take. `None` if there is no endpoint.
    #[inline]
    pub(super) fn choose<'a>(
        &self,
        slots: u64,
        load: impl Fn(u32) -> &'a EndpointLoad,
        tried: u64,
        right: ProbeRight,
        probe_limit: impl FnOnce() -> Duration,
        now: Instant,
    ) -> Option<Pick> {
        let now_ms = self.millis(now);
        let all = self.present.load(Relaxed) & slots;
        let mut dice = self.dice.roll();
        if now_ms >= self.next_probe_ms.load(Relaxed) {
            let is_drawn = dice.below(PROBE_SHARE) == 0;
            if let Some(probe) = self.take_probe(all & !tried, right, now_ms, is_drawn, probe_limit) {
                return Some(probe);
            }
        }
        let mut available = self.available.load(Relaxed);
        let easing = self.easing.load(Relaxed) & available;
        if easing != 0 {
            available &= !self.held_back(easing, available & all & !tried, &load, now_ms, &mut dice);
        }
        let candidates = Candidates { all, available, tried };
        let slot = choose(candidates, |slot| load(slot).price(now_ms), &mut dice)?;
        Some(Pick { slot, probe: None, now_ms })
    }

    /// Begins to ease an endpoint in that is new or has returned: its share of the attempts grows from nothing to the
    /// full share.
    fn ease_in(&self, endpoint: &Endpoint, now_ms: u64) {
        endpoint.load.ease_in(now_ms);
        self.easing.fetch_or(1 << endpoint.slot, Relaxed);
    }

    /// Returns the endpoints that this choice leaves out to ease them in. None if most of those that are left are
    /// new, because the others would get too much.
    #[cold]
    fn held_back<'a>(
        &self,
        easing: u64,
        left: u64,
        load: impl Fn(u32) -> &'a EndpointLoad,
        now_ms: u64,
        dice: &mut DiceRoll,
    ) -> u64 {
        let mut held_back = 0;
        for slot in (0..64).filter(|slot| easing & left & (1 << slot) != 0) {
            let eased_for = u32::try_from(load(slot).eased_for(now_ms)).unwrap_or(EASE_MS);
            if eased_for >= EASE_MS {
                self.easing.fetch_and(!(1 << slot), Relaxed);
            } else if dice.below(EASE_MS) >= eased_for {
                held_back |= 1 << slot;
            }
        }
        let others = (left & !easing).count_ones();
        if others * 2 < left.count_ones() { 0 } else { held_back }
    }

    #[cold]
    fn take_probe(
        &self,
        allowed: u64,
        right: ProbeRight,
        now_ms: u64,
        is_drawn: bool,
        limit: impl FnOnce() -> Duration,
    ) -> Option<Pick> {
        let is_safe = match right {
            ProbeRight::Denied => return None,
            ProbeRight::Resendable => true,
            ProbeRight::IfOverdue => false,
        };
        // While no endpoint is available, every call is an attempt at an ejected one anyway.
        if self.available.load(Relaxed) == 0 || !is_drawn {
            return None;
        }
        let limit = limit();
        let mut state = self.lock();
        let streaming = state.ejections.streaming_probe(now_ms);
        if let Some(endpoint) = streaming.and_then(|slot| state.endpoints[slot].clone()) {
            let generation = endpoint.load.health().generation();
            let transition = self.succeeded(&mut state, &endpoint, generation, now_ms, now_ms);
            drop(state);
            endpoint.report(transition, now_ms);
            return None;
        }
        let slot = state.ejections.take_probe(allowed, is_safe, limit, now_ms)?;
        self.next_probe_ms.store(state.ejections.next_probe_ms(), Relaxed);
        Some(Pick { slot: u32::try_from(slot).unwrap_or_default(), probe: Some(limit), now_ms })
    }

    /// Returns the cause of an ejection and its end, and whether a probe is under way.
    pub(super) fn ejection_of(&self, slot: usize, now: Instant) -> Option<(EjectionCause, Instant, bool)> {
        let state = self.lock();
        let ejected = state.ejections.health(slot)?.ejected?;
        let until = self.epoch.checked_add(Duration::from_millis(ejected.until_ms))?;
        let is_probing = ejected.leased_until_ms.is_some_and(|until_ms| until_ms > self.millis(now));
        Some((ejected.cause, until, is_probing))
    }

    /// Records a success of an endpoint that had faults.
    fn succeeded(
        &self,
        state: &mut GroupState,
        endpoint: &Endpoint,
        generation: u32,
        answered_ms: u64,
        now_ms: u64,
    ) -> Option<Transition> {
        let transition = state.ejections.success(endpoint.slot, generation, answered_ms, now_ms);
        if transition.is_some() {
            self.ease_in(endpoint, now_ms);
        }
        self.publish(state, endpoint);
        transition
    }

    /// Copies the health of an endpoint to the words that calls read without the lock.
    fn publish(&self, state: &GroupState, endpoint: &Endpoint) {
        let Some(health) = state.ejections.health(endpoint.slot) else { return };
        let is_ejected = health.ejected.is_some();
        endpoint.load.set_health(HealthWord::new(health.generation, is_ejected, health.faults_in_row));
        let available = self.available.load(Relaxed);
        let bit = 1 << endpoint.slot;
        self.available.store(if is_ejected { available & !bit } else { available | bit }, Relaxed);
        self.next_probe_ms.store(state.ejections.next_probe_ms(), Relaxed);
    }
}

/// Whether an attempt may be a probe of an ejected endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ProbeRight {
    /// The attempt is a retry; its caller has waited long enough.
    Denied,
    /// A failed probe can be sent again to another endpoint.
    Resendable,
    /// A failed probe fails the call. Such a call probes an endpoint only if no other call has done so for long.
    IfOverdue,
}

/// While a probe is due, one in this number of calls is drawn for it.
const PROBE_SHARE: u32 = 8;

/// The time in which a new endpoint, or one that has returned, is eased in.
const EASE_MS: u32 = 2000;

/// The least interval between two charges of one endpoint to the retry budget, while another endpoint is better.
const CHARGE_EVERY_MS: u64 = 100;

/// The shared state of one endpoint. Its service is in `members.rs`.
#[derive(Debug)]
pub(super) struct Endpoint {
    pub(super) load: EndpointLoad,
    pub(super) id: EndpointId,
    slot: usize,
    /// The address, for events.
    address: Box<str>,
    /// True if the service is to be made anew for the next attempt.
    needs_renewal: AtomicBool,
    /// The number of renewals of the service.
    version: AtomicU32,
    /// The time until which faults are not charged to the retry budget while another endpoint is better.
    charged_until_ms: AtomicU64,
    group: Weak<EndpointGroup>,
    epoch: Instant,
}

/// The consequences of a fault for the retry.
#[derive(Debug, Clone, Copy)]
pub(super) struct FaultReport {
    /// True if the fault is charged to the retry budget.
    pub(super) is_charged: bool,
    /// True if another endpoint is available, and this one is worse.
    pub(super) has_better: bool,
}

impl Endpoint {
    pub(super) fn new(
        group: Weak<EndpointGroup>,
        epoch: Instant,
        slot: usize,
        id: EndpointId,
        address: &str,
    ) -> Self {
        Self {
            load: EndpointLoad::new(),
            id,
            slot,
            address: address.into(),
            needs_renewal: AtomicBool::new(false),
            version: AtomicU32::new(0),
            charged_until_ms: AtomicU64::new(0),
            group,
            epoch,
        }
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

    /// True if the fault is to be charged to the retry budget: the first within a short interval, or any fault if no
    /// other endpoint `is_better`.
    fn charge(&self, is_better: bool, now_ms: u64) -> bool {
        if is_better && now_ms < self.charged_until_ms.load(Relaxed) {
            return false;
        }
        self.charged_until_ms.store(now_ms.saturating_add(CHARGE_EVERY_MS), Relaxed);
        true
    }

    /// True if others are available. Called for an endpoint that has been removed: any other is better.
    fn is_replaced(&self) -> bool {
        self.group.upgrade().is_some_and(|group| group.available.load(Relaxed) != 0)
    }

    /// Records a success of an endpoint that had faults. The head came at `answered_ms`.
    #[cold]
    pub(super) fn recovered(&self, generation: u32, answered_ms: u64, now: Instant) {
        let now_ms = self.millis(now);
        let transition =
            self.with_group(|group, state| group.succeeded(state, self, generation, answered_ms, now_ms));
        self.report(transition.flatten(), now_ms);
    }

    /// Records a fault. `version` is that of the service at the start of the attempt.
    #[cold]
    pub(super) fn faulted(&self, fault: EndpointFault, version: u32, now: Instant) -> FaultReport {
        let now_ms = self.millis(now);
        let recorded = self.with_group(|group, state| {
            let GroupState { ejections, renewals, endpoints } = state;
            let ended = |slot: usize| {
                let endpoint = endpoints.get(slot).and_then(Option::as_ref);
                endpoint.map_or(0, |endpoint| endpoint.load.counts().ended)
            };
            let transition =
                group.settings.read(|settings| ejections.fault(self.slot, fault, now_ms, settings, ended));
            let has_bad_connections = match fault.kind {
                FaultKind::Timeout | FaultKind::Unreachable => true,
                // An ejection begins a new run.
                FaultKind::Abandoned => {
                    let is_second = |health: &Health| health.faults_in_row > 1;
                    ejections.health(self.slot).is_some_and(is_second) || transition.is_some()
                }
                FaultKind::Exchange | FaultKind::Application | FaultKind::Throttled => false,
            };
            // Many attempts can fail on one dead connection, so a version is renewed once.
            if has_bad_connections && version == self.version() && renewals.take(now_ms) {
                self.version.store(version.wrapping_add(1), Relaxed);
                self.needs_renewal.store(true, Relaxed);
            }
            // An endpoint that was ejected just now is worse than another, but its window is new.
            let is_ejected = ejections.health(self.slot).is_some_and(|health| health.ejected.is_some());
            let has_better = ejections.has_available_other(self.slot)
                && (is_ejected || ejections.is_worse(self.slot, &ended));
            group.publish(state, self);
            (transition, FaultReport { is_charged: self.charge(has_better, now_ms), has_better })
        });
        let (transition, report) = recorded.unwrap_or_else(|| {
            let has_better = self.is_replaced();
            (None, FaultReport { is_charged: self.charge(has_better, now_ms), has_better })
        });
        self.report(transition, now_ms);
        report
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
    fn report(&self, transition: Option<Transition>, now_ms: u64) {
        let (Some(transition), Some(group)) = (transition, self.group.upgrade()) else { return };
        let upstream = group.name().map(|name| &**name).unwrap_or_default();
        let time_until = |until_ms: u64| Duration::from_millis(until_ms.saturating_sub(now_ms));
        match transition {
            Transition::Ejected { cause, until_ms } => {
                log_events::endpoint_ejected(upstream, &self.address, cause.as_str(), time_until(until_ms));
            }
            Transition::ProbeFailed { until_ms } => {
                log_events::endpoint_probe_failed(upstream, &self.address, time_until(until_ms));
            }
            Transition::Returned => log_events::endpoint_returned(upstream, &self.address),
        }
    }
}

#[cfg(all(test, steadfast_loom))]
mod models;
