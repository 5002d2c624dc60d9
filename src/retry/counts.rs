//! The number of attempts that a call has made, and how the next attempt counts.

use super::budget::Token;

/// The counts of a call's attempts.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct AttemptCounts {
    /// The number of retries, without resends.
    pub(super) retries: u32,
    /// The number of resends of a request that was not processed.
    pub(super) resent: u32,
    /// True if the budget has paid for the last attempt.
    pub(super) is_paid: bool,
    /// The number of requests handed to a connector.
    pub(super) attempts: u32,
    /// True if the upstream may have seen a request.
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
            Next::Resend => {
                self.resent += 1;
                self.is_paid = false;
            }
        }
    }
}

/// How the next attempt counts.
pub(super) enum Next {
    /// As a retry of the policy, paid for with a token if the layer has a budget.
    Retry(Option<Token>),
    /// As a resend: the upstream has not processed the last attempt.
    Resend,
}

impl Next {
    /// Drops the token, which goes back to the budget: no attempt follows.
    pub(super) fn give_up(&mut self) {
        *self = Self::Resend;
    }
}
