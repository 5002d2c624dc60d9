//! Cuts the reading of a response body at the deadline of the call.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use pin_project::pin_project;
use tokio::time::Instant;

use crate::http::body::BodyObserver;
use crate::internal::clock::Timer;
use crate::sealed::Sealed;
use crate::{BoxError, Error, TimeoutScope};

/// Cuts a response body that has not ended by the deadline of its call. A frame that is known to be the last passes
/// even after the deadline, so a body of one frame can be read at any time.
///
/// A cut body ends with an [`Error`] inside an `io::Error` of the kind `TimedOut`. `reqwest::Error::is_timeout`
/// recognises this kind.
#[pin_project]
#[derive(Debug)]
pub struct DeadlineBody {
    #[pin]
    timer: Timer,
    after: Duration,
}

impl DeadlineBody {
    /// Makes an observer that cuts the body at `end`. The error then reports `after`, the time of the whole call.
    pub(super) const fn new(end: Option<Instant>, after: Duration) -> Self {
        Self { timer: Timer::new(end), after }
    }

    fn error(after: Duration) -> BoxError {
        Error::body_timeout(TimeoutScope::Total, after)
    }
}

impl Sealed for DeadlineBody {}

impl BodyObserver for DeadlineBody {
    fn at_frame(self: Pin<&mut Self>) -> Option<BoxError> {
        self.timer.has_elapsed().then(|| Self::error(self.after))
    }

    fn poll_pending(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<BoxError> {
        let this = self.project();
        this.timer.poll_elapsed(cx).map(|()| Self::error(*this.after))
    }
}
