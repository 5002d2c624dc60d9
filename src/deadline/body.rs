//! What is left of the call's time bounds the reading of the body.

use std::convert::Infallible;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use pin_project::pin_project;
use tokio::time::Instant;

use crate::http::body::BodyObserver;
use crate::internal::clock::Timer;
use crate::sealed::Sealed;
use crate::{BoxError, Error, TimeoutScope};

/// Observes the body of a response for the deadline of its call: a body that is not read in time is cut.
///
/// The error is an `io::Error` of the kind `TimedOut`, as clients know it (`reqwest::Error::is_timeout` sees it), around an
/// [`Error`] that says so.
#[pin_project]
#[derive(Debug)]
pub struct DeadlineBody {
    #[pin]
    timer: Timer,
    after: Duration,
}

impl DeadlineBody {
    /// Cuts the body at `end`, which is `after` from the beginning of the call.
    pub(super) const fn new(end: Option<Instant>, after: Duration) -> Self {
        Self { timer: Timer::new(end), after }
    }

    fn error(after: Duration) -> BoxError {
        let timeout = Error::<Infallible>::timeout(TimeoutScope::Total, Some(after));
        io::Error::new(io::ErrorKind::TimedOut, timeout).into()
    }
}

impl Sealed for DeadlineBody {}

impl BodyObserver for DeadlineBody {
    fn is_cut(&self) -> Option<BoxError> {
        self.timer.has_elapsed().then(|| Self::error(self.after))
    }

    fn poll_cut(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<BoxError> {
        let this = self.project();
        this.timer.poll_elapsed(cx).map(|()| Self::error(*this.after))
    }
}
