//! The load of one endpoint: its attempts in flight, its latency, and its health in short.
//!
//! The latency is the peak EWMA of the times until the head of an answer. The price of an endpoint is its latency,
//! times the number of its attempts in flight plus one, as in Finagle and tower. The cheaper one of two endpoints
//! gets the attempt.
//!
//! # The latency
//!
//! - A time above the average raises the average at once, by a third at most; a shorter time moves it slowly. So an
//!   endpoint that turns slow loses its attempts after a few answers, and one slow answer alone costs none.
//! - The average that counts for the price halves every two seconds since the last attempt that has ended; while an
//!   answer is awaited, only once the average has passed since then. So an endpoint that was slow once is tried again.
//! - A fault, a failure of the application, a throttled answer and an attempt that was given up never count with a time
//!   below the average, because an endpoint that fails at once would look like the fastest. The average is kept. A
//!   fault makes the endpoint four times as expensive until the next success.
//! - A new endpoint costs nothing while it is idle, and a second for each attempt while its first answer is awaited. So
//!   the endpoint gets one attempt, and its share after the first answer. If the first attempts fail, it costs 50 ms,
//!   which halve every half second.
//! - An endpoint is silent if an attempt that began after its last answer has waited for five times the latency,
//!   and for at least 50 ms. Its price is then no less than the time of the silence. Attempts that began before the
//!   last answer make no silence, since their route may be slow. For the same reason, the silence ends by itself: for
//!   each of up to four attempts that wait, after eight times as long. It can begin again with the next attempt. A lane
//!   in which four attempts wait is silent after twice the latency, because leaving out a lane costs little.
//!
//! # Memory ordering
//!
//! Every access is relaxed. Each word is independent and orders no other memory. A lost update of the average costs a
//! sample.

use tokio::time::Instant;

use super::load_words::{
    BODY_OPEN, ENDED, HEAD_AWAITED, HealthWord, LoadCounts, UNIT, decayed, elapsed, low_bits, pack_latency,
    ticks_of, to_ticks, to_units, unpack_latency,
};
use crate::internal::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::Relaxed};

/// The price of each attempt while the first answer of an endpoint is awaited: 1 s.
const UNKNOWN: u64 = 1_000_000_000 / UNIT;

/// The price of an endpoint whose first attempt has failed, before the factor for faults: 50 ms.
const FAILED_FIRST: u64 = 50_000_000 / UNIT;

/// The least price of each attempt at an ejected endpoint: 250 ms.
const EJECTED: u64 = 250_000_000 / UNIT;

/// The threshold of a silence, as a multiple of the latency.
const SILENT_TIMES: u64 = 5;

/// The same for a lane in which several attempts wait. It is soon clear that such a lane answers none, and a lane
/// that is left out by mistake costs little.
const BUSY_LANE_SILENT_TIMES: u64 = 2;

/// The number of attempts from which on a lane is busy.
const BUSY: u32 = 4;

/// For each attempt that waits, a silence ends after this multiple of its threshold.
const SILENCE_LASTS: u64 = 8;

/// The largest number of waiting attempts that lengthen a silence. Most of them may be slow calls that began earlier.
const MOST_LASTING: u32 = 4;

/// An endpoint is never silent before this time, in milliseconds.
const MIN_SILENCE_MS: u64 = 50;

/// An answer is recent for this time, in milliseconds.
const RECENTLY_MS: u64 = 1000;

/// The load of one endpoint. Starts on a cache line of its own.
#[derive(Debug)]
#[repr(align(64))]
pub(super) struct EndpointLoad {
    /// From the lowest bit: 20 bits of attempts that wait for the head of their answer, 20 bits of bodies that are
    /// being read, and 24 bits of answers and faults so far.
    counts: AtomicU64,
    /// 32 bits of the average, in units; zero if no answer is known. 32 bits of the time of the last sample, or of
    /// the last attempt without one, in units of 2^4 ms; zero if there is none.
    latency: AtomicU64,
    /// The time of the last answer, in milliseconds.
    answered_at: AtomicU64,
    /// The time of the last good head, in milliseconds.
    good_head_at: AtomicU64,
    /// The start of the first attempt after the last answer, in milliseconds. Zero if there is none.
    unanswered_since: AtomicU32,
    /// The time from which the endpoint is eased in, in milliseconds.
    eased_from: AtomicU64,
    /// A [`HealthWord`].
    health: AtomicU32,
    /// True for a lane that leads to a worse instance than others. It is replaced.
    is_condemned: AtomicBool,
    lifetime: EndpointLifetime,
}

