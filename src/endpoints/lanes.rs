//! The choice of a lane for an attempt, and when a lane is added or replaced; see the [module](super).
//!
//! A bad lane gets an attempt only if no new lane can be made. The number of attempts in one lane, its room, depends on
//! the protocol.
//!
//! # Memory ordering
//!
//! Every access is relaxed. The words are independent, and an old value costs a connection at most.

use std::time::Duration;

use http::Version;

use super::choice::{Candidates, DiceRoll, choose, choose_well};
use super::load::{EndpointLifetime, EndpointLoad};
use crate::internal::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};

/// The settings of the lanes.
#[derive(Debug, Clone, Copy)]
pub(super) struct LaneSettings {
    pub(super) max: usize,
    pub(super) max_age: Duration,
    /// The number of attempts in one lane before the first answer.
    pub(super) room: u32,
}

/// The state of a group's lanes.
#[derive(Debug)]
pub(super) struct Lanes {
    settings: LaneSettings,
    /// The attempts that a lane carries at the same time. Zero while the endpoints have different addresses.
    room: AtomicU32,
    /// The same, by the protocol of the last answer, whether or not there are lanes.
    known_room: AtomicU32,
    /// The first quartile of the lanes' latencies. Zero if unknown.
    usual: AtomicU64,
    /// The latency that was usual before. It follows a lower one soon, and a higher one slowly.
    usual_before: AtomicU64,
    /// The begin of the last run of faults without a good answer of any lane. Lanes without a good answer since are
    /// in doubt. Zero if there was no such run.
    failing_since_ms: AtomicU64,
    /// The begin of the last attempt without an answer. For a retry, lanes without a good answer since are in doubt.
    silent_since_ms: AtomicU64,
    /// The time from which one lane is replaced on trial; `u64::MAX` if there is no reason.
    trial_ms: AtomicU64,
    /// `u64::MAX` while there are no lanes.
    next_upkeep_ms: AtomicU64,
}

/// The number of attempts in a lane whose protocol is not known.
pub(super) const ANY: u32 = u32::MAX;

/// The number of attempts in a lane over HTTP/1.
const ONE: u32 = 1;

/// The number of attempts in a lane over HTTP/2. Most servers allow 100 streams or more.
const STREAMS: u32 = 50;

/// The least number of lanes over HTTP/2, so that a retry has another connection.
const MIN_LANES: u32 = 2;

/// A lane is slow if its latency is this multiple of the usual latency, plus [`SLOWER_BY`].
const SLOW_TIMES: u32 = 4;

const SLOWER_BY: Duration = Duration::from_millis(5);

/// The latency of a lane counts after this number of answers, and after this time. The first answer contains the time
/// to connect.
const MATURE_ANSWERS: u32 = 8;

const MATURE_MS: u64 = 3000;

/// While all lanes are slower than before, or fail, one is replaced on trial after this interval.
const TRIAL_EVERY_MS: u64 = 5000;

/// While all lanes look bad, so many new ones may wait for their first answer. They can be bad, too.
const MAX_WAITING: u32 = 4;

/// A lane is bad after this number of faults in a row. A single one may be that of a route.
const BAD_FAULTS: u32 = 2;

/// A new lane is silent if its first answer takes longer than twice the usual latency, and than this time, in which
/// its connection is established.
const FIRST_SILENCE_MS: u64 = 250;

/// The same while no latency is known.
const UNKNOWN_SILENCE_MS: u64 = 5000;

/// The interval between two updates of the usual latency.
const UPKEEP_EVERY_MS: u64 = 250;

/// A lane without an attempt for this time is removed.
const UNUSED_MS: u64 = 60_000;

/// The choice among lanes. `otherwise` is the lane that gets the attempt if no lane can be replaced or added.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum LaneChoice {
    /// The lane gets the attempt, if it has room.
    Use(u32),
    /// The lane gets the attempt, whether or not it has room.
    Share(u32),
    /// The lane is replaced first.
    Replace { slot: u32, is_charged: bool, otherwise: u32 },
    /// A lane is added.
    Add { is_charged: bool, otherwise: u32 },
}

/// The attempt for which a lane is chosen.
#[derive(Debug, Clone, Copy)]
pub(super) struct LaneQuery {
    pub(super) is_retry: bool,
    pub(super) now_ms: u64,
}

