//! A response body that a layer looks through: one wrapper for all of them, with a [`Watch`] each.

use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};

use http_body::{Body, Frame, SizeHint};
use pin_project::pin_project;

use crate::BoxError;
use crate::message::sealed::Sealed;
use crate::poll::is_discarding;

/// How a body came to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// Every byte of it arrived.
    Whole,
    /// It broke: the connection was lost, or its time ran out.
    Broken,
    /// Nobody wants it: what is left is read only so that the connection can be used again.
    Discarded,
}

/// What a layer does while the body of its response is read. Implemented inside this crate.
///
/// A watch is dropped as soon as the body ends, so that what it merely holds needs no code to be given back.
pub trait Watch<D>: Sealed {
    /// Whether the body has run out of time, although there is data to hand on.
    fn is_cut(&self) -> Option<BoxError> {
        None
    }

    /// The body has to wait: ready if it has run out of time.
    fn poll_cut(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<BoxError> {
        let _ = cx;
        Poll::Pending
    }

    /// Data passes by.
    fn data(self: Pin<&mut Self>, data: &D) {
        let _ = data;
    }

    /// The body has ended. Does not come if the body is dropped before its end.
    fn end(self: Pin<&mut Self>, end: End) {
        let _ = end;
    }
}

/// A body `B`, watched by `W` as it is read.
///
/// An error of the body is boxed, when there is one; nothing else is.
#[pin_project]
#[derive(Debug)]
pub struct WatchedBody<B, W> {
    #[pin]
    body: B,
    #[pin]
    watch: Option<W>,
}

impl<B, W> WatchedBody<B, W>
where
    B: Body,
    W: Watch<B::Data>,
{
    pub(crate) fn new(body: B, watch: W) -> Self {
        if body.is_end_stream() {
            // Nobody needs to read a body that is not there.
            pin!(watch).end(End::Whole);
            return Self { body, watch: None };
        }
        Self { body, watch: Some(watch) }
    }
}

impl<B, W> Body for WatchedBody<B, W>
where
    B: Body,
    B::Error: Into<BoxError>,
    W: Watch<B::Data>,
{
    type Data = B::Data;
    type Error = BoxError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        let mut this = self.project();
        if is_discarding() {
            finish(this.watch.as_mut(), End::Discarded);
        }
        let frame = this.body.as_mut().poll_frame(cx);
        let Some(mut watch) = this.watch.as_mut().as_pin_mut() else {
            return frame.map_err(Into::into);
        };
        let cut = match &frame {
            Poll::Pending => watch.as_mut().poll_cut(cx),
            Poll::Ready(Some(Ok(_))) if !this.body.is_end_stream() => {
                watch.is_cut().map_or(Poll::Pending, Poll::Ready)
            }
            Poll::Ready(_) => Poll::Pending,
        };
        if let Poll::Ready(error) = cut {
            finish(this.watch, End::Broken);
            return Poll::Ready(Some(Err(error)));
        }
        let frame = ready!(frame);
        if let Some(data) = frame.as_ref().and_then(|frame| frame.as_ref().ok()?.data_ref()) {
            watch.data(data);
        }
        match &frame {
            Some(Err(_)) => finish(this.watch, End::Broken),
            None => finish(this.watch, End::Whole),
            Some(Ok(_)) if this.body.is_end_stream() => finish(this.watch, End::Whole),
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

/// Tells the watch how the body ended, and drops it.
fn finish<D, W: Watch<D>>(mut watch: Pin<&mut Option<W>>, end: End) {
    if let Some(watch) = watch.as_mut().as_pin_mut() {
        watch.end(end);
    }
    watch.set(None);
}