/// The times, in milliseconds, at which an endpoint was added and is replaced.
#[derive(Debug, Clone, Copy)]
pub(super) struct EndpointLifetime {
    pub(super) born_ms: u64,
    /// `u64::MAX` for an endpoint that is no lane.
    pub(super) expires_ms: u64,
    /// The wait for the first answer after which the endpoint is silent.
    pub(super) first_silence_ms: u64,
}

/// The phase of a time without an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Silence {
    NotYet,
    Silent,
    Over,
}

impl EndpointLifetime {
    const fn is_lane(self) -> bool {
        self.expires_ms != u64::MAX
    }

    /// The lifetime of an endpoint that is no lane.
    pub(super) const fn endless(born_ms: u64) -> Self {
        Self { born_ms, expires_ms: u64::MAX, first_silence_ms: silent_after_ms(UNKNOWN, SILENT_TIMES) }
    }
}

/// The price of an endpoint for the next attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Price {
    pub(super) units: u64,
    pub(super) is_silent: bool,
}

impl EndpointLoad {
    pub(super) fn new(lifetime: EndpointLifetime) -> Self {
        Self {
            counts: AtomicU64::new(0),
            latency: AtomicU64::new(0),
            answered_at: AtomicU64::new(0),
            good_head_at: AtomicU64::new(0),
            unanswered_since: AtomicU32::new(0),
            eased_from: AtomicU64::new(0),
            health: AtomicU32::new(HealthWord::new(0, false, 0).0),
            is_condemned: AtomicBool::new(false),
            lifetime,
        }
    }

    pub(super) const fn is_lane(&self) -> bool {
        self.lifetime.is_lane()
    }

    pub(super) const fn is_old(&self, now_ms: u64) -> bool {
        now_ms >= self.lifetime.expires_ms
    }

    pub(super) const fn age_ms(&self, now_ms: u64) -> u64 {
        now_ms.saturating_sub(self.lifetime.born_ms)
    }

    pub(super) fn counts(&self) -> LoadCounts {
        LoadCounts::unpack(self.counts.load(Relaxed))
    }

    pub(super) fn health(&self) -> HealthWord {
        HealthWord(self.health.load(Relaxed))
    }

    /// Changes the health. Called under the lock of the group.
    pub(super) fn set_health(&self, health: HealthWord) {
        self.health.store(health.0, Relaxed);
    }

    /// Returns the average time of answers; `None` if no answer is known.
    pub(super) fn latency(&self) -> Option<std::time::Duration> {
        let units = self.latency.load(Relaxed) >> 32;
        (units > 0).then(|| std::time::Duration::from_nanos(units * UNIT))
    }

    /// Counts an attempt that begins.
    #[inline]
    pub(super) fn begin(&self, now_ms: u32) {
        let before = self.counts.fetch_add(HEAD_AWAITED, Relaxed);
        self.begun(LoadCounts::unpack(before), now_ms);
    }

    /// Counts an attempt that begins, unless `room` attempts are in flight.
    #[inline]
    pub(super) fn begin_within(&self, room: u32, now_ms: u32) -> bool {
        if room == u32::MAX {
            self.begin(now_ms);
            return true;
        }
        let mut word = self.counts.load(Relaxed);
        while LoadCounts::unpack(word).in_flight() < room {
            match self.counts.compare_exchange(word, word + HEAD_AWAITED, Relaxed, Relaxed) {
                Ok(before) => {
                    self.begun(LoadCounts::unpack(before), now_ms);
                    return true;
                }
                Err(current) => word = current,
            }
        }
        false
    }

    #[inline]
    fn begun(&self, before: LoadCounts, now_ms: u32) {
        let (since, awaited) = (self.unanswered_since.load(Relaxed), before.awaited);
        if awaited == 0 || since == 0 || self.silence(since, awaited, now_ms).1 == Silence::Over {
            self.unanswered_since.store(now_ms.max(1), Relaxed);
        }
    }

