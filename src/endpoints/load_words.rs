//! The packed words of an endpoint's load, and their arithmetic. Nothing here is shared or changes by itself.

/// The unit of the latency, in nanoseconds. A `u32` holds up to 274 s.
pub(super) const UNIT: u64 = 64;

/// The unit of the time of the last sample: 2^4 ms.
const TICK_BITS: u32 = 4;

/// The half-life of the average of an idle endpoint: 2^11 ms.
const HALF_LIFE_BITS: u32 = 11 - TICK_BITS;

pub(super) const HEAD_AWAITED: u64 = 1;
pub(super) const BODY_OPEN: u64 = 1 << 20;
pub(super) const ENDED: u64 = 1 << 40;

/// The numbers of an endpoint's attempts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct LoadCounts {
    /// The attempts that wait for the head of their answer.
    pub(super) awaited: u32,
    /// The bodies that are being read.
    pub(super) open_bodies: u32,
    /// The answers and faults so far, modulo 2²⁴.
    pub(super) ended: u32,
}

#[allow(clippy::cast_possible_truncation)]
impl LoadCounts {
    pub(super) const fn unpack(word: u64) -> Self {
        Self {
            awaited: (word & (BODY_OPEN - 1)) as u32,
            open_bodies: ((word >> 20) & (BODY_OPEN - 1)) as u32,
            ended: (word >> 40) as u32,
        }
    }

    pub(super) const fn in_flight(self) -> u32 {
        self.awaited + self.open_bodies
    }
}

/// The health of an endpoint in a word: 24 bits of the generation, the flag of an ejected endpoint, and seven bits of
/// the faults in a row.
///
/// A generation ends with an ejection and with a return. The result of an attempt of an earlier generation is
/// ignored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct HealthWord(pub(super) u32);

impl HealthWord {
    const EJECTED: u32 = 0x80;
    const FAULTS: u32 = 0x7f;

    pub(super) const fn new(generation: u32, is_ejected: bool, faults: u32) -> Self {
        let faults = if faults > Self::FAULTS { Self::FAULTS } else { faults };
        Self(generation << 8 | if is_ejected { Self::EJECTED } else { 0 } | faults)
    }

    pub(super) const fn generation(self) -> u32 {
        self.0 >> 8
    }

    pub(super) const fn is_ejected(self) -> bool {
        self.0 & Self::EJECTED != 0
    }

    /// Returns the faults in a row, at most 127.
    pub(super) const fn faults(self) -> u32 {
        self.0 & Self::FAULTS
    }

    /// True if a success changes nothing.
    pub(super) const fn is_well(self) -> bool {
        self.0 & (Self::EJECTED | Self::FAULTS) == 0
    }
}

#[allow(clippy::cast_possible_truncation)]
pub(super) const fn low_bits(millis: u64) -> u32 {
    millis as u32
}

pub(super) fn to_units(time: std::time::Duration) -> u64 {
    let nanos = time.as_secs().saturating_mul(1_000_000_000).saturating_add(u64::from(time.subsec_nanos()));
    (nanos / UNIT).clamp(1, u64::from(u32::MAX))
}

pub(super) fn pack_latency(average: u64, now_ms: u64) -> u64 {
    average << 32 | u64::from(to_ticks(now_ms).max(1))
}

#[allow(clippy::cast_possible_truncation)]
pub(super) const fn unpack_latency(word: u64) -> (u64, u32) {
    (word >> 32, word as u32)
}

/// Returns a time in units of 2^4 ms. They wrap after two years.
pub(super) const fn to_ticks(millis: u64) -> u32 {
    low_bits(millis >> TICK_BITS)
}

/// Returns an average in units of 2^4 ms, some four per cent too low.
#[allow(clippy::cast_possible_truncation)]
pub(super) const fn ticks_of(average: u64) -> u32 {
    (average >> 18) as u32
}

/// Returns the time from `at` to `now`, which both wrap. If `now` was read before `at`, no time has passed.
pub(super) const fn elapsed(at: u32, now: u32) -> u32 {
    let elapsed = now.wrapping_sub(at);
    if elapsed > u32::MAX / 2 { 0 } else { elapsed }
}

/// Halves `value` for each half-life, with linear interpolation between half-lives. This takes no floating-point
/// arithmetic.
#[inline]
pub(super) const fn decayed(value: u64, elapsed: u32) -> u64 {
    let halvings = elapsed >> HALF_LIFE_BITS;
    if halvings >= 32 {
        return 0;
    }
    let rest = (elapsed & ((1 << HALF_LIFE_BITS) - 1)) as u64;
    let whole = value >> halvings;
    whole - ((whole * rest) >> (HALF_LIFE_BITS + 1))
}
