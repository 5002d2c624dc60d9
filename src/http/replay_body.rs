//! A request body that can be sent again, because it keeps a bounded copy of its data while it is sent.
//!
//! A streaming body is gone once it is sent. Reading it whole before the first attempt would delay every call for the
//! sake of the few that fail. So [`ReplayBody`] keeps each frame while a copy for a later attempt exists. A body that
//! outgrows the bound is sent, too, but only once.
//!
//! # Implementation
//!
//! All copies share one `ReplayBuffer`, which holds the inner body, the frames so far, and the trailers. A copy first
//! sends all kept frames, then reads the rest from the inner body. Frames of `Bytes` are kept without copying their
//! data.
//!
//! Only one copy reads at a time; this copy is the reader. Each copy has a number, its generation. Of all copies that
//! were polled or have [taken over](TryCloneBody::take_over), the newest is the reader. An older copy ends with an
//! error at its next poll, and is woken if it waits for the inner body.
//!
//! # Memory
//!
//! The buffer keeps at most `limit` bytes, in a bounded number of frames. If a frame exceeds a bound, or arrives
//! while no other copy exists, the buffer becomes incomplete and keeps only the latest frame. The buffer also becomes
//! incomplete if the body fails. Once the buffer is incomplete, no copy can be made, and no copy can take over.

use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker, ready};

use bytes::{Buf, Bytes};
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};

use super::request::TryCloneBody;
use crate::BoxError;

/// A body that keeps the data that it has sent, up to a limit, so that a copy can send the data again.
///
/// Copies share the kept data and the rest of the stream. As soon as a newer copy is read, the reading of an older
/// copy ends with an error.
#[derive(Debug)]
pub struct ReplayBody<B> {
    buffer: Arc<Mutex<ReplayBuffer<B>>>,
    /// The number of this copy; the original is 0.
    generation: u32,
    /// The numbers of data frames and of bytes that this copy has yielded.
    frames: usize,
    bytes: u64,
    trailers_sent: bool,
}

#[derive(Debug)]
struct ReplayBuffer<B> {
    body: B,
    size_hint: SizeHint,
    /// The data frames so far, or only the latest one after a frame was dropped.
    kept: Vec<Bytes>,
    kept_bytes: usize,
    limit: usize,
    /// The number of data frames that the body has yielded.
    frames: usize,
    trailers: Option<HeaderMap>,
    ended: bool,
    /// True if only the latest frame is kept, or if the body has failed. Then no copy can be made, and none can take
    /// over.
    incomplete: bool,
    /// `newest` is the latest generation that was made, and `reader` the generation that reads now.
    newest: u32,
    reader: u32,
    /// The waker of a reader that waits for the body, to wake the reader when a newer copy takes over. The body
    /// itself stores only the waker of its last poll.
    waiting: Option<Waker>,
}

impl<B: Body> ReplayBody<B> {
    /// Creates a body that keeps up to `limit` bytes of `body`.
    pub fn new(body: B, limit: usize) -> Self {
        let buffer = ReplayBuffer {
            size_hint: body.size_hint(),
            ended: body.is_end_stream(),
            body,
            kept: Vec::new(),
            kept_bytes: 0,
            limit,
            frames: 0,
            trailers: None,
            incomplete: false,
            newest: 0,
            reader: 0,
            waiting: None,
        };
        Self {
            buffer: Arc::new(Mutex::new(buffer)),
            generation: 0,
            frames: 0,
            bytes: 0,
            trailers_sent: false,
        }
    }
}

impl<B> ReplayBody<B> {
    fn buffer(&self) -> MutexGuard<'_, ReplayBuffer<B>> {
        lock(&self.buffer)
    }
}

/// Ignores poisoning: a panic in the inner body leaves the kept frames intact.
fn lock<B>(buffer: &Mutex<ReplayBuffer<B>>) -> MutexGuard<'_, ReplayBuffer<B>> {
    buffer.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<B> TryCloneBody for ReplayBody<B> {
    fn try_clone(&self) -> Option<Self> {
        let mut buffer = self.buffer();
        if buffer.incomplete {
            return None;
        }
        buffer.newest += 1;
        Some(Self {
            buffer: Arc::clone(&self.buffer),
            generation: buffer.newest,
            frames: 0,
            bytes: 0,
            trailers_sent: false,
        })
    }

    fn take_over(&self) -> bool {
        let mut buffer = self.buffer();
        let whole = !buffer.incomplete && buffer.reader <= self.generation;
        if whole {
            buffer.read_by(self.generation);
        }
        whole
    }
}

