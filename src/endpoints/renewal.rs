//! The budget of renewals: connections that look bad are replaced, but an outage must not become a storm of new
//! connections.
//!
//! A bucket refills with time. A second bucket refills with good answers, and pays only where other lanes are better, so
//! that many bad lanes among good ones are replaced soon. In an outage, it gains no tokens.

/// The tokens of each bucket at most.
const BURST: u32 = 10;

/// The time after which the first bucket gains a token.
const EVERY_MS: u64 = 1000;

/// The good answers for which the second bucket gains a token.
const GOOD_ANSWERS: u32 = 10;

/// The token buckets for the renewals of the endpoints of one upstream.
#[derive(Debug)]
pub(super) struct Renewals {
    tokens: u32,
    refilled_ms: u64,
    /// The good answers that are worth tokens.
    earned: u32,
}

impl Renewals {
    pub(super) const fn new() -> Self {
        Self { tokens: BURST, refilled_ms: 0, earned: 0 }
    }

    /// Records good answers.
    pub(super) fn earn(&mut self, good_answers: u32) {
        self.earned = self.earned.saturating_add(good_answers).min(BURST * GOOD_ANSWERS);
    }

    /// Takes a token; false if there is none.
    pub(super) fn take(&mut self, has_better: bool, now_ms: u64) -> bool {
        if has_better && self.earned >= GOOD_ANSWERS {
            self.earned -= GOOD_ANSWERS;
            return true;
        }
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
            (from..to).step_by(10).filter(|now_ms| renewals.take(true, *now_ms)).count()
        };
        assert_eq!(taken(&mut renewals, 0, 990), 10);
        assert_eq!(taken(&mut renewals, 990, 60_990), 60);
        assert_eq!(taken(&mut renewals, u64::MAX - 500, u64::MAX - 10), 10);
    }

    #[test]
    fn ten_good_answers_pay_for_a_renewal_if_others_are_better() {
        let mut renewals = Renewals::new();
        while renewals.take(false, 0) {}
        renewals.earn(25);
        assert_eq!(
            [false, true, true, true].map(|has_better| renewals.take(has_better, 0)),
            [false, true, true, false]
        );
        renewals.earn(u32::MAX);
        assert_eq!((0..20).filter(|_| renewals.take(true, 0)).count(), 10);
    }
}
