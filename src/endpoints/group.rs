//! The endpoints of one upstream: their loads and their health, shared by all calls.
//!
//! # Implementation
//!
//! Each endpoint has a slot, a number below 64. Two words hold a bit for each slot: the endpoints that exist, and
//! those that are available. A healthy call reads these words, and the loads of two endpoints, or of the lanes up to
//! the first idle one, and takes no lock. A fault, a success of an endpoint that has faults, and a probe take the
//! lock of [`Ejections`].
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
use super::ejection::{Ejections, EndpointProgress, Transition};
use super::lane_choice::{LaneChoice, LaneChooser};
use super::lanes::{ANY, Lanes};
use super::load::{EndpointLifetime, EndpointLoad, millis_since};
use super::load_words::HealthWord;
use super::renewal::Renewals;
use super::status::EjectionCause;
use crate::EndpointId;
use crate::internal::rng;
use crate::internal::shared_settings::SharedSettings;
use crate::internal::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::Relaxed};
use crate::internal::sync::{Mutex, MutexGuard};

/// The shared state of an upstream's endpoints.
#[derive(Debug)]
pub(super) struct EndpointGroup {
    name: Option<Arc<str>>,
    pub(super) settings: SharedSettings<EjectionSettings>,
    /// The instant from which times are counted.
    epoch: Instant,
    /// A bit for each slot with an endpoint.
    present: AtomicU64,
    /// A bit for each slot with an endpoint that is not ejected.
    pub(super) available: AtomicU64,
    /// A bit for each slot with an endpoint that is being eased in.
    easing: AtomicU64,
    /// The time at which the next probe is due; `u64::MAX` if no endpoint is ejected.
    next_probe_ms: AtomicU64,
    dice: Dice,
    pub(super) lanes: Lanes,
    /// The time until which faults of lanes are not charged to the retry budget while another lane is better.
    pub(super) charged_until_ms: AtomicU64,
    state: Mutex<GroupState>,
}

#[derive(Debug)]
pub(super) struct GroupState {
    pub(super) ejections: Ejections,
    pub(super) renewals: Renewals,
    /// The endpoint of each slot.
    pub(super) endpoints: Vec<Option<Arc<Endpoint>>>,
    pub(super) run: GroupRun,
}

/// The faults of a group since its last good answer.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct GroupRun {
    /// The time at which the first failed attempt began.
    pub(super) began_ms: u64,
    pub(super) faults: u32,
}

impl GroupState {
    /// True if another endpoint is available, and the one in the slot is worse.
    pub(super) fn has_better(&self, slot: usize, now_ms: u64) -> bool {
        // An endpoint that was ejected just now is worse than another, but its window is new.
        let is_ejected = self.ejections.health(slot).is_some_and(|health| health.ejected.is_some());
        let progress = progress(&self.endpoints, now_ms);
        self.ejections.has_working_other(slot, &progress)
            && (is_ejected || self.ejections.is_worse(slot, &progress))
    }
}

/// Returns the function that returns the progress of the endpoint in a slot.
pub(super) fn progress(
    endpoints: &[Option<Arc<Endpoint>>],
    now_ms: u64,
) -> impl Fn(usize) -> EndpointProgress + '_ {
    move |slot| {
        let load = endpoints.get(slot).and_then(Option::as_ref).map(|endpoint| &endpoint.load);
        EndpointProgress {
            ended: load.map_or(0, |load| load.counts().ended),
            is_answering: load.is_some_and(|load| load.is_answering(now_ms)),
        }
    }
}

/// The endpoint that was chosen for an attempt.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pick {
    pub(super) choice: LaneChoice,
    /// The largest number of attempts in flight at the endpoint.
    pub(super) room: u32,
    /// If the attempt is a probe: its time limit, unless it cannot be sent again.
    pub(super) probe: Option<Duration>,
    /// The time of the choice.
    pub(super) now_ms: u64,
}

impl Pick {
    /// The same choice without a change of the lanes, and with room for any number of attempts.
    pub(super) const fn shared(self) -> Self {
        Self { choice: LaneChoice::Use(self.choice.slot()), room: ANY, ..self }
    }
}