    /// True if attempts have waited for so long that the silence is over.
    #[inline]
    pub(super) fn is_silence_over(&self, now_ms: u64) -> bool {
        let (awaited, since) = (self.counts().awaited, self.unanswered_since.load(Relaxed));
        awaited > 0 && since != 0 && self.silence(since, awaited, low_bits(now_ms)).1 == Silence::Over
    }

    /// Marks a lane that leads to a worse instance than others.
    pub(super) fn condemn(&self) {
        self.is_condemned.store(true, Relaxed);
    }

    pub(super) fn is_condemned(&self) -> bool {
        self.is_condemned.load(Relaxed)
    }

    /// True if the endpoint is older than this time, and has given no good answer since.
    pub(super) fn is_in_doubt_since(&self, since_ms: u64) -> bool {
        self.lifetime.born_ms < since_ms && !self.has_good_answer_since(since_ms)
    }

    /// Returns the milliseconds without an answer since an attempt began, and the phase of the silence.
    fn silence(&self, since: u32, awaited: u32, now_ms: u32) -> (u64, Silence) {
        let (average, _) = unpack_latency(self.latency.load(Relaxed));
        let is_busy_lane = awaited >= BUSY && self.lifetime.is_lane();
        let after = match average {
            0 => self.lifetime.first_silence_ms,
            _ if is_busy_lane => silent_after_ms(average, BUSY_LANE_SILENT_TIMES),
            _ => silent_after_ms(average, SILENT_TIMES),
        };
        let silence = u64::from(elapsed(since, now_ms));
        let phase = if silence <= after {
            Silence::NotYet
        } else if silence <= SILENCE_LASTS * after * u64::from(awaited.clamp(1, MOST_LASTING)) {
            Silence::Silent
        } else {
            Silence::Over
        };
        (silence, phase)
    }

    /// Counts the head of an answer. The body is counted until [`body_ended`](Self::body_ended).
    #[inline]
    pub(super) fn answered(&self, now_ms: u64) {
        self.counts.fetch_add(BODY_OPEN + ENDED - HEAD_AWAITED, Relaxed);
        self.answered_at.store(now_ms, Relaxed);
        self.unanswered_since.store(0, Relaxed);
    }

    /// Counts the end of a body.
    #[inline]
    pub(super) fn body_ended(&self) {
        self.counts.fetch_sub(BODY_OPEN, Relaxed);
    }

    /// Counts an attempt that ends without an answer.
    pub(super) fn failed(&self, now_ms: u64) {
        self.counts.fetch_add(ENDED - HEAD_AWAITED, Relaxed);
        self.restart_decay(now_ms);
    }

    /// Restarts the decay of the average, which is kept. Without this, an endpoint that never has a good answer would
    /// become the cheapest.
    pub(super) fn restart_decay(&self, now_ms: u64) {
        let word = self.latency.load(Relaxed);
        let (average, _) = unpack_latency(word);
        let _ = self.latency.compare_exchange(word, pack_latency(average, now_ms), Relaxed, Relaxed);
    }

    /// Records that the head of an answer is good.
    #[inline]
    pub(super) fn good_head(&self, now_ms: u64) {
        self.good_head_at.store(now_ms, Relaxed);
    }

    pub(super) fn good_head_ms(&self) -> u64 {
        self.good_head_at.load(Relaxed)
    }

    /// True if the endpoint has answered since this time.
    pub(super) fn has_answered_since(&self, since_ms: u64) -> bool {
        self.answered_at.load(Relaxed) > since_ms
    }

    /// True if the endpoint has given a good answer since this time.
    pub(super) fn has_good_answer_since(&self, since_ms: u64) -> bool {
        self.good_head_at.load(Relaxed) > since_ms
    }

    /// True if the last good answer is recent.
    pub(super) fn is_answering(&self, now_ms: u64) -> bool {
        let good_head_at = self.good_head_at.load(Relaxed);
        good_head_at > 0 && now_ms.saturating_sub(good_head_at) < RECENTLY_MS
    }

    /// True if the first answer is awaited, and not yet for long.
    pub(super) fn is_new(&self, now_ms: u64, not_longer_ms: u32) -> bool {
        let since = self.unanswered_since.load(Relaxed);
        self.latency().is_none()
            && self.counts().awaited > 0
            && elapsed(since, low_bits(now_ms)) <= not_longer_ms
    }

