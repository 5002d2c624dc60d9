//! The response body that the layer returns. It yields the buffered data, and then the rest of the stream.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};
use pin_project::pin_project;

/// A body that was read in whole, in part or not at all before the response was handed on.
#[pin_project]
#[derive(Debug)]
pub struct BufferedBody<B> {
    /// The data that was read.
    data: Bytes,
    /// The trailers, if the whole body was read. Boxed, because trailers are rare.
    trailers: Option<Box<HeaderMap>>,
    /// The unread rest of the body; `None` if the whole body was read.
    #[pin]
    rest: Option<B>,
}

impl<B> BufferedBody<B> {
    pub(super) fn whole(data: Bytes, trailers: Option<Box<HeaderMap>>) -> Self {
        Self { data, trailers, rest: None }
    }

    pub(super) fn begun(data: Bytes, rest: B) -> Self {
        Self { data, trailers: None, rest: Some(rest) }
    }
}

impl<B: Body> Body for BufferedBody<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let this = self.project();
        if !this.data.is_empty() {
            return Poll::Ready(Some(Ok(Frame::data(std::mem::take(this.data)))));
        }
        match this.rest.as_pin_mut() {
            Some(rest) => {
                let frame = ready!(rest.poll_frame(cx));
                let to_bytes = |mut data: B::Data| data.copy_to_bytes(data.remaining());
                Poll::Ready(frame.map(|frame| frame.map(|frame| frame.map_data(to_bytes))))
            }
            None => Poll::Ready(this.trailers.take().map(|trailers| Ok(Frame::trailers(*trailers)))),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.data.is_empty() && self.trailers.is_none() && self.rest.as_ref().is_none_or(B::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        let read = self.data.len() as u64;
        let rest = self.rest.as_ref().map_or(SizeHint::with_exact(0), B::size_hint);
        let mut hint = SizeHint::new();
        hint.set_lower(rest.lower().saturating_add(read));
        if let Some(upper) = rest.upper() {
            hint.set_upper(upper.saturating_add(read));
        }
        hint
    }
}
