//! A response body that is passed on as it is, or held in memory while a retry follows.
//!
//! A retry can be refused locally, and the caller then gets the response of the attempt before. The connection and
//! the permit of that response must not wait for the retry. So [`HoldResponse`] reads the body into memory, which
//! also makes the connection reusable. [`HeldBody`] yields the body from memory, or passes on the body of a response
//! that was not held.
//!
//! # Memory
//!
//! A held body takes at most 64 KiB, plus its trailers. Beyond 64 KiB, a new connection is cheaper than reading on.
//! The data is copied, because a small piece of a client's read buffer would keep the whole buffer in memory.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use http::response::Parts;
use http::{HeaderMap, Response};
use http_body::{Body, Frame, SizeHint};
use pin_project::pin_project;

use super::broken_body::BrokenBody;
use crate::internal::frame_quota::FrameQuota;
use crate::internal::signals::discarding;

/// The body of a response that came through a [`RetryService`](crate::retry::RetryService).
///
/// The body is `B` itself, or a copy in memory: if a retry was refused locally, the caller gets the response of the
/// attempt before, whose body was read during the wait. Such a body has at most 64 KiB.
///
/// Data that is not `Bytes` is copied into `Bytes`.
#[pin_project]
pub struct HeldBody<B: Body>(#[pin] HeldKind<B>);

#[pin_project(project = HeldKindProj)]
enum HeldKind<B: Body> {
    PassedOn(#[pin] B),
    /// Boxed, so that the copy takes no room in each body.
    InMemory(Box<BodyCopy<B::Error>>),
}

/// The parts of a body that are not yet read from memory.
struct BodyCopy<E> {
    data: Bytes,
    trailers: Option<HeaderMap>,
    /// The error with which the body ends, if it broke off.
    error: Option<E>,
    /// The number of stated bytes that do not follow: the length that a response to a HEAD request states, or the
    /// missing rest of a body that broke off. `None` if a body broke off whose length was not stated.
    missing: Option<u64>,
}

impl<B: Body> HeldBody<B> {
    #[inline]
    pub(crate) const fn passed_on(body: B) -> Self {
        Self(HeldKind::PassedOn(body))
    }
}

impl<B: Body> Body for HeldBody<B> {
    type Data = Bytes;
    type Error = B::Error;

    #[inline]
    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        match self.project().0.project() {
            HeldKindProj::PassedOn(body) => body
                .poll_frame(cx)
                .map_ok(|frame| frame.map_data(|mut data| data.copy_to_bytes(data.remaining()))),
            HeldKindProj::InMemory(copy) => Poll::Ready(copy.next_frame()),
        }
    }

    #[inline]
    fn is_end_stream(&self) -> bool {
        match &self.0 {
            HeldKind::PassedOn(body) => body.is_end_stream(),
            HeldKind::InMemory(copy) => {
                copy.data.is_empty() && copy.trailers.is_none() && copy.error.is_none()
            }
        }
    }

    #[inline]
    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            HeldKind::PassedOn(body) => body.size_hint(),
            HeldKind::InMemory(copy) => copy.size_hint(),
        }
    }
}

impl<E> BodyCopy<E> {
    fn next_frame(&mut self) -> Option<Result<Frame<Bytes>, E>> {
        if !self.data.is_empty() {
            return Some(Ok(Frame::data(std::mem::take(&mut self.data))));
        }
        let trailers = self.trailers.take().map(|trailers| Ok(Frame::trailers(trailers)));
        trailers.or_else(|| self.error.take().map(Err))
    }

    fn size_hint(&self) -> SizeHint {
        let left = self.data.len() as u64;
        let mut hint = SizeHint::new();
        match self.missing {
            Some(missing) => hint.set_exact(left.saturating_add(missing)),
            None => hint.set_lower(left),
        }
        hint
    }
}

impl<B: Body> fmt::Debug for HeldBody<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let is_in_memory = matches!(self.0, HeldKind::InMemory(_));
        f.debug_struct("HeldBody").field("is_in_memory", &is_in_memory).finish_non_exhaustive()
    }
}