impl<B> Body for ReplayBody<B>
where
    B: Body + Unpin,
    B::Error: Into<BoxError>,
{
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = self.get_mut();
        let wanted_again = Arc::strong_count(&this.buffer) > 1;
        let mut buffer = lock(&this.buffer);
        if buffer.reader > this.generation {
            return Poll::Ready(Some(Err("a later attempt sends this body now".into())));
        }
        buffer.read_by(this.generation);
        if this.frames == buffer.frames {
            let Poll::Ready(next) = buffer.poll_next(cx, wanted_again) else {
                buffer.waiting = Some(cx.waker().clone());
                return Poll::Pending;
            };
            next?;
        }
        if this.frames < buffer.frames {
            // The latest frame is kept even if earlier frames are gone.
            let missing = buffer.frames - buffer.kept.len();
            let Some(data) = this.frames.checked_sub(missing).map(|index| buffer.kept[index].clone()) else {
                return Poll::Ready(Some(Err("this body is too long to be sent again".into())));
            };
            this.frames += 1;
            this.bytes += data.len() as u64;
            return Poll::Ready(Some(Ok(Frame::data(data))));
        }
        let trailers = buffer.trailers.clone().filter(|_| !this.trailers_sent);
        this.trailers_sent = true;
        Poll::Ready(trailers.map(|trailers| Ok(Frame::trailers(trailers))))
    }

    fn is_end_stream(&self) -> bool {
        let buffer = self.buffer();
        buffer.ended && self.frames == buffer.frames && (self.trailers_sent || buffer.trailers.is_none())
    }

    fn size_hint(&self) -> SizeHint {
        let whole = self.buffer().size_hint;
        let mut left = SizeHint::new();
        if let Some(upper) = whole.upper() {
            left.set_upper(upper.saturating_sub(self.bytes));
        }
        left.set_lower(whole.lower().saturating_sub(self.bytes));
        left
    }
}

impl<B> ReplayBuffer<B> {
    /// Makes `generation` the reader, and wakes the earlier reader if that one waits.
    fn read_by(&mut self, generation: u32) {
        if std::mem::replace(&mut self.reader, generation) != generation {
            if let Some(older) = self.waiting.take() {
                older.wake();
            }
        }
    }
}

