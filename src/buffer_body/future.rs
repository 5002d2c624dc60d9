//! The future of body buffering. It waits for the head of the response, and then reads the body if it is small.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes, BytesMut};
use http::HeaderMap;
use http::response::{Parts, Response};
use http_body::Body;
use pin_project::pin_project;
use tokio::time::Instant;

use super::body::BufferedBody;
use super::config::BufferBodySettings;
use crate::http::broken_body::{BodyFault, BrokenBody, listen_body_fault};
use crate::internal::frame_quota::FrameQuota;
use crate::internal::signals::{
    Arriving, TimeUp, Wait, raise_arriving, raise_in_memory, raise_wait, time_is_up, withdraw_in_memory,
};
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
                withdraw_in_memory();
                return Poll::Ready(Ok(response.map(|body| BufferedBody::begun(Bytes::new(), body))));
            }
            Reading::new(response)
        };
        let body_fault = listen_body_fault();
        match reading.poll_read(cx, this.settings.limit) {
            Poll::Ready(Ok(())) => Poll::Ready(Ok(reading.finish())),
            Poll::Ready(Err(error)) => {
                Poll::Ready(Ok(reading.break_off(BrokenBody::broken_off(error), body_fault.heard())))
            }
            Poll::Pending => {
                if let Some(TimeUp { is_total, is_callers_share, after }) = time_is_up() {
                    let late = BrokenBody::late(TimeoutScope::of(is_total), is_callers_share, after);
                    return Poll::Ready(Ok(reading.break_off(late, body_fault.heard())));
                }
                let idle_timeout = this.settings.idle_timeout;
                raise_arriving(Arriving { last: reading.last_arrival(), idle_timeout });
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
    /// The time at which data had arrived when the reading last had to wait. `None` if data has arrived since.
    last_arrival: Option<Instant>,
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
            last_arrival: None,
        }
    }

    /// Returns the time at which data last arrived. Called when the reading has to wait. Reads the clock only if data
    /// has arrived since the last call.
    fn last_arrival(&mut self) -> Instant {
        *self.last_arrival.get_or_insert_with(Instant::now)
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
        if data.has_remaining() {
            self.last_arrival = None;
        }
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
        let Self { parts, body, stated, first, joined, trailers, ended, .. } = self;
        let data = join(first, joined);
        // An absent body is passed on as it is, because it states the length of the body that a GET would have.
        let is_absent = data.is_empty() && trailers.is_none() && stated.is_some();
        let body = if ended && !is_absent {
            BufferedBody::whole(data, trailers)
        } else {
            BufferedBody::begun(data, body)
        };
        if ended {
            raise_in_memory(body.size_hint().exact());
        } else {
            withdraw_in_memory();
        }
        Response::from_parts(parts, body)
    }

    /// Returns the response with a body that fails where it broke off, and with the endpoint for the retry.
    #[cold]
    fn break_off(self, broken: BrokenBody, fault: Option<BodyFault>) -> Response<BufferedBody<B>> {
        let Self { mut parts, stated, first, joined, .. } = self;
        let body = BufferedBody::broken(join(first, joined), broken.cause(), stated);
        raise_in_memory(body.size_hint().exact());
        parts.extensions.insert(broken);
        if let Some(BodyFault { endpoint, terms }) = fault {
            parts.extensions.insert(endpoint);
            parts.extensions.insert(terms);
        }
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

#[cfg(test)]
mod tests {
    use std::io;

    use http::StatusCode;
    use http_body::{Frame, SizeHint};
    use tower::{Layer as _, Service as _};

    use super::*;
    use crate::buffer_body::BufferBodyLayer;
    use crate::internal::signals::{is_in_memory, raise_in_memory};

    /// A body that states this length, and yields these frames.
    struct Frames(Option<u64>, Vec<Result<Frame<Bytes>, io::Error>>);

    impl Body for Frames {
        type Data = Bytes;
        type Error = io::Error;

        fn poll_frame(
            mut self: Pin<&mut Self>,
            _cx: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
            Poll::Ready((!self.1.is_empty()).then(|| self.1.remove(0)))
        }

        fn size_hint(&self) -> SizeHint {
            self.0.map_or_else(SizeHint::new, SizeHint::with_exact)
        }
    }

    /// True if the response with this body is signalled as being in memory.
    async fn is_signalled(layer: BufferBodyLayer, body: Frames) -> bool {
        let mut response = Some(Response::new(body));
        let mut service = layer.layer(tower::service_fn(|()| {
            std::future::ready(Ok::<_, Error<io::Error>>(response.take().expect("one call")))
        }));
        std::future::poll_fn(|cx| service.poll_ready(cx)).await.unwrap();
        let mut future = std::pin::pin!(service.call(()));
        std::future::poll_fn(|cx| {
            raise_in_memory(Some(8)); // An earlier attempt of the same poll.
            future.as_mut().poll(cx).map(|response| {
                let response = response.unwrap();
                assert_eq!(response.status(), StatusCode::OK);
                is_in_memory(|| response.body().size_hint().exact())
            })
        })
        .await
    }

    #[tokio::test]
    async fn a_body_is_signalled_as_in_memory_if_nothing_more_comes_from_the_network() {
        let layer = BufferBodyLayer::new();
        let data = || Ok(Frame::data(Bytes::from_static(b"8 bytes.")));
        let trailers = || Ok(Frame::trailers(HeaderMap::new()));
        let reset = || Err(io::ErrorKind::ConnectionReset.into());
        let sized = |frames| Frames(Some(8), frames);
        assert!(is_signalled(layer, sized(vec![data()])).await);
        assert!(is_signalled(layer, sized(vec![data(), trailers()])).await);
        assert!(is_signalled(layer, sized(vec![reset()])).await, "a broken body");
        assert!(!is_signalled(layer.limit(7), sized(vec![data()])).await, "a body that is not read");
        let layer = layer.unsized_bodies(true);
        assert!(is_signalled(layer, Frames(None, vec![data()])).await);
        assert!(
            !is_signalled(layer.limit(7), Frames(None, vec![data()])).await,
            "a body that is read in part"
        );
    }
}
