//! The choice of a lane for an attempt, and when a lane is added or replaced; see the [module](super).
//!
//! Lanes can be made and replaced at will, so no tier of bad lanes is used as long as a new one can be made: if no lane
//! is fit, one is added. The number of attempts in one lane, its room, depends on the protocol.
//!
//! # Memory ordering
//!
//! Every access is relaxed. The words are independent, and an old value costs a connection at most.

use std::time::Duration;

use http::Version;

use super::choice::{Candidates, DiceRoll, choose, choose_well};
use super::load::{EndpointLifetime, EndpointLoad, Price};
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
    /// The latency of the faster lanes: a quarter of them are faster.
    usual: AtomicU64,
    /// The latency that was usual before. It follows a lower one soon, and a higher one slowly.
    usual_before: AtomicU64,
    /// The time since which the lanes are in doubt that have given no good answer. Zero if there was no doubt yet.
    doubted_since_ms: AtomicU64,
    /// The time from which one lane is replaced on trial, since all are slower than before; `u64::MAX` if they are not.
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

/// While all lanes are slower than before, one is replaced on trial after this interval.
const TRIAL_EVERY_MS: u64 = 5000;

/// A lane is replaced after this number of faults in a row. A single one may be that of a route.
const SUSPECT_FAULTS: u32 = 2;

/// A new lane is silent if its first answer takes longer than five times the usual latency, and than this time, in which
/// its connection is established.
const FIRST_SILENCE_MS: u64 = 250;

/// The same while no latency is known.
const UNKNOWN_SILENCE_MS: u64 = 5000;

/// The interval between two updates of the usual latency.
const UPKEEP_EVERY_MS: u64 = 250;

/// A lane without an attempt for this time is removed.
const UNUSED_MS: u64 = 60_000;

/// The choice among lanes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum LaneChoice {
    /// The lane gets the attempt.
    Use(u32),
    /// The lane is replaced first. Without a token for it, if it takes one, the lane is used as it is.
    Replace { slot: u32, is_charged: bool },
    /// A lane is added. If there can be no further lane, an existing one gets the attempt.
    Add { is_charged: bool, otherwise: u32 },
}

impl LaneChoice {
    /// Returns the slot of the lane that gets the attempt if no lane is replaced or added.
    pub(super) const fn slot(self) -> u32 {
        match self {
            Self::Use(slot) | Self::Replace { slot, .. } | Self::Add { otherwise: slot, .. } => slot,
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
            doubted_since_ms: AtomicU64::new(0),
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
        if self.are_used() && self.room() != room {
            self.room.store(room, Relaxed);
        }
    }

    /// Records the time since which lanes without a good answer are in doubt.
    pub(super) fn doubt_since(&self, since_ms: u64) {
        self.doubted_since_ms.fetch_max(since_ms, Relaxed);
    }

    /// True if the connections of a lane may be as bad as those of another one.
    fn is_in_doubt(&self, lane: &EndpointLoad) -> bool {
        let since_ms = self.doubted_since_ms.load(Relaxed);
        since_ms > 0 && lane.has_been_used() && !lane.has_good_answer_since(since_ms)
    }

    /// Returns the lifetime of a new lane. It varies by a quarter, so that lanes are not replaced at the same time.
    pub(super) fn lifetime(&self, born_ms: u64, dice: &mut DiceRoll) -> EndpointLifetime {
        let max_age = self.settings.max_age / 1000 * (750 + dice.below(501));
        let max_age_ms = u64::try_from(max_age.as_millis()).unwrap_or(u64::MAX);
        let usual_ms = self.usual.load(Relaxed) / 1_000_000;
        let first_silence_ms =
            if usual_ms > 0 { (5 * usual_ms).max(FIRST_SILENCE_MS) } else { UNKNOWN_SILENCE_MS };
        EndpointLifetime { born_ms, expires_ms: born_ms.saturating_add(max_age_ms), first_silence_ms }
    }

    /// True from time to time: the usual latency is to be updated.
    #[inline]
    pub(super) fn is_upkeep_due(&self, now_ms: u64) -> bool {
        now_ms >= self.next_upkeep_ms.load(Relaxed)
    }

    /// Updates the usual latency. Returns the lanes that are not needed any more.
    #[cold]
    pub(super) fn upkeep<'a>(&self, lanes: u64, lane: impl Fn(u32) -> &'a EndpointLoad, now_ms: u64) -> u64 {
        self.next_upkeep_ms.store(now_ms.saturating_add(UPKEEP_EVERY_MS), Relaxed);
        let is_mature = |slot: &u32| lane(*slot).is_mature(now_ms);
        let mut latencies: Vec<Duration> =
            slots(lanes).filter(is_mature).filter_map(|slot| lane(slot).latency()).collect();
        latencies.sort_unstable();
        if let Some(usual) = latencies.get(latencies.len() / 4) {
            self.update_usual(*usual, now_ms);
        }
        let is_unused = |slot: &u32| lane(*slot).is_unused(now_ms);
        let unused = slots(lanes).skip(MIN_LANES as usize).filter(is_unused);
        unused.fold(0, |unused, slot| unused | 1 << slot)
    }

    fn update_usual(&self, usual: Duration, now_ms: u64) {
        let before = Duration::from_nanos(self.usual_before.load(Relaxed));
        let next = if before.is_zero() {
            usual
        } else if usual < before {
            (before * 3 + usual) / 4
        } else {
            usual.min(before + before / 50)
        };
        let nanos = |time: Duration| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        self.usual.store(nanos(usual), Relaxed);
        self.usual_before.store(nanos(next), Relaxed);
        if !is_far_above(usual, next) {
            self.trial_ms.store(u64::MAX, Relaxed);
        } else if self.trial_ms.load(Relaxed) == u64::MAX {
            self.trial_ms.store(now_ms, Relaxed);
        }
    }