/// The endpoints that a call has tried.
#[derive(Debug, Clone, Copy)]
pub(super) struct Tried {
    pub(super) slots: u64,
    /// True if the call has tried any endpoint; it may be gone.
    pub(super) is_retry: bool,
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
            lanes: Lanes::new(builder.lane_settings()),
            charged_until_ms: AtomicU64::new(0),
            state: Mutex::new(GroupState {
                ejections: Ejections::new(rng),
                renewals: Renewals::new(),
                endpoints: Vec::new(),
                run: GroupRun::default(),
            }),
        })
    }

    pub(super) fn name(&self) -> Option<&Arc<str>> {
        self.name.as_ref()
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, GroupState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn millis(&self, now: Instant) -> u64 {
        millis_since(self.epoch, now)
    }

    /// Adds an endpoint in the slot. An endpoint in the slot is replaced, and the results of its attempts in flight
    /// are ignored.
    pub(super) fn insert(self: &Arc<Self>, slot: usize, id: EndpointId, address: &str) -> Arc<Endpoint> {
        let born_ms = self.millis(Instant::now());
        let is_lane = self.lanes.are_used();
        let lifetime = if is_lane {
            self.lanes.lifetime(born_ms, &mut self.dice.roll())
        } else {
            EndpointLifetime::endless(born_ms)
        };
        let endpoint = Arc::new(Endpoint {
            load: EndpointLoad::new(lifetime),
            id,
            slot,
            address: address.into(),
            needs_renewal: AtomicBool::new(false),
            version: AtomicU32::new(0),
            charged_until_ms: AtomicU64::new(0),
            is_head_awaited: AtomicBool::new(true),
            keep_alive_ms: AtomicU32::new(0),
            group: Arc::downgrade(self),
            epoch: self.epoch,
        });
        let mut state = self.lock();
        // The first endpoints of an upstream are all new, and share its load at once.
        if !is_lane && state.endpoints.iter().flatten().any(|other| other.load.latency().is_some()) {
            self.ease_in(&endpoint, born_ms);
        }
        if state.endpoints.len() <= slot {
            state.endpoints.resize(slot + 1, None);
        }
        state.endpoints[slot] = Some(Arc::clone(&endpoint));
        state.ejections.insert(slot, is_lane);
        self.present.store(self.present.load(Relaxed) | 1 << slot, Relaxed);
        self.publish(&state, &endpoint);
        endpoint
    }

    /// Takes a token of the budget of renewals; false if there is none. `replaced` is the slot of the lane that the
    /// renewal replaces.
    pub(super) fn take_renewal(&self, replaced: Option<usize>, now_ms: u64) -> bool {
        let mut state = self.lock();
        let has_better = replaced.is_some_and(|slot| state.has_better(slot, now_ms));
        state.renewals.take(has_better, now_ms)
    }

    /// True if many attempts fail in all lanes.
    pub(super) fn is_failing(&self, now_ms: u64) -> bool {
        let state = self.lock();
        let (faults, attempts) = state.ejections.totals(now_ms, &progress(&state.endpoints, now_ms));
        faults >= MIN_FAULTS && faults * MAX_FAULT_SHARE >= attempts
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
    /// endpoint that was added since is not in that list. `load` returns the load of an endpoint. `probe_limit` says
    /// how long a probe may take. `None` if there is no endpoint.
    #[inline]
    pub(super) fn choose<'a>(
        &self,
        slots: u64,
        load: impl Fn(u32) -> &'a EndpointLoad + Copy,
        tried: Tried,
        right: ProbeRight,
        probe_limit: impl FnOnce() -> Duration,
        now: Instant,
    ) -> Option<Pick> {
        let now_ms = self.millis(now);
        let all = self.present.load(Relaxed) & slots;
        let Tried { slots: tried, is_retry } = tried;
        let mut dice = self.dice.roll();
        if now_ms >= self.next_probe_ms.load(Relaxed) {
            let is_drawn = dice.below(PROBE_SHARE) == 0;
            if let Some(probe) = self.take_probe(all & !tried, right, now_ms, is_drawn, probe_limit) {
                return Some(probe);
            }
        }
        let mut available = self.available.load(Relaxed);
        let room = self.lanes.room();
        if room > 0 {
            let candidates = Candidates { all, available, tried };
            let dice = &mut dice;
            let chooser = LaneChooser { lanes: &self.lanes, candidates, lane: load, is_retry, now_ms, dice };
            let choice = chooser.choose()?;
            return Some(Pick { choice, room, probe: None, now_ms });
        }
        let easing = self.easing.load(Relaxed) & available;
        if easing != 0 {
            let left = available & all & !tried;
            available &= !self.held_back(easing, left, load, now_ms, &mut dice);
        }
        let candidates = Candidates { all, available, tried };
        let slot = choose(candidates, |slot| load(slot).price(now_ms), &mut dice)?;
        Some(Pick { choice: LaneChoice::Use(slot), room: ANY, probe: None, now_ms })
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
        let choice = LaneChoice::Use(u32::try_from(slot).unwrap_or_default());
        Some(Pick { choice, room: ANY, probe: Some(limit), now_ms })
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
    pub(super) fn succeeded(
        &self,
        state: &mut GroupState,
        endpoint: &Endpoint,
        generation: u32,
        answered_ms: u64,
        now_ms: u64,
    ) -> Option<Transition> {
        let transition = state.ejections.success(endpoint.slot, generation, answered_ms, now_ms);
        if transition.is_some() && !self.lanes.are_used() {
            self.ease_in(endpoint, now_ms);
        }
        self.publish(state, endpoint);
        transition
    }

    /// Copies the health of an endpoint to the words that calls read without the lock.
    pub(super) fn publish(&self, state: &GroupState, endpoint: &Endpoint) {
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

/// Lanes fail if one in this number of attempts fails, and at least [`MIN_FAULTS`].
const MAX_FAULT_SHARE: u32 = 10;

const MIN_FAULTS: u32 = 5;

/// While a probe is due, one in this number of calls is drawn for it.
const PROBE_SHARE: u32 = 8;

/// The time in which a new endpoint, or one that has returned, is eased in.
const EASE_MS: u32 = 2000;

/// The shared state of one endpoint. Its methods are in `endpoint.rs`, and its service is in `members.rs`.
#[derive(Debug)]
pub(super) struct Endpoint {
    pub(super) load: EndpointLoad,
    pub(super) id: EndpointId,
    pub(super) slot: usize,
    /// The address, for events.
    pub(super) address: Box<str>,
    /// True if the service is to be made anew for the next attempt.
    pub(super) needs_renewal: AtomicBool,
    /// The number of renewals of the service.
    pub(super) version: AtomicU32,
    /// The time until which faults are not charged to the retry budget while another endpoint is better.
    pub(super) charged_until_ms: AtomicU64,
    /// True until the first head of an answer over new connections was looked at.
    pub(super) is_head_awaited: AtomicBool,
    /// The time without an attempt, in milliseconds, after which the server may close a connection. Zero if unknown.
    pub(super) keep_alive_ms: AtomicU32,
    pub(super) group: Weak<EndpointGroup>,
    pub(super) epoch: Instant,
}

#[cfg(all(test, steadfast_loom))]
mod models;