impl LaneChoice {
    /// Returns the slot of the lane that gets the attempt if no lane is replaced or added.
    pub(super) const fn slot(self) -> u32 {
        match self {
            Self::Use(slot)
            | Self::Share(slot)
            | Self::Replace { otherwise: slot, .. }
            | Self::Add { otherwise: slot, .. } => slot,
        }
    }
}

impl Lanes {
    pub(super) fn new(settings: LaneSettings) -> Self {
        Self {
            settings,
            room: AtomicU32::new(0),
            known_room: AtomicU32::new(settings.room),
            usual: AtomicU64::new(0),
            usual_before: AtomicU64::new(0),
            failing_since_ms: AtomicU64::new(0),
            silent_since_ms: AtomicU64::new(0),
            trial_ms: AtomicU64::new(u64::MAX),
            next_upkeep_ms: AtomicU64::new(u64::MAX),
        }
    }

    pub(super) const fn max(&self) -> usize {
        self.settings.max
    }

    /// Returns the number of attempts that a lane carries at the same time; zero if there are no lanes.
    #[inline]
    pub(super) fn room(&self) -> u32 {
        self.room.load(Relaxed)
    }

    pub(super) fn are_used(&self) -> bool {
        self.room() > 0
    }

    /// Records whether the endpoints have a single address.
    pub(super) fn use_if(&self, has_one_address: bool) {
        let are_used = has_one_address && self.settings.max > 1;
        if are_used != self.are_used() {
            self.next_upkeep_ms.store(if are_used { 0 } else { u64::MAX }, Relaxed);
            self.room.store(if are_used { self.known_room.load(Relaxed) } else { 0 }, Relaxed);
        }
    }

    /// Records the protocol of an answer.
    pub(super) fn answered_over(&self, version: Version) {
        let room = room_over(version);
        self.known_room.store(room, Relaxed);
        // Another call may be switching the lanes off.
        let _ = self.room.fetch_update(Relaxed, Relaxed, |before| (before > 0).then_some(room));
    }

    /// Records that no lane has given a good answer to several attempts, of which the first began at this time.
    pub(super) fn are_failing_since(&self, since_ms: u64) {
        self.failing_since_ms.fetch_max(since_ms, Relaxed);
    }

    /// Records an attempt that began at this time, and got no answer.
    pub(super) fn one_was_silent_since(&self, since_ms: u64) {
        self.silent_since_ms.fetch_max(since_ms, Relaxed);
    }

    /// Returns the lifetime of a new lane. It varies by a quarter, so that lanes are not replaced at the same time.
    pub(super) fn lifetime(&self, born_ms: u64, dice: &mut DiceRoll) -> EndpointLifetime {
        let max_age = self.settings.max_age / 1000 * (750 + dice.below(501));
        let max_age_ms = u64::try_from(max_age.as_millis()).unwrap_or(u64::MAX);
        let usual_ms = self.usual.load(Relaxed).max(self.usual_before.load(Relaxed)) / 1_000_000;
        let first_silence_ms =
            if usual_ms > 0 { (2 * usual_ms).max(FIRST_SILENCE_MS) } else { UNKNOWN_SILENCE_MS };
        EndpointLifetime { born_ms, expires_ms: born_ms.saturating_add(max_age_ms), first_silence_ms }
    }

    /// Returns true to one call from time to time: the lanes are to be looked after.
    #[inline]
    pub(super) fn takes_upkeep(&self, now_ms: u64) -> bool {
        let next_ms = self.next_upkeep_ms.load(Relaxed);
        let then_ms = now_ms.saturating_add(UPKEEP_EVERY_MS);
        now_ms >= next_ms && self.next_upkeep_ms.compare_exchange(next_ms, then_ms, Relaxed, Relaxed).is_ok()
    }

