//! The future of body buffering. It waits for the head of the response, and then reads the body if it is small.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes, BytesMut};
use http::HeaderMap;
use http::response::{Parts, Response};
use http_body::Body;
use pin_project::pin_project;

use super::body::BufferedBody;
use super::config::BufferBodySettings;
use crate::http::broken_body::BrokenBody;
use crate::internal::frame_quota::FrameQuota;
use crate::internal::signals::{TimeUp, Wait, raise_wait, time_is_up};
use crate::response_kind::OfRedirectTarget;
use crate::{BoxError, Error, TimeoutScope};

/// The future of [`BufferBodyService`](super::BufferBodyService).
///
/// Cancel safe: the future holds only the attempt and the data read so far.
#[pin_project]
pub struct ResponseFuture<F, B> {
    #[pin]
    future: F,
    reading: Option<Reading<B>>,
    settings: BufferBodySettings,
}

impl<F, B> ResponseFuture<F, B> {
    pub(super) fn new(future: F, settings: BufferBodySettings) -> Self {
        Self { future, reading: None, settings }
    }
}

impl<F, B, E> Future for ResponseFuture<F, B>
where
    F: Future<Output = Result<Response<B>, Error<E>>>,
    B: Body + Unpin,
    B::Error: Into<BoxError>,
{
    type Output = Result<Response<BufferedBody<B>>, Error<E>>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let mut reading = if let Some(reading) = this.reading.take() {
            reading
        } else {
            let response = ready!(this.future.poll(cx))?;
            if !this.settings.reads(&response) {
                return Poll::Ready(Ok(response.map(|body| BufferedBody::begun(Bytes::new(), body))));
            }
            Reading::new(response)
        };
        match reading.poll_read(cx, this.settings.limit) {
            Poll::Ready(Ok(())) => Poll::Ready(Ok(reading.finish())),
            Poll::Ready(Err(error)) => Poll::Ready(Ok(reading.break_off(BrokenBody::broken_off(error)))),
            Poll::Pending => {
                if let Some(TimeUp { is_total, after }) = time_is_up() {
                    let late = BrokenBody::late(TimeoutScope::of(is_total), after);
                    return Poll::Ready(Ok(reading.break_off(late)));
                }
                if reading.parts.extensions.get::<OfRedirectTarget>().is_some() {
                    raise_wait(Wait::RedirectTarget);
                }
                *this.reading = Some(reading);
                Poll::Pending
            }
        }
    }
}

/// The largest buffer, in bytes, that is reserved because of a stated length alone.
const MAX_RESERVED: usize = 1024 * 1024;

/// A response whose body is being read.
struct Reading<B> {
    parts: Parts,
    body: B,
    stated: Option<u64>,
    first: Bytes,
    /// All pieces, if there is more than one; `first` is empty in this case.
    joined: BytesMut,
    trailers: Option<Box<HeaderMap>>,
    ended: bool,
}

impl<B> Reading<B>
where
    B: Body + Unpin,
    B::Error: Into<BoxError>,
{
    fn new(response: Response<B>) -> Self {
        let (parts, body) = response.into_parts();
        Self {
            stated: body.size_hint().exact(),
            parts,
            body,
            first: Bytes::new(),
            joined: BytesMut::new(),
            trailers: None,
            ended: false,
        }
    }

    /// Ready when the body has ended or outgrown the limit. Fails if the body breaks off, or if its length differs
    /// from the stated length.
    fn poll_read(&mut self, cx: &mut Context<'_>, limit: usize) -> Poll<Result<(), BoxError>> {
        let mut quota = FrameQuota::of_a_poll();
        while !self.ended && self.len() <= limit {
            ready!(quota.poll_take(cx));
            match ready!(Pin::new(&mut self.body).poll_frame(cx)) {
                None => self.ended = true,
                Some(Err(error)) => return Poll::Ready(Err(error.into())),
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => {
                        self.push(data);
                        self.ended = self.body.is_end_stream();
                    }
                    Err(frame) => self.trailers = frame.into_trailers().ok().map(Box::new),
                },
            }
        }
        match self.stated {
            Some(stated) if self.ended && self.len() as u64 != stated && !self.is_absent() => {
                Poll::Ready(Err(format!("the body has {} bytes of {stated}", self.len()).into()))
            }
            _ => Poll::Ready(Ok(())),
        }
    }

    /// True if the body has no bytes, whatever length is stated. A client verifies the stated length before it
    /// reports the end of a body, except in the response to a HEAD request.
    fn is_absent(&self) -> bool {
        self.len() == 0 && self.body.is_end_stream()
    }

    /// Adds a piece of the body. The first piece is stored as it is.
    ///
    /// Later pieces are joined with the first. If the length is stated, memory is reserved once, so a body in many
    /// small pieces takes no more memory than its bytes. A stated length may be wrong, so at most [`MAX_RESERVED`] is
    /// reserved; beyond this size, the buffer grows with the data.
    fn push(&mut self, mut data: B::Data) {
        if self.len() == 0 {
            self.first = data.copy_to_bytes(data.remaining());
            return;
        }
        if self.joined.is_empty() {
            let stated = self.stated.and_then(|stated| usize::try_from(stated).ok()).unwrap_or_default();
            self.joined.reserve(stated.min(MAX_RESERVED).max(self.first.len() + data.remaining()));
            self.joined.extend_from_slice(&std::mem::take(&mut self.first));
        }
        while data.has_remaining() {
            let chunk = data.chunk();
            let length = chunk.len();
            self.joined.extend_from_slice(chunk);
            data.advance(length);
        }
    }

    /// The length of the data read so far. At most one of `first` and `joined` holds data.
    fn len(&self) -> usize {
        self.first.len() + self.joined.len()
    }

    fn finish(self) -> Response<BufferedBody<B>> {
        let Self { parts, body, stated, first, joined, trailers, ended } = self;
        let data = join(first, joined);
        // An absent body is passed on as it is, because it states the length of the body that a GET would have.
        let is_absent = data.is_empty() && trailers.is_none() && stated.is_some();
        let body = if ended && !is_absent {
            BufferedBody::whole(data, trailers)
        } else {
            BufferedBody::begun(data, body)
        };
        Response::from_parts(parts, body)
    }

    /// Returns the response with a body that fails where it broke off.
    #[cold]
    fn break_off(self, broken: BrokenBody) -> Response<BufferedBody<B>> {
        let Self { mut parts, stated, first, joined, .. } = self;
        let body = BufferedBody::broken(join(first, joined), broken.cause(), stated);
        parts.extensions.insert(broken);
        Response::from_parts(parts, body)
    }
}

fn join(first: Bytes, joined: BytesMut) -> Bytes {
    if joined.is_empty() { first } else { joined.freeze() }
}

impl<F, B> fmt::Debug for ResponseFuture<F, B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("buffer_body::ResponseFuture")
            .field("settings", &self.settings)
            .finish_non_exhaustive()
    }
}