    /// Returns true if a lane is to be replaced on trial: all lanes are slower than before, and a new connection shows
    /// whether all instances are.
    #[inline]
    fn takes_trial(&self, now_ms: u64) -> bool {
        let trial_ms = self.trial_ms.load(Relaxed);
        now_ms >= trial_ms
            && self.trial_ms.compare_exchange(trial_ms, now_ms + TRIAL_EVERY_MS, Relaxed, Relaxed).is_ok()
    }

    /// Chooses a lane for an attempt; `None` if there are none. For a retry, lanes that may be
    /// dead come last.
    #[inline]
    pub(super) fn choose<'a>(
        &self,
        candidates: Candidates,
        is_retry: bool,
        lane: impl Fn(u32) -> &'a EndpointLoad + Copy,
        now_ms: u64,
        dice: &mut DiceRoll,
    ) -> Option<LaneChoice> {
        let Candidates { all, available, tried } = candidates;
        let set = all & available & !tried;
        let room = self.room();
        let price = |slot| lane(slot).price(now_ms);
        let is_fit = |slot| !(is_retry && self.is_in_doubt(lane(slot)));
        let chosen = if room == ONE {
            first_idle(set, lane, is_fit)
        } else if all.count_ones() < MIN_LANES && room != ANY {
            None
        } else {
            cheapest_with_room(set, room, lane, price, is_fit, dice)
        };
        let Some(slot) = chosen else {
            let is_charged = if room == ONE { set == 0 } else { choose_well(set, price, dice).is_none() };
            let otherwise = choose(candidates, price, dice)?;
            return Some(LaneChoice::Add { is_charged: is_charged && all.count_ones() > 1, otherwise });
        };
        let lane_of_slot = lane(slot);
        Some(if lane_of_slot.is_old(now_ms) && self.is_replaceable(slot, set, lane, price, dice) {
            LaneChoice::Replace { slot, is_charged: false }
        } else if self.is_suspect(lane_of_slot, is_retry, now_ms) {
            LaneChoice::Replace { slot, is_charged: true }
        } else {
            LaneChoice::Use(slot)
        })
    }

    /// True if an old lane can be replaced. If it carries other attempts, another lane has to be there for them while
    /// the new connection is established.
    #[cold]
    fn is_replaceable<'a>(
        &self,
        slot: u32,
        set: u64,
        lane: impl Fn(u32) -> &'a EndpointLoad,
        price: impl Fn(u32) -> Price,
        dice: &mut DiceRoll,
    ) -> bool {
        let is_known = |slot| lane(slot).latency().is_some();
        self.room() == ONE || choose_well(set & !(1 << slot), price, dice).is_some_and(is_known)
    }

    /// True if the connections of a lane may be dead, or may lead to a bad instance.
    #[inline]
    fn is_suspect(&self, lane: &EndpointLoad, is_retry: bool, now_ms: u64) -> bool {
        lane.health().faults() >= SUSPECT_FAULTS
            || is_retry && self.is_in_doubt(lane)
            || lane.is_silence_over(now_ms)
            || self.is_slow(lane, now_ms)
            || self.takes_trial(now_ms)
    }

    #[inline]
    fn is_slow(&self, lane: &EndpointLoad, now_ms: u64) -> bool {
        let usual = Duration::from_nanos(self.usual.load(Relaxed));
        !usual.is_zero()
            && lane.latency().is_some_and(|latency| is_far_above(latency, usual))
            && lane.is_mature(now_ms)
    }
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

/// Returns the lowest idle lane. Those with faults, and those that are not fit, come last.
#[inline]
fn first_idle<'a>(
    set: u64,
    lane: impl Fn(u32) -> &'a EndpointLoad,
    is_fit: impl Fn(u32) -> bool,
) -> Option<u32> {
    let mut unfit = None;
    for slot in slots(set).filter(|slot| lane(*slot).counts().in_flight() == 0) {
        if lane(slot).health().faults() == 0 && is_fit(slot) {
            return Some(slot);
        }
        unfit = unfit.or(Some(slot));
    }
    unfit
}

/// Returns the lane of two that has the lower price, of those with room. Those that are not fit come last.
#[inline]
fn cheapest_with_room<'a>(
    set: u64,
    room: u32,
    lane: impl Fn(u32) -> &'a EndpointLoad,
    price: impl Fn(u32) -> Price,
    is_fit: impl Fn(u32) -> bool,
    dice: &mut DiceRoll,
) -> Option<u32> {
    let with_room = slots(set).filter(|slot| lane(*slot).counts().in_flight() < room);
    let (with_room, fit) = with_room.fold((0, 0), |(with_room, fit), slot| {
        let bit = 1 << slot;
        (with_room | bit, if is_fit(slot) { fit | bit } else { fit })
    });
    choose_well(fit, &price, dice).or_else(|| choose_well(with_room & !fit, &price, dice))
}

/// Iterates over the bits of a set, the lowest first.
fn slots(mut set: u64) -> impl Iterator<Item = u32> {
    std::iter::from_fn(move || {
        let slot = set.trailing_zeros();
        set &= set.wrapping_sub(1);
        (slot < 64).then_some(slot)
    })
}