    /// Updates the usual latency. `are_failing` is true if many attempts fail in all lanes. Returns the lanes that
    /// are not needed any more.
    #[cold]
    pub(super) fn upkeep<'a>(
        &self,
        lanes: u64,
        lane: impl Fn(u32) -> &'a EndpointLoad,
        are_failing: bool,
        now_ms: u64,
    ) -> u64 {
        let usual = first_quartile(slots(lanes).filter_map(|slot| {
            let lane = lane(slot);
            lane.latency().filter(|_| lane.is_mature(now_ms))
        }));
        let are_slow = usual.is_some_and(|usual| self.are_slower_than_before(usual));
        self.usual.store(usual.map_or(0, nanos), Relaxed);
        self.plan_trial(are_failing || are_slow, now_ms);
        self.unneeded(lanes, lane, now_ms)
    }

    /// Returns the lanes that are not needed any more: those that were not used for long, and over HTTP/1 those that
    /// are ejected, because a new lane can be added whenever one is needed. At least one lane is kept.
    fn unneeded<'a>(&self, lanes: u64, lane: impl Fn(u32) -> &'a EndpointLoad, now_ms: u64) -> u64 {
        let set_of = |slot: u32| 1_u64 << slot;
        let ejected = slots(lanes).filter(|slot| lane(*slot).health().is_ejected()).map(set_of).sum::<u64>();
        let unused = slots(lanes).skip(MIN_LANES as usize).filter(|slot| lane(*slot).is_unused(now_ms));
        let unused = unused.map(set_of).sum::<u64>();
        if self.room() == ONE && lanes & !ejected & !unused != 0 { ejected | unused } else { unused }
    }

    /// Compares the usual latency with that before, which it updates.
    fn are_slower_than_before(&self, usual: Duration) -> bool {
        let before = Duration::from_nanos(self.usual_before.load(Relaxed));
        let next = match before {
            Duration::ZERO => usual,
            _ if usual < before => (before * 3 + usual) / 4,
            _ => usual.min(before + before / 50),
        };
        self.usual_before.store(nanos(next), Relaxed);
        is_far_above(usual, next)
    }

    fn plan_trial(&self, is_wanted: bool, now_ms: u64) {
        let is_planned = self.trial_ms.load(Relaxed) != u64::MAX;
        if is_wanted != is_planned {
            self.trial_ms.store(if is_wanted { now_ms } else { u64::MAX }, Relaxed);
        }
    }

    /// Returns true if a lane is to be replaced on trial: all lanes are slower than before, or many attempts fail. A
    /// new connection shows whether another instance is better.
    #[inline]
    fn takes_trial(&self, now_ms: u64) -> bool {
        let trial_ms = self.trial_ms.load(Relaxed);
        now_ms >= trial_ms
            && self.trial_ms.compare_exchange(trial_ms, now_ms + TRIAL_EVERY_MS, Relaxed, Relaxed).is_ok()
    }

    /// Chooses a lane for an attempt; `None` if there are none.
    #[inline]
    pub(super) fn choose<'a>(
        &self,
        candidates: Candidates,
        query: LaneQuery,
        lane: impl Fn(u32) -> &'a EndpointLoad + Copy,
        dice: &mut DiceRoll,
    ) -> Option<LaneChoice> {
        if self.room() == ONE {
            self.choose_idle(candidates, query, lane, dice)
        } else {
            self.choose_shared(candidates, query, lane, dice)
        }
    }

    /// Chooses the lowest idle lane. Lanes with a fault come second.
    #[inline]
    fn choose_idle<'a>(
        &self,
        candidates: Candidates,
        query: LaneQuery,
        lane: impl Fn(u32) -> &'a EndpointLoad + Copy,
        dice: &mut DiceRoll,
    ) -> Option<LaneChoice> {
        let set = candidates.untried_available();
        let (mut second, mut bad) = (None, None);
        for slot in slots(set).filter(|slot| lane(*slot).counts().in_flight() == 0) {
            if self.is_bad(lane(slot), query) {
                bad = bad.or(Some(slot));
            } else if lane(slot).health().faults() == 0 {
                return Some(self.use_or_replace(slot, lane(slot), true, query.now_ms));
            } else {
                second = second.or(Some(slot));
            }
        }
        if let Some(slot) = second {
            return Some(self.use_or_replace(slot, lane(slot), true, query.now_ms));
        }
        self.choose_without_idle(candidates, bad, query, lane, dice)
    }

    /// Chooses if each lane is busy or bad. If others work, a new lane serves a demand, as in any pool.
    #[cold]
    fn choose_without_idle<'a>(
        &self,
        candidates: Candidates,
        bad: Option<u32>,
        query: LaneQuery,
        lane: impl Fn(u32) -> &'a EndpointLoad + Copy,
        dice: &mut DiceRoll,
    ) -> Option<LaneChoice> {
        let all = candidates.all;
        let is_full = all.count_ones() as usize >= self.settings.max;
        let is_well = |slot: u32| lane(slot).is_answering(query.now_ms) && !self.is_bad(lane(slot), query);
        match bad {
            Some(slot) if is_full || !slots(all).any(is_well) => {
                Some(LaneChoice::Replace { slot, is_charged: true, otherwise: slot })
            }
            Some(slot) => Some(LaneChoice::Add { is_charged: false, otherwise: slot }),
            None => {
                let otherwise = choose(candidates, |slot| lane(slot).price(query.now_ms), dice)?;
                let is_charged = candidates.untried_available() == 0 && all.count_ones() > 1;
                Some(LaneChoice::Add { is_charged, otherwise })
            }
        }
    }

    /// Chooses the cheaper of two lanes with room.
    #[inline]
    fn choose_shared<'a>(
        &self,
        candidates: Candidates,
        query: LaneQuery,
        lane: impl Fn(u32) -> &'a EndpointLoad + Copy,
        dice: &mut DiceRoll,
    ) -> Option<LaneChoice> {
        let LaneQuery { now_ms, .. } = query;
        let lanes = self.sort(candidates.untried_available(), query, lane);
        let price = |slot| lane(slot).price(now_ms);
        let Some(slot) = choose_well(lanes.fit_and_needed(), price, dice) else {
            return choose_without_fit(candidates, lanes, query, lane, dice);
        };
        if self.room() == ANY {
            return Some(LaneChoice::Use(slot));
        }
        let is_used = lane(slot).counts().in_flight() > 0 || lane(slot).latency().is_some();
        if candidates.all.count_ones() < MIN_LANES && is_used {
            return Some(LaneChoice::Add { is_charged: false, otherwise: slot });
        }
        if lanes.fit.count_ones() < MIN_LANES && lanes.bad != 0 && lanes.waiting == 0 {
            let bad = lanes.bad.trailing_zeros();
            return Some(LaneChoice::Replace { slot: bad, is_charged: true, otherwise: slot });
        }
        let others_are_known = lanes.fit & !(1 << slot) != 0;
        Some(self.use_or_replace(slot, lane(slot), others_are_known, now_ms))
    }

    fn sort<'a>(&self, set: u64, query: LaneQuery, lane: impl Fn(u32) -> &'a EndpointLoad) -> SortedLanes {
        let room = self.room();
        let mut sorted = SortedLanes::default();
        for slot in slots(set) {
            let (load, bit) = (lane(slot), 1 << slot);
            let in_flight = load.counts().in_flight();
            sorted.in_flight += in_flight;
            if self.is_bad(load, query) {
                sorted.bad |= bit;
            } else if load.price(query.now_ms).is_silent {
                sorted.silent |= bit;
            } else if load.latency().is_none() && in_flight > 0 && room != ANY {
                sorted.waiting |= bit;
            } else if in_flight < room {
                sorted.fit |= bit;
            } else {
                sorted.full |= bit;
            }
        }
        sorted
    }

    /// Uses a lane, unless it is old or slow.
    #[inline]
    fn use_or_replace(
        &self,
        slot: u32,
        lane: &EndpointLoad,
        others_carry_its_load: bool,
        now_ms: u64,
    ) -> LaneChoice {
        if lane.is_old(now_ms) && others_carry_its_load {
            LaneChoice::Replace { slot, is_charged: false, otherwise: slot }
        } else if self.is_slow(lane, now_ms) || self.takes_trial(now_ms) {
            LaneChoice::Replace { slot, is_charged: true, otherwise: slot }
        } else {
            LaneChoice::Use(slot)
        }
    }

    /// True if the connections of a lane may be dead, or may lead to a bad instance.
    #[inline]
    fn is_bad(&self, lane: &EndpointLoad, LaneQuery { is_retry, now_ms }: LaneQuery) -> bool {
        lane.health().faults() >= BAD_FAULTS
            || lane.is_condemned()
            || lane.is_in_doubt_since(self.failing_since_ms.load(Relaxed))
            || is_retry && lane.is_in_doubt_since(self.silent_since_ms.load(Relaxed))
            || lane.is_silence_over(now_ms)
    }

    #[inline]
    fn is_slow(&self, lane: &EndpointLoad, now_ms: u64) -> bool {
        let usual = Duration::from_nanos(self.usual.load(Relaxed));
        !usual.is_zero()
            && lane.latency().is_some_and(|latency| is_far_above(latency, usual))
            && lane.is_mature(now_ms)
    }
}

