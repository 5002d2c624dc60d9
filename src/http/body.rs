//! A response body that a layer looks through: one wrapper for all of them, with a [`BodyObserver`] each.

use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};

use http_body::{Body, Frame, SizeHint};
use pin_project::pin_project;

use crate::BoxError;
use crate::internal::signals::is_discarding;
use crate::sealed::Sealed;

/// How a body came to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BodyEnd {
    /// Every byte of it arrived.
    Whole,
    /// It broke: the connection was lost, or its time ran out.
    Broken,
    /// Nobody wants it: what is left is read only so that the connection can be used again.
    Discarded,
}

/// What a layer does while the body of its response is read. Implemented inside this crate.
///
/// An observer is dropped as soon as the body ends, so that what it merely holds needs no code to be given back.
pub trait BodyObserver: Sealed {
    /// Whether the body has run out of time, although there is data to hand on.
    fn is_cut(&self) -> Option<BoxError> {
        None
    }

    /// The body has to wait: ready if it has run out of time.
    fn poll_cut(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<BoxError> {
        let _ = cx;
        Poll::Pending
    }

    /// The body has ended. Does not come if the body is dropped before its end.
    fn end(self: Pin<&mut Self>, end: BodyEnd) {
        let _ = end;
    }
}

/// A body `B`, observed by `O` as it is read.
///
/// An error of the body is boxed, when there is one; nothing else is.
#[pin_project]
#[derive(Debug)]
pub struct ObservedBody<B, O> {
    #[pin]
    body: B,
    #[pin]
    observer: Option<O>,
}

impl<B, O> ObservedBody<B, O>
where
    B: Body,
    O: BodyObserver,
{
    pub(crate) fn new(body: B, observer: O) -> Self {
        if body.is_end_stream() {
            // Nobody needs to read a body that is not there.
            pin!(observer).end(BodyEnd::Whole);
            return Self { body, observer: None };
        }
        Self { body, observer: Some(observer) }
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
        if is_discarding() {
            finish(this.observer.as_mut(), BodyEnd::Discarded);
        }
        let frame = this.body.as_mut().poll_frame(cx);
        let Some(mut observer) = this.observer.as_mut().as_pin_mut() else {
            return frame.map_err(Into::into);
        };
        let cut = match &frame {
            Poll::Pending => observer.as_mut().poll_cut(cx),
            Poll::Ready(Some(Ok(_))) if !this.body.is_end_stream() => {
                observer.is_cut().map_or(Poll::Pending, Poll::Ready)
            }
            Poll::Ready(_) => Poll::Pending,
        };
        if let Poll::Ready(error) = cut {
            finish(this.observer, BodyEnd::Broken);
            return Poll::Ready(Some(Err(error)));
        }
        let frame = ready!(frame);
        match &frame {
            Some(Err(_)) => finish(this.observer, BodyEnd::Broken),
            None => finish(this.observer, BodyEnd::Whole),
            Some(Ok(_)) if this.body.is_end_stream() => finish(this.observer, BodyEnd::Whole),
            Some(Ok(_)) => {}
        }
        Poll::Ready(frame.map(|frame| frame.map_err(Into::into)))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// Tells the observer how the body ended, and drops it.
fn finish<O: BodyObserver>(mut observer: Pin<&mut Option<O>>, end: BodyEnd) {
    if let Some(observer) = observer.as_mut().as_pin_mut() {
        observer.end(end);
    }
    observer.set(None);
}
