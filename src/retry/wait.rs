//! The wait before a retry, with the retry's token and the response in hand.

use std::pin::Pin;
use std::task::{Context, Poll};

use pin_project::pin_project;
use tokio::time::Instant;

use super::budget::Token;
use crate::internal::clock::Timer;

/// The wait before a retry. Meanwhile, the response of the last attempt is read into memory.
#[pin_project]
pub(super) struct BackoffWait<H, R> {
    #[pin]
    timer: Timer,
    /// Reads the response. `None` if the attempt ended with an error, and once the response is held or given up.
    #[pin]
    hold: Option<H>,
    in_hand: Option<Box<R>>,
    token: Option<Token>,
}

/// The token and the response that outlast the wait.
pub(super) struct AfterWait<R> {
    /// The token of the retry; `None` if the layer has no budget.
    pub(super) token: Option<Token>,
    /// The response of the last attempt, if it is in memory.
    pub(super) in_hand: Option<Box<R>>,
}

impl<H, R> BackoffWait<H, R> {
    pub(super) const fn new(until: Option<Instant>, hold: Option<H>, token: Option<Token>) -> Self {
        Self { timer: Timer::new(until), hold, in_hand: None, token }
    }
}

impl<H: Future<Output = Option<R>>, R> BackoffWait<H, R> {
    /// Ready at the end of the wait. A response that is not in memory by then is given up.
    pub(super) fn poll_over(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<AfterWait<R>> {
        let mut this = self.project();
        if let Some(hold) = this.hold.as_mut().as_pin_mut() {
            if let Poll::Ready(response) = hold.poll(cx) {
                *this.in_hand = response.map(Box::new);
                this.hold.set(None);
            }
        }
        this.timer
            .poll_elapsed(cx)
            .map(|()| AfterWait { token: this.token.take(), in_hand: this.in_hand.take() })
    }
}