/// Chooses if no lane is fit: those that work are full, or all look bad.
#[cold]
fn choose_without_fit<'a>(
    candidates: Candidates,
    lanes: SortedLanes,
    query: LaneQuery,
    lane: impl Fn(u32) -> &'a EndpointLoad + Copy,
    dice: &mut DiceRoll,
) -> Option<LaneChoice> {
    let price = |slot| lane(slot).price(query.now_ms);
    // A connection that is being established is better than one that is known to be bad.
    let otherwise = choose_well(lanes.full | lanes.waiting, price, dice);
    let otherwise = otherwise.or_else(|| choose(candidates, price, dice))?;
    if lanes.full != 0 || candidates.all.count_ones() < MIN_LANES {
        return Some(LaneChoice::Add { is_charged: false, otherwise });
    }
    if lanes.waiting != 0 && (lanes.bad | lanes.silent == 0 || lanes.waiting.count_ones() >= MAX_WAITING) {
        return Some(LaneChoice::Share(otherwise));
    }
    Some(match lanes.bad {
        // A silent lane may only have a slow route.
        0 => LaneChoice::Add { is_charged: true, otherwise },
        _ => LaneChoice::Replace { slot: lanes.bad.trailing_zeros(), is_charged: true, otherwise },
    })
}

/// The lanes of a choice, as sets of bits.
#[derive(Debug, Clone, Copy, Default)]
struct SortedLanes {
    /// Work, and have room.
    fit: u64,
    /// Work, and have no room.
    full: u64,
    /// Wait for their first answer.
    waiting: u64,
    silent: u64,
    bad: u64,
    /// The attempts in flight in all of them.
    in_flight: u32,
}

