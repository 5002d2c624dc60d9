//! What is left of the total time bounds the reading of the body.

use std::convert::Infallible;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use pin_project::pin_project;
use tokio::time::Instant;

use crate::deadline::Timer;
use crate::http::body::Watch;
use crate::message::sealed::Sealed;
use crate::{BoxError, Error, TimeoutScope};

/// Watches the body of a response for the total timeout: one that is not read in time is cut.
///
/// The error is an `io::Error` of the kind `TimedOut`, as clients know it (`reqwest::Error::is_timeout` sees it), around
/// an [`Error::<Infallible>::Timeout`](Error::Timeout).
#[pin_project]
#[derive(Debug)]
pub struct BodyWatch {
    #[pin]
    timer: Timer,
    after: Duration,
}

impl BodyWatch {
    /// Cuts the body at `end`, which is `after` from the beginning of the call.
    pub(super) fn new(end: Option<Instant>, after: Duration) -> Self {
        Self { timer: Timer::new(end), after }
    }

    /// Never cuts the body.
    pub(super) fn none() -> Self {
        Self::new(None, Duration::MAX)
    }

    fn error(after: Duration) -> BoxError {
        let timeout = Error::<Infallible>::Timeout { scope: TimeoutScope::Total, after };
        io::Error::new(io::ErrorKind::TimedOut, timeout).into()
    }
}

impl Sealed for BodyWatch {}

impl<D> Watch<D> for BodyWatch {
    fn is_cut(&self) -> Option<BoxError> {
        self.timer.has_elapsed().then(|| Self::error(self.after))
    }

    fn poll_cut(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<BoxError> {
        let this = self.project();
        this.timer.poll_elapsed(cx).map(|()| Self::error(*this.after))
    }
}
