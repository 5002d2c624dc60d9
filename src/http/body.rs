//! Response bodies that layers observe, because a call does not end with the head of its response.
//!
//! While a body is read, the bulkhead holds a permit, the circuit breaker counts a failure if the body breaks, and
//! the deadline cuts a slow body. All three wrap the body in the same type, [`ObservedBody`], each with a
//! [`BodyObserver`] of its own. The cache may hold back the last frame, and so has a body type of its own.
//!
//! ```
//! use http_body_util::BodyExt;
//! use steadfast::bulkhead::Permit;
//! use steadfast::http::body::ObservedBody;
//!
//! /// Reads a response of a bulkhead around a `String` service. The permit returns with the last byte.
//! async fn read(body: ObservedBody<String, Option<Permit>>) -> Result<bytes::Bytes, steadfast::BoxError> {
//!     Ok(body.collect().await?.to_bytes())
//! }
//! ```

use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use http_body::{Body, Frame, SizeHint};
use pin_project::pin_project;

use super::client_errors::{Fault, fault_of};
use crate::BoxError;
use crate::internal::signals::{TimeUp, is_discarding, last_poll};
use crate::sealed::Sealed;

/// How a body ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum BodyEnd {
    /// Every byte of the body arrived.
    Whole,
    /// The body broke: the connection was lost, or the time ran out.
    Broken,
    /// The body arrived, but the client could not decode it.
    Undecoded,
    /// The response was discarded. The rest of the body is read only to make the connection reusable.
    Discarded,
}

/// The part of a layer that acts while the body of a response is read. Implemented only inside this crate.
///
/// An observer is dropped as soon as the body ends or is discarded. The drop releases whatever the observer holds,
/// such as a permit.
#[doc(alias = "Watch")]
pub trait BodyObserver: Sealed {
    /// Called for each frame, except for one that is known to be the last. Returns the error that ends the body if
    /// its time is over.
    fn at_frame(self: Pin<&mut Self>) -> Option<BoxError> {
        None
    }

    /// Polled while the body is pending. Ready with the error that ends the body once its time is over.
    fn poll_pending(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<BoxError> {
        let _ = cx;
        Poll::Pending
    }

    /// Called when the body ends or is discarded. Not called if the body is dropped earlier.
    fn end(self: Pin<&mut Self>, end: BodyEnd) {
        let _ = end;
    }
}

/// A body `B`, observed by `O` while it is read.
///
/// An error ends the body, whether the body broke or timed out: nothing follows the error, and the inner body is no
/// longer read. Only errors are boxed: a body without errors allocates nothing.
#[pin_project]
#[derive(Debug)]
pub struct ObservedBody<B, O> {
    #[pin]
    body: B,
    #[pin]
    state: ObserverState<O>,
}

/// The signal for the layers below when the body is cut.
const TIME_OF_THE_CALL_IS_UP: TimeUp =
    TimeUp { is_total: true, is_callers_share: false, after: Duration::ZERO };

/// The state of an observed body. The states without an observer take no additional room.
#[pin_project(project = ObserverStateProj)]
#[derive(Debug)]
enum ObserverState<O> {
    Observed(#[pin] O),
    /// The body has ended or is discarded, so its observer is gone.
    Unobserved,
    /// The body has ended with an error.
    Failed,
}

impl<B, O> ObservedBody<B, O>
where
    B: Body,
    O: BodyObserver,
{
    pub(crate) fn new(body: B, observer: O) -> Self {
        if body.is_end_stream() {
            // An empty body is never read, so its end is reported now.
            pin!(observer).end(BodyEnd::Whole);
            return Self { body, state: ObserverState::Unobserved };
        }
        Self { body, state: ObserverState::Observed(observer) }
    }
}

impl<B, O> Body for ObservedBody<B, O>
where
    B: Body,
    B::Error: Into<BoxError>,
    O: BodyObserver,
{
    type Data = B::Data;
    type Error = BoxError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        let mut this = self.project();
        if matches!(*this.state, ObserverState::Failed) {
            return Poll::Ready(None);
        }
        if is_discarding() {
            this.state.as_mut().finish(BodyEnd::Discarded);
        }
        let frame = this.body.as_mut().poll_frame(cx);
        let cut = match this.state.as_mut().project() {
            ObserverStateProj::Observed(observer) => match &frame {
                Poll::Pending => {
                    let cut = observer.poll_pending(cx);
                    if cut.is_ready() {
                        // Let the observers of the layers below see that the body is cut while its reader waits.
                        let _ = last_poll(TIME_OF_THE_CALL_IS_UP, || this.body.as_mut().poll_frame(cx));
                    }
                    cut
                }
                Poll::Ready(Some(Ok(_))) if !this.body.is_end_stream() => {
                    observer.at_frame().map_or(Poll::Pending, Poll::Ready)
                }
                Poll::Ready(_) => Poll::Pending,
            },
            ObserverStateProj::Unobserved | ObserverStateProj::Failed => Poll::Pending,
        };
        let frame = match cut {
            Poll::Ready(error) => Some(Err(error)),
            Poll::Pending => ready!(frame).map(|frame| frame.map_err(Into::into)),
        };
        match &frame {
            Some(Err(error)) if fault_of(&**error) == Fault::Caller => {
                this.state.finish(BodyEnd::Undecoded);
            }
            Some(Err(_)) => this.state.finish(BodyEnd::Broken),
            None => this.state.finish(BodyEnd::Whole),
            Some(Ok(_)) if this.body.is_end_stream() => this.state.finish(BodyEnd::Whole),
            Some(Ok(_)) => {}
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        matches!(self.state, ObserverState::Failed) || self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        match self.state {
            ObserverState::Failed => SizeHint::with_exact(0),
            _ => self.body.size_hint(),
        }
    }
}

impl<O: BodyObserver> ObserverState<O> {
    /// Reports the end of the body to the observer, and drops the observer.
    fn finish(mut self: Pin<&mut Self>, end: BodyEnd) {
        if let ObserverStateProj::Observed(observer) = self.as_mut().project() {
            observer.end(end);
        }
        self.set(match end {
            BodyEnd::Broken | BodyEnd::Undecoded => Self::Failed,
            BodyEnd::Whole | BodyEnd::Discarded => Self::Unobserved,
        });
    }
}
