//! The state of a group's lanes: the protocol, what is usual, and what was observed of all of them. The choice among
//! lanes is in `lane_choice.rs`.
//!
//! The number of attempts in one lane, its room, depends on the protocol.
//!
//! # Memory ordering
//!
//! Every access is relaxed. The words are independent, and an old value costs a connection at most.

use std::time::Duration;

use http::Version;

use super::choice::DiceRoll;
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
pub(super) const ONE: u32 = 1;

/// The number of attempts in a lane over HTTP/2. Most servers allow 100 streams or more.
pub(super) const STREAMS: u32 = 50;

/// The least number of lanes over HTTP/2, so that a retry has another connection.
pub(super) const MIN_LANES: u32 = 2;

/// A lane is slow if its latency is this multiple of the usual latency, plus [`SLOWER_BY`].
const SLOW_TIMES: u32 = 4;

const SLOWER_BY: Duration = Duration::from_millis(5);

/// The latency of a lane counts after this number of answers, and after this time. The first answer contains the time
/// to connect.
const MATURE_ANSWERS: u32 = 8;

const MATURE_MS: u64 = 3000;

/// While all lanes are slower than before, or fail, one is replaced on trial after this interval.
const TRIAL_EVERY_MS: u64 = 5000;

/// A new lane is silent if its first answer takes longer than twice the usual latency, and than this time, in which
/// its connection is established.
const FIRST_SILENCE_MS: u64 = 250;

/// The same while no latency is known.
const UNKNOWN_SILENCE_MS: u64 = 5000;

/// The interval between two updates of the usual latency.
const UPKEEP_EVERY_MS: u64 = 250;

/// A lane without an attempt for this time is removed.
const UNUSED_MS: u64 = 60_000;

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

    /// True if no lane has given a good answer to several attempts, and this one has given none since.
    #[inline]
    pub(super) fn is_failing(&self, lane: &EndpointLoad) -> bool {
        lane.is_in_doubt_since(self.failing_since_ms.load(Relaxed))
    }

    /// True if an attempt has got no answer, and this lane has given no good one since.
    #[inline]
    pub(super) fn may_be_dead(&self, lane: &EndpointLoad) -> bool {
        lane.is_in_doubt_since(self.silent_since_ms.load(Relaxed))
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
    pub(super) fn takes_trial(&self, now_ms: u64) -> bool {
        let trial_ms = self.trial_ms.load(Relaxed);
        now_ms >= trial_ms
            && self.trial_ms.compare_exchange(trial_ms, now_ms + TRIAL_EVERY_MS, Relaxed, Relaxed).is_ok()
    }

    /// True if a lane is much slower than others.
    #[inline]
    pub(super) fn is_slow(&self, lane: &EndpointLoad, now_ms: u64) -> bool {
        let usual = Duration::from_nanos(self.usual.load(Relaxed));
        !usual.is_zero()
            && lane.latency().is_some_and(|latency| is_far_above(latency, usual))
            && lane.is_mature(now_ms)
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
pub(super) fn slots(mut set: u64) -> impl Iterator<Item = u32> {
    std::iter::from_fn(move || {
        let slot = set.trailing_zeros();
        set &= set.wrapping_sub(1);
        (slot < 64).then_some(slot)
    })
}