/// Reads the body of a response into memory, in order to hold the response while a retry follows.
///
/// Ready with `None` if the body is longer than 64 KiB, or breaks. A body that broke off before, and is in memory, is
/// held with its error.
#[pin_project]
pub struct HoldResponse<B> {
    /// The head; `None` once the future is ready.
    head: Option<Parts>,
    #[pin]
    body: B,
    /// The length that the body states.
    stated: Option<u64>,
    data: Vec<u8>,
    trailers: Option<HeaderMap>,
    /// The number of frames without data.
    empty_frames: usize,
}

impl<B: Body> HoldResponse<B> {
    /// The largest number of bytes that are held.
    const LIMIT: usize = 64 * 1024;

    pub(crate) fn new(response: Response<B>) -> Self {
        let (head, body) = response.into_parts();
        Self {
            stated: body.size_hint().exact(),
            head: Some(head),
            body,
            data: Vec::new(),
            trailers: None,
            empty_frames: 0,
        }
    }
}

impl<B: Body> Future for HoldResponse<B> {
    type Output = Option<Response<HeldBody<B>>>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        let mut quota = FrameQuota::of_a_poll();
        let error = loop {
            ready!(quota.poll_take(cx));
            // The signal makes the layers below release what they hold for the body, such as a permit.
            match ready!(discarding(|| this.body.as_mut().poll_frame(cx))) {
                None => break None,
                Some(Err(error)) => break Some(error),
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) if data.has_remaining() => {
                        if !push(this.data, data, Self::LIMIT) {
                            return Poll::Ready(None);
                        }
                    }
                    frame => {
                        if let Err(Ok(trailers)) = frame.map_err(Frame::into_trailers) {
                            *this.trailers = Some(trailers);
                        }
                        // Otherwise, an endless row of empty frames would never reach the limit.
                        *this.empty_frames += 1;
                        if *this.empty_frames > Self::LIMIT {
                            return Poll::Ready(None);
                        }
                    }
                },
            }
        };
        let head = this.head.take().expect("polled after it was ready");
        if error.is_some() && head.extensions.get::<BrokenBody>().is_none() {
            return Poll::Ready(None);
        }
        let data = Bytes::from(std::mem::take(this.data));
        let missing = this.stated.map(|stated| stated.saturating_sub(data.len() as u64));
        let missing = missing.or(error.is_none().then_some(0));
        let copy = BodyCopy { data, trailers: this.trailers.take(), error, missing };
        let body = HeldBody(HeldKind::InMemory(Box::new(copy)));
        Poll::Ready(Some(Response::from_parts(head, body)))
    }
}

impl<B> fmt::Debug for HoldResponse<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HoldResponse").field("read", &self.data.len()).finish_non_exhaustive()
    }
}

/// Appends `data` to `copy`. Returns false if the copy would be longer than `limit`.
///
/// Each growth doubles the capacity, up to `limit`.
fn push(copy: &mut Vec<u8>, mut data: impl Buf, limit: usize) -> bool {
    let length = copy.len().saturating_add(data.remaining());
    if length > limit {
        return false;
    }
    if length > copy.capacity() {
        let capacity = length.max(copy.capacity() * 2).min(limit);
        copy.reserve_exact(capacity - copy.len());
    }
    while data.has_remaining() {
        let chunk = data.chunk();
        let length = chunk.len();
        copy.extend_from_slice(chunk);
        data.advance(length);
    }
    true
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::task::Waker;

    use super::*;

    /// A body of empty frames without end. It counts its frames.
    struct EmptyFrames(usize);

    impl Body for EmptyFrames {
        type Data = Bytes;
        type Error = Infallible;

        fn poll_frame(
            mut self: Pin<&mut Self>,
            _cx: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
            self.0 += 1;
            Poll::Ready(Some(Ok(Frame::data(Bytes::new()))))
        }
    }

    #[test]
    fn no_poll_reads_ten_thousand_empty_frames() {
        let mut hold = HoldResponse::new(Response::new(EmptyFrames(0)));
        let mut polls = 0;
        while Pin::new(&mut hold).poll(&mut Context::from_waker(Waker::noop())).is_pending() {
            polls += 1;
            assert!(hold.body.0 < 10_000 * polls);
        }
        assert_eq!(hold.body.0, 64 * 1024 + 1);
    }

    #[test]
    fn a_copy_reserves_no_more_than_the_limit() {
        let mut copy = Vec::new();
        while push(&mut copy, &[0; 1000][..], 64 * 1024) {
            assert!(copy.capacity() <= 64 * 1024);
        }
        assert_eq!(copy.len(), 65_000);
    }
}
