//! How many attempts a call has made, and how the next one counts.

use super::budget::Token;

/// The attempts so far, in numbers.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct History {
    /// How many retries of the policy were made.
    pub(super) retries: u32,
    /// How often the request was sent again because it had not been processed.
    pub(super) resent: u32,
    /// Whether the budget has paid for the last attempt.
    pub(super) is_paid: bool,
    /// How many requests were handed to a connector.
    pub(super) attempts: u32,
    /// Whether the upstream may have seen any of them.
    pub(super) maybe_sent: bool,
}

impl History {
    pub(super) fn is_first_attempt(&self) -> bool {
        self.retries == 0 && self.resent == 0
    }

    /// The number of the attempt that is under way.
    pub(super) fn number(&self) -> u32 {
        self.retries + self.resent + 1
    }

    /// The next attempt is being sent.
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
    /// As a retry of the policy, and for this token of the budget, if there is one.
    Retry(Option<Token>),
    /// The upstream has not processed the attempt before.
    Resend,
}

impl Next {
    /// There will be no next attempt: its token goes back.
    pub(super) fn give_up(&mut self) {
        *self = Self::Resend;
    }
}