    /// Returns the milliseconds since the last answer if nothing is in flight; `None` before the first answer.
    #[inline]
    pub(super) fn rests_for(&self, now_ms: u64) -> Option<u64> {
        let answered_at = self.answered_at.load(Relaxed);
        (answered_at > 0 && self.counts().in_flight() == 0).then(|| now_ms.saturating_sub(answered_at))
    }

    /// Begins to ease the endpoint in.
    pub(super) fn ease_in(&self, now_ms: u64) {
        self.eased_from.store(now_ms, Relaxed);
    }

    /// Returns the milliseconds since the endpoint was added, or has returned.
    pub(super) fn eased_for(&self, now_ms: u64) -> u64 {
        now_ms.saturating_sub(self.eased_from.load(Relaxed))
    }

    /// Removes an attempt without a result from the counts. The decay of the average is up to the caller.
    pub(super) fn withdrawn(&self) {
        self.counts.fetch_sub(HEAD_AWAITED, Relaxed);
    }

    /// Takes the time of an answer into the average.
    #[inline]
    pub(super) fn sample(&self, took: std::time::Duration, now_ms: u64) {
        let sample = to_units(took);
        let word = self.latency.load(Relaxed);
        let (average, at) = unpack_latency(word);
        let average = if average == 0 {
            sample
        } else if sample >= average {
            // One slow answer makes no clear difference; see `choice.rs`.
            sample.min(average + (average / 3).max(1))
        } else {
            sample + decayed(average - sample, elapsed(at, to_ticks(now_ms)))
        };
        let next = pack_latency(average, now_ms);
        // If another answer changes the word at the same time, that answer counts alone.
        let _ = self.latency.compare_exchange(word, next, Relaxed, Relaxed);
    }

    /// Takes the time of an attempt without a good answer into the average if the time is longer: a good answer would
    /// have taken at least as long. A shorter time only restarts the decay.
    pub(super) fn sample_at_least(&self, took: std::time::Duration, now_ms: u64) {
        let (average, _) = unpack_latency(self.latency.load(Relaxed));
        if average != 0 && to_units(took) >= average {
            self.sample(took, now_ms);
        } else {
            self.restart_decay(now_ms);
        }
    }

    /// Returns the price of the next attempt.
    #[inline]
    pub(super) fn price(&self, now_ms: u64) -> Price {
        let counts = self.counts();
        let health = self.health();
        let (average, at) = unpack_latency(self.latency.load(Relaxed));
        let in_flight = u64::from(counts.in_flight());
        let idle = elapsed(at, to_ticks(now_ms));
        let mut each = match (average, in_flight) {
            (0, 0) if at == 0 => return Price { units: 0, is_silent: false },
            // The endpoint has only failed so far. The price falls fast, so that the endpoint is tried again.
            (0, 0) => decayed(FAILED_FIRST, idle.saturating_mul(4)),
            (0, _) => UNKNOWN,
            // While an answer is awaited, the decay begins only when an answer is overdue.
            (_, _) if counts.awaited > 0 => decayed(average, idle.saturating_sub(ticks_of(average))),
            (_, _) => decayed(average, idle),
        };
        let mut is_silent = false;
        let since = self.unanswered_since.load(Relaxed);
        if counts.awaited > 0 && since != 0 {
            let (silence, phase) = self.silence(since, counts.awaited, low_bits(now_ms));
            if phase == Silence::Silent {
                each = each.max(silence * 1_000_000 / UNIT);
                is_silent = true;
            }
        }
        if health.faults() > 0 {
            each *= 4;
        }
        if health.is_ejected() {
            each = each.max(EJECTED);
        }
        Price { units: each * (in_flight + 1), is_silent }
    }
}

/// Returns `now` in milliseconds since `epoch`. An instant before the epoch counts as the epoch.
#[allow(clippy::cast_possible_truncation)]
pub(super) fn millis_since(epoch: Instant, now: Instant) -> u64 {
    let since = now.saturating_duration_since(epoch);
    since.as_secs().wrapping_mul(1000).wrapping_add(u64::from(since.subsec_millis()))
}

/// Returns the threshold of a silence, in milliseconds, for an endpoint with this latency.
const fn silent_after_ms(usual: u64, times: u64) -> u64 {
    let after = times * usual * UNIT / 1_000_000;
    if after > MIN_SILENCE_MS { after } else { MIN_SILENCE_MS }
}

#[cfg(test)]
mod tests;
