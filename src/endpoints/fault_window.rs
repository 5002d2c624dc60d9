//! The share of faults among the attempts of an endpoint, over a period.

/// The period over which the share of faults is taken. After it, half of the counts are kept, so that a share never
/// rests on a few attempts. After twice the period without a fault of any endpoint, none are.
const WINDOW_MS: u64 = 5000;

/// The attempts of an endpoint and its faults within a period.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct FaultWindow {
    /// `None` before the first fault of any endpoint.
    begin_ms: Option<u64>,
    /// The number of attempts that had ended before the period.
    ended_before: u32,
    faults: u32,
}

/// The bits of a count of ended attempts, which wraps.
const ENDED: u32 = 0x00ff_ffff;

impl FaultWindow {
    /// Moves the period on. `ended` is the number of attempts that have ended so far.
    pub(super) fn roll(&mut self, now_ms: u64, ended: u32) {
        match self.begin_ms.map(|begin_ms| now_ms.saturating_sub(begin_ms)) {
            Some(age) if age < WINDOW_MS => {}
            Some(age) if age < 2 * WINDOW_MS => {
                self.begin_ms = Some(now_ms - WINDOW_MS / 2);
                self.ended_before = ended.wrapping_sub(self.attempts(ended) / 2);
                self.faults /= 2;
            }
            _ => *self = Self { begin_ms: Some(now_ms), ended_before: ended, faults: 0 },
        }
    }

    /// Counts a fault, whose attempt is among those that have ended.
    pub(super) fn add(&mut self, ended: u32) {
        if self.attempts(ended) == 0 {
            self.ended_before = ended.wrapping_sub(1);
        }
        self.faults += 1;
    }

    /// Returns the faults and the attempts of the period.
    pub(super) fn counts(&self, ended: u32) -> (u32, u32) {
        (self.faults, self.attempts(ended).max(self.faults))
    }

    /// Returns the faults and the attempts of the period; zeros if it is over.
    pub(super) fn recent_counts(&self, now_ms: u64, ended: u32) -> (u32, u32) {
        let is_recent = self.begin_ms.is_some_and(|begin_ms| now_ms.saturating_sub(begin_ms) < 2 * WINDOW_MS);
        if is_recent { self.counts(ended) } else { (0, 0) }
    }

    const fn attempts(&self, ended: u32) -> u32 {
        ended.wrapping_sub(self.ended_before) & ENDED
    }
}
