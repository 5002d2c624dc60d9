//! Changes of the lanes of an address: lanes are added, replaced and removed as calls need them.

use std::fmt;
use std::sync::{Arc, PoisonError};

use tokio::time::Instant;

use super::group::Pick;
use super::handle::{Changes, Chosen, Endpoints};
use super::lanes::LaneChoice;
use super::load::low_bits;
use super::members::{Member, Members};
use crate::EndpointId;
use crate::internal::log_events;
use crate::internal::sync::MutexGuard;

/// While a lane waits for its first answer, no further lane is added for this time, in milliseconds.
const ADD_EVERY_MS: u32 = 250;

/// The lane that replaces another one, unless there is no token for it.
enum Replacement<A, S> {
    New(Member<A, S>),
    None,
}

impl<A, S> From<Option<Member<A, S>>> for Replacement<A, S> {
    fn from(lane: Option<Member<A, S>>) -> Self {
        lane.map_or(Self::None, Self::New)
    }
}

impl<A: PartialEq + fmt::Display, S: Clone> Endpoints<A, S> {
    /// Begins an attempt in a lane that is added or replaced for it. If there can be no new lane, the attempt begins in an
    /// existing one. `None` if another call has replaced or filled the lane.
    #[cold]
    pub(super) fn begin_in_changed(
        &self,
        seen: &Members<A, S>,
        pick: &Pick,
        now: Instant,
    ) -> Option<Chosen<S>> {
        let (new, otherwise) = match pick.choice {
            LaneChoice::Use(_) => return self.begin(seen.at(pick.choice.slot()), pick, now),
            LaneChoice::Replace { slot, is_charged, otherwise } => {
                (self.replace(seen.at(slot), slot, is_charged, pick)?, otherwise)
            }
            LaneChoice::Add { is_charged, otherwise } => {
                (self.add(&seen.at(otherwise).site.address, is_charged, pick).into(), otherwise)
            }
        };
        match new {
            Replacement::New(lane) => Some(self.chosen(&lane, pick, now)),
            Replacement::None => self.begin(seen.at(otherwise), &pick.shared(), now),
        }
    }

    /// Replaces a lane by one with an attempt. `None` if another call has replaced or taken the lane.
    fn replace(
        &self,
        old: &Member<A, S>,
        slot: u32,
        is_charged: bool,
        pick: &Pick,
    ) -> Option<Replacement<A, S>> {
        let slot = slot as usize;
        let mut changes = self.lock_changes();
        let members = self.0.members.load();
        let is_taken = pick.room == 1 && old.endpoint.load.counts().in_flight() > 0;
        if !members.has(slot, old.endpoint.id) || is_taken {
            return None;
        }
        let is_paid = !is_charged || self.0.group.take_renewal(Some(slot), pick.now_ms);
        Some(is_paid.then(|| self.put(&mut changes, &members, slot, &old.site.address, pick)).into())
    }

    /// Adds a lane with an attempt. `None` if there are enough, or no token.
    fn add(&self, address: &Arc<A>, is_charged: bool, pick: &Pick) -> Option<Member<A, S>> {
        let mut changes = self.lock_changes();
        let members = self.0.members.load();
        let lanes = &self.0.group.lanes;
        let is_building = pick.room > 1
            && !is_charged
            && members.iter().any(|(_, lane)| lane.endpoint.load.is_new(pick.now_ms, ADD_EVERY_MS));
        let is_possible = lanes.are_used() && members.len() < lanes.max() && !is_building;
        (is_possible && (!is_charged || self.0.group.take_renewal(None, pick.now_ms)))
            .then(|| self.put(&mut changes, &members, members.free_slot(), address, pick))
    }

    /// Puts a new lane with an attempt into the slot.
    fn put(
        &self,
        changes: &mut Changes<A>,
        members: &Members<A, S>,
        slot: usize,
        address: &Arc<A>,
        pick: &Pick,
    ) -> Member<A, S> {
        let id = changes.next_id(members);
        let text = format!("{address}, lane {}", slot + 1);
        let endpoint = self.0.group.insert(slot, id, &text);
        endpoint.load.begin(low_bits(pick.now_ms));
        let lane = Member::new(endpoint, Arc::clone(address));
        self.0.members.store(Arc::new(members.with(slot, lane.clone())));
        log_events::lane_added(self.name().unwrap_or_default(), &text);
        lane
    }

    /// From time to time, updates the latency that is usual for the lanes, and removes those that are not needed.
    #[inline]
    pub(super) fn keep_lanes_up(&self, members: &Members<A, S>, now_ms: u64) {
        let lanes = &self.0.group.lanes;
        if lanes.is_upkeep_due(now_ms) {
            let load = |slot| &members.at(slot).endpoint.load;
            let are_failing = self.0.group.is_failing(now_ms);
            self.remove_lanes(lanes.upkeep(members.slots, load, are_failing, now_ms));
        }
    }

    /// Removes all lanes but the first, since the upstream is not called any more.
    #[cfg(feature = "reqwest")]
    pub(crate) fn remove_further_lanes(&self) {
        let slots = self.0.members.load().slots;
        self.remove_lanes(slots & slots.wrapping_sub(1));
    }

    /// Removes lanes. Their attempts in flight go on.
    #[cold]
    fn remove_lanes(&self, removed: u64) {
        if removed == 0 || !self.0.group.lanes.are_used() {
            return;
        }
        let _changes = self.lock_changes();
        let mut members = Arc::clone(&self.0.members.load());
        let removed = removed & members.slots;
        for slot in (0..64).filter(|slot| removed & (1 << slot) != 0) {
            let lane = &members.at(slot).endpoint;
            log_events::endpoint_removed(self.name().unwrap_or_default(), lane.address());
            self.0.group.remove(slot as usize);
            members = Arc::new(members.without(slot as usize));
        }
        self.0.members.store(members);
    }
}

impl<A, S> Endpoints<A, S> {
    pub(super) fn lock_changes(&self) -> MutexGuard<'_, Changes<A>> {
        self.0.changes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Removes all lanes but the first, since the address gets no lanes any more. Called under the lock of the changes.
    pub(super) fn keep_first_lane(&self, members: &Arc<Members<A, S>>) -> Arc<Members<A, S>> {
        let lanes = &self.0.group.lanes;
        if !lanes.are_used() {
            return Arc::clone(members);
        }
        lanes.use_if(false);
        let further: Vec<usize> = members.iter().skip(1).map(|(slot, _)| slot).collect();
        let kept = further.into_iter().fold(Arc::clone(members), |members, slot| {
            self.0.group.remove(slot);
            Arc::new(members.without(slot))
        });
        self.0.members.store(Arc::clone(&kept));
        kept
    }
}

impl<A, S> Members<A, S> {
    fn has(&self, slot: usize, id: EndpointId) -> bool {
        self.iter().any(|(other, member)| other == slot && member.endpoint.id == id)
    }
}
