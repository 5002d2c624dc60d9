//! The counts of a call's attempts, and the kind of the next attempt: the first, a retry or a resend.

use super::budget::Token;

/// The counts of a call's attempts.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct AttemptCounts {
    /// The number of retries, without resends.
    pub(super) retries: u32,
    /// The number of resends of a request that was not processed.
    pub(super) resent: u32,
    /// True if the budget has paid for the current attempt.
    pub(super) is_paid: bool,
    /// The number of requests handed to a connector.
    pub(super) attempts: u32,
    /// True if the upstream may have seen at least one of the requests.
    pub(super) maybe_sent: bool,
}

impl AttemptCounts {
    pub(super) fn is_first_attempt(&self) -> bool {
        self.retries == 0 && self.resent == 0
    }

    /// Returns the number of the current attempt, counted from 1.
    pub(super) fn number(&self) -> u32 {
        self.retries + self.resent + 1
    }

    /// Counts the next attempt, and spends its token.
    pub(super) fn begin(&mut self, next: &mut Next) {
        match next {
            Next::Retry(token) => {
                self.retries += 1;
                self.is_paid = token.is_some();
                token.take().into_iter().for_each(Token::spend);
            }
            // A token that has paid for the request pays for its resend, too.
            Next::Resend => self.resent += 1,
            Next::First => {}
        }
    }
}

/// The kind of the next attempt.
pub(super) enum Next {
    /// The first attempt.
    First,
    /// A retry that the policy allows, with a token if the layer has a budget.
    Retry(Option<Token>),
    /// A resend, because the upstream has not processed the last attempt.
    Resend,
}

impl Next {
    /// Gives the token back to the budget, because no attempt follows.
    pub(super) fn give_up(&mut self) {
        *self = Self::Resend;
    }
}
