//! The choice of a lane for an attempt, and when a lane is added or replaced; see the [module](super).
//!
//! A bad lane gets an attempt only if no new lane can be made.

use super::choice::{Candidates, DiceRoll, choose, choose_well};
use super::lanes::{ANY, Lanes, MIN_LANES, ONE, STREAMS, slots};
use super::load::{EndpointLoad, Price};

/// While all lanes look bad, so many new ones may wait for their first answer. They can be bad, too.
const MAX_WAITING: u32 = 4;

/// A lane is bad after this number of faults in a row. A single one may be that of a route.
const BAD_FAULTS: u32 = 2;

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

/// Chooses a lane for an attempt. `lane` returns the load of a lane.
pub(super) struct LaneChooser<'a, L> {
    pub(super) lanes: &'a Lanes,
    pub(super) candidates: Candidates,
    pub(super) lane: L,
    pub(super) is_retry: bool,
    pub(super) now_ms: u64,
    pub(super) dice: &'a mut DiceRoll,
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

impl<'a, L: Fn(u32) -> &'a EndpointLoad + Copy> LaneChooser<'_, L> {
    /// Returns the choice; `None` if there are no lanes.
    #[inline]
    pub(super) fn choose(mut self) -> Option<LaneChoice> {
        if self.lanes.room() == ONE { self.choose_idle() } else { self.choose_shared() }
    }

    /// Chooses the lowest idle lane. Lanes with a fault come second.
    #[inline]
    fn choose_idle(&mut self) -> Option<LaneChoice> {
        let (mut second, mut bad) = (None, None);
        for slot in slots(self.candidates.untried_available()) {
            let load = (self.lane)(slot);
            if load.counts().in_flight() > 0 {
                continue;
            }
            if self.is_bad(load) {
                bad = bad.or(Some(slot));
            } else if load.health().faults() == 0 {
                return Some(self.use_or_replace(slot, true));
            } else {
                second = second.or(Some(slot));
            }
        }
        match second {
            Some(slot) => Some(self.use_or_replace(slot, true)),
            None => self.choose_without_idle(bad),
        }
    }

    /// Chooses if each lane is busy or bad. While another lane works, a new lane is an ordinary new connection, and takes
    /// no token.
    #[cold]
    fn choose_without_idle(&mut self, bad: Option<u32>) -> Option<LaneChoice> {
        let all = self.candidates.all;
        let Some(slot) = bad else {
            let otherwise = self.cheapest()?;
            let is_charged = self.candidates.untried_available() == 0 && all.count_ones() > 1;
            return Some(LaneChoice::Add { is_charged, otherwise });
        };
        let is_well = |slot: u32| {
            let load = (self.lane)(slot);
            load.is_answering(self.now_ms) && !self.is_bad(load)
        };
        let is_full = all.count_ones() as usize >= self.lanes.max();
        Some(if is_full || !slots(all).any(is_well) {
            LaneChoice::Replace { slot, is_charged: true, otherwise: slot }
        } else {
            LaneChoice::Add { is_charged: false, otherwise: slot }
        })
    }

    /// Chooses the cheaper of two lanes with room.
    #[inline]
    fn choose_shared(&mut self) -> Option<LaneChoice> {
        let sorted = self.sort();
        let Some(slot) = self.cheapest_well(sorted.fit_and_needed()) else {
            return self.choose_without_fit(sorted);
        };
        if self.lanes.room() == ANY {
            return Some(LaneChoice::Use(slot));
        }
        let load = (self.lane)(slot);
        let is_used = load.counts().in_flight() > 0 || load.latency().is_some();
        if self.candidates.all.count_ones() < MIN_LANES && is_used {
            return Some(LaneChoice::Add { is_charged: false, otherwise: slot });
        }
        if sorted.fit.count_ones() < MIN_LANES && sorted.bad != 0 && sorted.waiting == 0 {
            let bad = sorted.bad.trailing_zeros();
            return Some(LaneChoice::Replace { slot: bad, is_charged: true, otherwise: slot });
        }
        Some(self.use_or_replace(slot, sorted.fit & !(1 << slot) != 0))
    }

    /// Chooses if no lane is fit: those that work are full, or all look bad.
    #[cold]
    fn choose_without_fit(&mut self, lanes: SortedLanes) -> Option<LaneChoice> {
        // A connection that is being established is better than one that is known to be bad.
        let otherwise = self.cheapest_well(lanes.full | lanes.waiting).or_else(|| self.cheapest())?;
        if lanes.full != 0 || self.candidates.all.count_ones() < MIN_LANES {
            return Some(LaneChoice::Add { is_charged: false, otherwise });
        }
        let looks_bad = lanes.bad | lanes.silent != 0;
        if lanes.waiting != 0 && (!looks_bad || lanes.waiting.count_ones() >= MAX_WAITING) {
            return Some(LaneChoice::Share(otherwise));
        }
        Some(match lanes.bad {
            // A silent lane may only have a slow route.
            0 => LaneChoice::Add { is_charged: true, otherwise },
            _ => LaneChoice::Replace { slot: lanes.bad.trailing_zeros(), is_charged: true, otherwise },
        })
    }

    fn sort(&self) -> SortedLanes {
        let room = self.lanes.room();
        let mut sorted = SortedLanes::default();
        for slot in slots(self.candidates.untried_available()) {
            let (load, bit) = ((self.lane)(slot), 1 << slot);
            let in_flight = load.counts().in_flight();
            sorted.in_flight += in_flight;
            let set = if self.is_bad(load) {
                &mut sorted.bad
            } else if load.price(self.now_ms).is_silent {
                &mut sorted.silent
            } else if load.latency().is_none() && in_flight > 0 && room != ANY {
                &mut sorted.waiting
            } else if in_flight < room {
                &mut sorted.fit
            } else {
                &mut sorted.full
            };
            *set |= bit;
        }
        sorted
    }

    /// Uses a lane, unless it is old or slow.
    #[inline]
    fn use_or_replace(&self, slot: u32, others_carry_its_load: bool) -> LaneChoice {
        let load = (self.lane)(slot);
        if load.is_old(self.now_ms) && others_carry_its_load {
            LaneChoice::Replace { slot, is_charged: false, otherwise: slot }
        } else if self.lanes.is_slow(load, self.now_ms) || self.lanes.takes_trial(self.now_ms) {
            LaneChoice::Replace { slot, is_charged: true, otherwise: slot }
        } else {
            LaneChoice::Use(slot)
        }
    }

    /// True if the connections of a lane may be dead, or may lead to a bad instance.
    #[inline]
    fn is_bad(&self, load: &EndpointLoad) -> bool {
        load.health().faults() >= BAD_FAULTS
            || load.is_condemned()
            || self.lanes.is_failing(load)
            || self.is_retry && self.lanes.may_be_dead(load)
            || load.is_silence_over(self.now_ms)
    }

    /// Returns a cheap lane of a set that is not silent.
    #[inline]
    fn cheapest_well(&mut self, set: u64) -> Option<u32> {
        choose_well(set, price(self.lane, self.now_ms), self.dice)
    }

    /// Returns a cheap lane, whatever its state.
    fn cheapest(&mut self) -> Option<u32> {
        choose(self.candidates, price(self.lane, self.now_ms), self.dice)
    }
}

fn price<'a>(lane: impl Fn(u32) -> &'a EndpointLoad, now_ms: u64) -> impl Fn(u32) -> Price {
    move |slot| lane(slot).price(now_ms)
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
