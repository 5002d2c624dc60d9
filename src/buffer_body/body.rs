//! The response body that the layer returns. It yields the buffered data, and then the rest of the stream.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};
use pin_project::pin_project;

use crate::BoxError;

/// A body that was read in whole, in part or not at all before the response was handed on.
#[pin_project]
#[derive(Debug)]
pub struct BufferedBody<B> {
    /// The data that was read.
    data: Bytes,
    #[pin]
    rest: Rest<B>,
}

/// The part of a body that follows the data that was read.
#[pin_project(project = RestProj)]
#[derive(Debug)]
enum Rest<B> {
    /// The whole body was read. Trailers are boxed, because they are rare.
    Trailers(Option<Box<HeaderMap>>),
    /// The body was not read to its end.
    Unread(#[pin] B),
    /// The body broke off. Boxed, so that the failure takes no room in each body; `None` once the error is returned.
    Broken(Option<Box<Failure>>),
}

#[derive(Debug)]
struct Failure {
    error: BoxError,
    /// The number of bytes that are missing, if the length was stated.
    missing: Option<u64>,
}

impl<B> BufferedBody<B> {
    pub(super) fn whole(data: Bytes, trailers: Option<Box<HeaderMap>>) -> Self {
        Self { data, rest: Rest::Trailers(trailers) }
    }

    pub(super) fn begun(data: Bytes, rest: B) -> Self {
        Self { data, rest: Rest::Unread(rest) }
    }

    /// Makes a body that fails after `data`. `stated` is the stated length of the whole body.
    pub(super) fn broken(data: Bytes, error: BoxError, stated: Option<u64>) -> Self {
        let missing = stated.map(|stated| stated.saturating_sub(data.len() as u64));
        Self { data, rest: Rest::Broken(Some(Box::new(Failure { error, missing }))) }
    }
}

impl<B> Body for BufferedBody<B>
where
    B: Body,
    B::Error: Into<BoxError>,
{
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let this = self.project();
        if !this.data.is_empty() {
            return Poll::Ready(Some(Ok(Frame::data(std::mem::take(this.data)))));
        }
        match this.rest.project() {
            RestProj::Unread(rest) => {
                let frame = ready!(rest.poll_frame(cx));
                let to_bytes = |mut data: B::Data| data.copy_to_bytes(data.remaining());
                Poll::Ready(
                    frame.map(|frame| frame.map(|frame| frame.map_data(to_bytes)).map_err(Into::into)),
                )
            }
            RestProj::Trailers(trailers) => {
                Poll::Ready(trailers.take().map(|trailers| Ok(Frame::trailers(*trailers))))
            }
            RestProj::Broken(failure) => Poll::Ready(failure.take().map(|failure| Err(failure.error))),
        }
    }

    fn is_end_stream(&self) -> bool {
        let is_at_end = match &self.rest {
            Rest::Trailers(trailers) => trailers.is_none(),
            Rest::Unread(rest) => rest.is_end_stream(),
            Rest::Broken(failure) => failure.is_none(),
        };
        is_at_end && self.data.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        let read = self.data.len() as u64;
        let rest = match &self.rest {
            Rest::Trailers(_) | Rest::Broken(None) => SizeHint::with_exact(0),
            Rest::Unread(rest) => rest.size_hint(),
            Rest::Broken(Some(failure)) => failure.missing.map_or(SizeHint::new(), SizeHint::with_exact),
        };
        let mut hint = SizeHint::new();
        hint.set_lower(rest.lower().saturating_add(read));
        if let Some(upper) = rest.upper() {
            hint.set_upper(upper.saturating_add(read));
        }
        hint
    }
}