impl<B> ReplayBuffer<B>
where
    B: Body + Unpin,
    B::Error: Into<BoxError>,
{
    /// Reads one more data frame from the body, or finds the body's end.
    fn poll_next(&mut self, cx: &mut Context<'_>, wanted_again: bool) -> Poll<Result<(), BoxError>> {
        while !self.ended {
            match ready!(Pin::new(&mut self.body).poll_frame(cx)) {
                None => self.ended = true,
                Some(Err(error)) => {
                    self.incomplete = true;
                    return Poll::Ready(Err(error.into()));
                }
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) if !data.has_remaining() => {
                        // An empty frame is not kept. Yield to the runtime, because an endless row of empty frames
                        // must not block the thread.
                        cx.waker().wake_by_ref();
                        return Poll::Pending;
                    }
                    Ok(mut data) => {
                        let data = data.copy_to_bytes(data.remaining());
                        self.ended = self.body.is_end_stream();
                        self.keep(data, wanted_again);
                        return Poll::Ready(Ok(()));
                    }
                    Err(frame) => {
                        if let Ok(trailers) = frame.into_trailers() {
                            self.trailers = Some(trailers);
                            self.ended = true;
                        }
                    }
                },
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Keeps a frame: after the earlier frames, or instead of them if the buffer is incomplete.
    fn keep(&mut self, data: Bytes, wanted_again: bool) {
        self.frames += 1;
        self.kept_bytes += data.len();
        // Small frames cost more memory than their bytes. Beyond 1024 frames, keep at most `limit / 16` frames.
        let too_many = self.kept.len() > 1024 && self.kept.len() * 16 > self.limit;
        if !wanted_again || too_many || self.kept_bytes > self.limit {
            self.incomplete = true;
        }
        if self.incomplete {
            self.kept.clear();
        }
        self.kept.push(data);
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;

    use super::*;

    type Frames = std::vec::IntoIter<Result<Frame<Bytes>, &'static str>>;

    /// A body of these frames, of unknown size.
    #[derive(Debug)]
    struct Stream(Frames);

    impl Body for Stream {
        type Data = Bytes;
        type Error = &'static str;

        fn poll_frame(
            mut self: Pin<&mut Self>,
            _cx: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, &'static str>>> {
            Poll::Ready(self.0.next())
        }
    }

    fn body(limit: usize) -> ReplayBody<Stream> {
        let frames: Vec<_> = ["one ", "two ", "three"]
            .into_iter()
            .map(|data| Ok(Frame::data(Bytes::from_static(data.as_bytes()))))
            .collect();
        ReplayBody::new(Stream(frames.into_iter()), limit)
    }

    async fn read<B: Body<Data = Bytes, Error = BoxError> + Unpin>(body: B) -> Result<String, BoxError> {
        Ok(String::from_utf8(body.collect().await?.to_bytes().to_vec())?)
    }

    async fn next<B: Body<Data = Bytes, Error = BoxError> + Unpin>(body: &mut B) -> String {
        let frame = body.frame().await.unwrap().unwrap();
        String::from_utf8(frame.into_data().unwrap().to_vec()).unwrap()
    }

    #[tokio::test]
    async fn a_copy_sends_what_the_first_one_sent() {
        let first = body(64);
        let copy = first.try_clone().unwrap();
        assert_eq!(read(first).await.unwrap(), "one two three");
        assert!(copy.take_over());
        assert_eq!(read(copy).await.unwrap(), "one two three");
    }

    #[tokio::test]
    async fn a_copy_goes_on_where_a_dropped_attempt_stopped_reading() {
        let mut first = body(64);
        let copy = first.try_clone().unwrap();
        assert_eq!(next(&mut first).await, "one ");
        drop(first);
        assert_eq!(read(copy).await.unwrap(), "one two three");
    }

    #[tokio::test]
    async fn a_copy_takes_over_from_an_attempt_that_is_still_being_read() {
        let mut first = body(64);
        let mut copy = first.try_clone().unwrap();
        next(&mut first).await;
        assert_eq!(next(&mut copy).await, "one ");
        assert!(read(first).await.is_err());
        assert_eq!(read(copy).await.unwrap(), "two three");
    }

    #[tokio::test]
    async fn a_body_over_the_limit_is_sent_once_and_not_buffered() {
        let first = body(7);
        let copy = first.try_clone().unwrap();
        assert_eq!(read(first).await.unwrap(), "one two three");
        assert!(!copy.take_over());
        assert!(copy.try_clone().is_none());
        assert!(read(copy).await.is_err());
    }

    #[tokio::test]
    async fn without_a_copy_only_the_last_frame_is_buffered() {
        let mut only = body(64);
        next(&mut only).await;
        next(&mut only).await;
        assert_eq!(only.buffer().kept.len(), 1);
    }

    #[tokio::test]
    async fn trailers_come_again() {
        let mut trailers = HeaderMap::new();
        trailers.insert("grpc-status", "0".parse().unwrap());
        let frames = vec![Ok(Frame::data(Bytes::from_static(b"x"))), Ok(Frame::trailers(trailers.clone()))];
        let first = ReplayBody::new(Stream(frames.into_iter()), 64);
        let copy = first.try_clone().unwrap();
        for body in [first, copy] {
            assert_eq!(body.collect().await.unwrap().trailers(), Some(&trailers));
        }
    }

    #[tokio::test]
    async fn the_stated_size_is_that_of_the_unread_part() {
        let mut body = ReplayBody::new(http_body_util::Full::new(Bytes::from_static(b"abc")), 64);
        let copy = body.try_clone().unwrap();
        assert_eq!(body.size_hint().exact(), Some(3));
        next(&mut body).await;
        assert_eq!(body.size_hint().exact(), Some(0));
        assert!(body.is_end_stream());
        assert_eq!(copy.size_hint().exact(), Some(3));
    }

    #[tokio::test]
    async fn a_body_that_fails_is_not_sent_again() {
        let frames = vec![Ok(Frame::data(Bytes::from_static(b"x"))), Err("disk")];
        let first = ReplayBody::new(Stream(frames.into_iter()), 64);
        let copy = first.try_clone().unwrap();
        assert_eq!(read(first).await.unwrap_err().to_string(), "disk");
        assert!(!copy.take_over());
    }

    #[tokio::test]
    async fn a_takeover_wakes_the_earlier_upload() {
        /// A body that never yields a frame.
        struct Stalled;

        impl Body for Stalled {
            type Data = Bytes;
            type Error = BoxError;

            fn poll_frame(
                self: Pin<&mut Self>,
                _cx: &mut Context<'_>,
            ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
                Poll::Pending
            }
        }

        let mut first = ReplayBody::new(Stalled, 64);
        let copy = first.try_clone().unwrap();
        let mut reading = tokio_test::task::spawn(first.frame());
        assert!(reading.poll().is_pending());
        assert!(copy.take_over());
        assert!(reading.is_woken());
        assert!(matches!(reading.poll(), Poll::Ready(Some(Err(_)))));
    }

    #[tokio::test]
    async fn empty_frames_take_no_room() {
        let frames: Vec<_> = (0..10_000).map(|_| Ok(Frame::data(Bytes::new()))).collect();
        let first = ReplayBody::new(Stream(frames.into_iter()), 64);
        let copy = first.try_clone().unwrap();
        assert_eq!(read(first).await.unwrap(), "");
        assert!(copy.buffer().kept.is_empty());
    }
}
