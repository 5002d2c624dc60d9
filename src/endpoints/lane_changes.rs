//! Changes of the lanes of an address: lanes are added, replaced and removed as calls need them.

use std::fmt;
use std::sync::{Arc, PoisonError};

use tokio::time::Instant;

use super::group::Pick;
use super::handle::{Changes, Chosen, Endpoints};
use super::lane_choice::LaneChoice;
use super::load_words::low_bits;
use super::members::{Member, Members};
use crate::EndpointId;
use crate::internal::log_events;
use crate::internal::sync::MutexGuard;

/// While a lane waits for its first answer, no further lane is added for this time, in milliseconds.
const ADD_EVERY_MS: u32 = 250;

/// Another call has replaced the lane, or uses it.
struct LaneIsTaken;

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
            LaneChoice::Replace { slot, is_charged, otherwise } => {
                let replaced = self.replace(seen.at(slot), slot as usize, is_charged, pick);
                (replaced.ok()?, otherwise)
            }
            LaneChoice::Add { is_charged, otherwise } => {
                (self.add(&seen.at(otherwise).site.address, is_charged, pick), otherwise)
            }
            LaneChoice::Use(slot) | LaneChoice::Share(slot) => (None, slot),
        };
        let Some(lane) = new else { return self.begin(seen.at(otherwise), &pick.shared(), now) };
        log_events::lane_added(self.name().unwrap_or_default(), lane.endpoint.address());
        Some(self.chosen(&lane, pick, now))
    }

    /// Replaces a lane by one with an attempt; `None` without a token. An error means that another call has replaced or
    /// taken the lane.
    fn replace(
        &self,
        old: &Member<A, S>,
        slot: usize,
        is_charged: bool,
        pick: &Pick,
    ) -> Result<Option<Member<A, S>>, LaneIsTaken> {
        let mut changes = self.lock_changes();
        let members = self.0.members.load();
        let is_busy = pick.room == 1 && old.endpoint.load.counts().in_flight() > 0;
        if !members.has(slot, old.endpoint.id) || is_busy {
            return Err(LaneIsTaken);
        }
        let is_paid = !is_charged || self.0.group.take_renewal(Some(slot), pick.now_ms);
        Ok(is_paid.then(|| self.put(&mut changes, &members, slot, &old.site.address, pick)))
    }

    /// Adds a lane with an attempt. `None` if there are enough, or no token.
    fn add(&self, address: &Arc<A>, is_charged: bool, pick: &Pick) -> Option<Member<A, S>> {
        let mut changes = self.lock_changes();
        let members = self.0.members.load();
        let lanes = &self.0.group.lanes;
        let is_building = pick.room > 1
            && !is_charged
            && members.iter().any(|(_, lane)| lane.endpoint.load.is_new(pick.now_ms, ADD_EVERY_MS));
        // The address may be gone.
        let is_known = members.iter().any(|(_, lane)| Arc::ptr_eq(&lane.site.address, address));
        let is_possible = lanes.are_used() && is_known && members.len() < lanes.max() && !is_building;
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
        lane
    }

    /// From time to time, updates the latency that is usual for the lanes, and removes those that are not needed.
    #[inline]
    pub(super) fn keep_lanes_up(&self, members: &Members<A, S>, now_ms: u64) {
        let lanes = &self.0.group.lanes;
        if lanes.takes_upkeep(now_ms) {
            let load = |slot| &members.at(slot).endpoint.load;
            let are_failing = self.0.group.is_failing(now_ms);
            self.remove_lanes(members, lanes.upkeep(members.slots, load, are_failing, now_ms));
        }
    }

    /// Removes all lanes but the first, since the upstream is not called any more.
    #[cfg(feature = "reqwest")]
    pub(crate) fn remove_further_lanes(&self) {
        let seen = self.0.members.load();
        self.remove_lanes(&seen, seen.slots & seen.slots.wrapping_sub(1));
    }

    /// Removes the lanes in these slots of a list, unless others have changed them.
    #[cold]
    fn remove_lanes(&self, seen: &Members<A, S>, slots: u64) {
        if slots == 0 {
            return;
        }
        let changes = self.lock_changes();
        let members = Arc::clone(&self.0.members.load());
        if !self.0.group.lanes.are_used() {
            return;
        }
        let is_removed =
            |slot: usize, lane: &Member<A, S>| slots & (1 << slot) != 0 && seen.has(slot, lane.endpoint.id);
        let kept = self.keep_lanes(&members, |slot, lane| !is_removed(slot, lane));
        drop(changes);
        for (_, lane) in members.iter().filter(|(slot, _)| kept.slots & (1 << slot) == 0) {
            log_events::endpoint_removed(self.name().unwrap_or_default(), lane.endpoint.address());
        }
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
        let first = members.iter().next().map(|(slot, _)| slot);
        self.keep_lanes(members, |slot, _| Some(slot) == first)
    }

    /// Removes the lanes that `is_kept` rejects, except for the last one. Their attempts in flight go on. Called under
    /// the lock of the changes.
    fn keep_lanes(
        &self,
        members: &Arc<Members<A, S>>,
        is_kept: impl Fn(usize, &Member<A, S>) -> bool,
    ) -> Arc<Members<A, S>> {
        let removed = members.iter().filter(|(slot, lane)| !is_kept(*slot, lane)).map(|(slot, _)| slot);
        let kept = removed.fold(Arc::clone(members), |kept, slot| {
            if kept.len() == 1 {
                return kept;
            }
            self.0.group.remove(slot);
            Arc::new(kept.without(slot))
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
