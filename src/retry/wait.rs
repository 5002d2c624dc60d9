//! The wait before a retry, with the retry's token.

use std::pin::Pin;
use std::task::{Context, Poll};

use pin_project::pin_project;
use tokio::time::Instant;

use super::budget::Token;
use crate::internal::clock::Timer;

/// The wait before a retry. Meanwhile, the rest of the discarded response is read.
#[pin_project]
pub(super) struct BackoffWait<L> {
    #[pin]
    timer: Timer,
    #[pin]
    leftover: Option<L>,
    token: Option<Token>,
}

impl<L> BackoffWait<L> {
    pub(super) const fn new(until: Option<Instant>, leftover: Option<L>, token: Option<Token>) -> Self {
        Self { timer: Timer::new(until), leftover, token }
    }
}

impl<L: Future<Output = ()>> BackoffWait<L> {
    /// Ready at the end of the wait, with the retry's token; `None` if the layer has no budget.
    pub(super) fn poll_over(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Token>> {
        let mut this = self.project();
        if let Some(reading) = this.leftover.as_mut().as_pin_mut() {
            if reading.poll(cx).is_ready() {
                this.leftover.set(None);
            }
        }
        this.timer.poll_elapsed(cx).map(|()| this.token.take())
    }
}
