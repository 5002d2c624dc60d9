//! The share of faults among the attempts of an endpoint, over a period.

/// The period over which the share of faults is taken.
const WINDOW_MS: u64 = 5000;

/// The faults within a period that begins with a fault.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct FaultWindow {
    begin_ms: u64,
    /// The number of attempts that had ended before the period.
    ended_before: u32,
    faults: u32,
}

impl FaultWindow {
    pub(super) fn add(&mut self, now_ms: u64, ended: u32) {
        if self.faults == 0 || now_ms.saturating_sub(self.begin_ms) >= WINDOW_MS {
            *self = Self { begin_ms: now_ms, ended_before: ended.wrapping_sub(1), faults: 0 };
        }
        self.faults += 1;
    }

    /// Returns the faults and the attempts of the period; no faults once the period is over.
    pub(super) fn of(&self, now_ms: u64, ended: u32) -> (u32, u32) {
        if self.faults == 0 || now_ms.saturating_sub(self.begin_ms) >= WINDOW_MS {
            return (0, 1);
        }
        // The count of ended attempts wraps after 24 bits.
        let attempts = ended.wrapping_sub(self.ended_before) & 0x00ff_ffff;
        (self.faults, attempts.max(self.faults))
    }
}