impl SortedLanes {
    /// Returns the lowest fit lanes, as many as are needed. The others are removed when they were not used for long.
    fn fit_and_needed(self) -> u64 {
        let needed = ((self.in_flight + STREAMS / 2) / STREAMS + 1).max(MIN_LANES);
        let surplus = slots(self.fit).nth(needed as usize).map_or(0, |slot| u64::MAX << slot);
        self.fit & !surplus
    }
}

/// Returns the first quartile of at most 64 latencies; `None` if there are none. Allocates nothing, because a healthy
/// call does this.
fn first_quartile(latencies: impl Iterator<Item = Duration>) -> Option<Duration> {
    let mut sorted = [Duration::ZERO; 64];
    let mut count = 0;
    for (place, latency) in sorted.iter_mut().zip(latencies) {
        *place = latency;
        count += 1;
    }
    let sorted = &mut sorted[..count];
    sorted.sort_unstable();
    sorted.get(count / 4).copied()
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

fn is_far_above(latency: Duration, usual: Duration) -> bool {
    latency > usual * SLOW_TIMES + SLOWER_BY
}

impl EndpointLoad {
    /// True if the latency of the lane is that of its instance.
    fn is_mature(&self, now_ms: u64) -> bool {
        self.counts().ended >= MATURE_ANSWERS && self.age_ms(now_ms) >= MATURE_MS
    }

    fn is_unused(&self, now_ms: u64) -> bool {
        self.counts().in_flight() == 0
            && self.age_ms(now_ms) >= UNUSED_MS
            && !self.has_answered_since(now_ms.saturating_sub(UNUSED_MS))
    }
}

/// Returns the number of attempts that a lane carries at the same time.
pub(super) fn room_over(version: Version) -> u32 {
    if version >= Version::HTTP_2 { STREAMS } else { ONE }
}

/// Iterates over the bits of a set, the lowest first.
fn slots(mut set: u64) -> impl Iterator<Item = u32> {
    std::iter::from_fn(move || {
        let slot = set.trailing_zeros();
        set &= set.wrapping_sub(1);
        (slot < 64).then_some(slot)
    })
}
