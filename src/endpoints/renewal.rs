//! The budget of renewals: connections that look dead are replaced, but an outage must not become a storm of new
//! connections.

/// The renewals that can follow one another at once.
const BURST: u32 = 10;

/// The time after which the bucket gains a token.
const EVERY_MS: u64 = 1000;

/// A token bucket for the renewals of the endpoints of one upstream.
#[derive(Debug)]
pub(super) struct Renewals {
    tokens: u32,
    refilled_ms: u64,
}

impl Renewals {
    pub(super) const fn new() -> Self {
        Self { tokens: BURST, refilled_ms: 0 }
    }

    /// Takes a token; false if there is none.
    pub(super) fn take(&mut self, now_ms: u64) -> bool {
        let refills = now_ms.saturating_sub(self.refilled_ms) / EVERY_MS;
        self.refilled_ms += refills * EVERY_MS;
        let refills = u32::try_from(refills).unwrap_or(BURST);
        self.tokens = self.tokens.saturating_add(refills).min(BURST);
        let has_token = self.tokens > 0;
        self.tokens -= u32::from(has_token);
        has_token
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_outage_renews_once_a_second_after_the_burst() {
        let mut renewals = Renewals::new();
        let taken = |renewals: &mut Renewals, from: u64, to: u64| {
            (from..to).step_by(10).filter(|now_ms| renewals.take(*now_ms)).count()
        };
        assert_eq!(taken(&mut renewals, 0, 990), 10);
        assert_eq!(taken(&mut renewals, 990, 60_990), 60);
        assert_eq!(taken(&mut renewals, u64::MAX - 500, u64::MAX - 10), 10);
    }
}
