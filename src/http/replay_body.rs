//! A request body that can be sent again, because it keeps a bounded copy of its data while it is sent.
//!
//! A streaming body is gone once it is sent. Reading it whole before the first attempt would delay every call for the
//! sake of the few that fail. So [`ReplayBody`] copies the data of each frame while a copy of the body for a later
//! attempt exists. A body that outgrows the bound is sent, too, but only once.
//!
//! # Implementation
//!
//! All copies of the body share one `ReplayBuffer`, which holds the inner body, the data so far in one piece, and the
//! trailers. Each copy has a position, in bytes. A copy behind the end of the data sends the kept data first. At the
//! end of the data, a copy reads the next frame from the inner body and hands it on as it is.
//!
//! Only one copy reads at a time; this copy is the reader. Each copy has a number, its generation. Of all copies that
//! were polled or have [taken over](TryCloneBody::take_over), the newest is the reader. An older copy ends with an
//! error at its next poll, and is woken if it waits for the inner body.
//!
//! # Memory
//!
//! The buffer keeps at most `limit` bytes, and its capacity does not exceed `limit`. The buffer keeps copies and not
//! the frames themselves. A frame can be a small slice of a large read buffer, and would keep all of the read buffer
//! alive. Kept data is sent in frames of at most 64 KiB.
//!
//! If the data exceeds `limit`, or a frame arrives while no other copy exists, the buffer becomes incomplete and
//! keeps nothing. The buffer also becomes incomplete if the inner body fails or panics. Once the buffer is
//! incomplete, no copy can be made, and no copy can take over.

use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker, ready};

use bytes::{Buf, Bytes};
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};

use super::request::TryCloneBody;
use crate::BoxError;
use crate::internal::frame_quota::FrameQuota;

/// A body that keeps a copy of the data that it has sent, up to a limit, so that the data can be sent again.
///
/// Copies share the kept data and the rest of the stream. As soon as a newer copy is read, the reading of an older
/// copy ends with an error. Nothing follows an error.
#[derive(Debug)]
pub struct ReplayBody<B> {
    buffer: Arc<Mutex<ReplayBuffer<B>>>,
    /// The number of this copy; the original is 0.
    generation: u32,
    /// The number of bytes that this copy has yielded.
    position: u64,
    /// True after the end, the trailers or an error.
    is_over: bool,
}

#[derive(Debug)]
struct ReplayBuffer<B> {
    body: B,
    size_hint: SizeHint,
    /// The data so far; empty once the buffer is incomplete.
    kept: Vec<u8>,
    limit: usize,
    /// The number of bytes that the body has yielded.
    received: u64,
    trailers: Option<HeaderMap>,
    progress: Progress,
    /// True if data is missing from `kept`, or if the body has failed. Then no copy can be made, and none can take
    /// over.
    incomplete: bool,
    /// `newest` is the latest generation that was made, and `reader` the generation that reads now.
    newest: u32,
    reader: u32,
    /// The waker of a reader that waits for the body, to wake the reader when a newer copy takes over. The body
    /// itself stores only the waker of its last poll.
    waiting: Option<Waker>,
}

/// How far the inner body was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Progress {
    Open,
    Ended,
    /// The body has failed or panicked, and must not be polled again.
    Failed,
}

impl<B: Body> ReplayBody<B> {
    /// Creates a body that keeps up to `limit` bytes of `body`.
    pub fn new(body: B, limit: usize) -> Self {
        let buffer = ReplayBuffer {
            size_hint: body.size_hint(),
            progress: if body.is_end_stream() { Progress::Ended } else { Progress::Open },
            body,
            kept: Vec::new(),
            limit,
            received: 0,
            trailers: None,
            incomplete: false,
            newest: 0,
            reader: 0,
            waiting: None,
        };
        Self { buffer: Arc::new(Mutex::new(buffer)), generation: 0, position: 0, is_over: false }
    }
}

impl<B> ReplayBody<B> {
    fn buffer(&self) -> MutexGuard<'_, ReplayBuffer<B>> {
        lock(&self.buffer)
    }
}

/// Locks the buffer. If the inner body has panicked in an earlier poll, a frame may be lost, so the body counts as
/// failed.
fn lock<B>(buffer: &Mutex<ReplayBuffer<B>>) -> MutexGuard<'_, ReplayBuffer<B>> {
    buffer.lock().unwrap_or_else(|poisoned| {
        buffer.clear_poison();
        let mut buffer = PoisonError::into_inner(poisoned);
        buffer.fail();
        buffer
    })
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
            position: 0,
            is_over: false,
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
        if this.is_over {
            return Poll::Ready(None);
        }
        let frame = ready!(this.poll_next(cx));
        match frame.as_ref().map(|frame| frame.as_ref().ok().and_then(Frame::data_ref)) {
            Some(Some(data)) => this.position += data.len() as u64,
            Some(None) | None => this.is_over = true,
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        let buffer = self.buffer();
        let has_ended = buffer.progress == Progress::Ended && self.position == buffer.received;
        self.is_over || (has_ended && buffer.trailers.is_none())
    }

    fn size_hint(&self) -> SizeHint {
        let whole = self.buffer().size_hint;
        let mut left = SizeHint::new();
        if let Some(upper) = whole.upper() {
            left.set_upper(upper.saturating_sub(self.position));
        }
        left.set_lower(whole.lower().saturating_sub(self.position));
        left
    }
}

impl<B> ReplayBody<B>
where
    B: Body + Unpin,
    B::Error: Into<BoxError>,
{
    /// Returns the kept data after the position, or else the next frame of the body.
    fn poll_next(&self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let wanted_again = Arc::strong_count(&self.buffer) > 1;
        let mut buffer = self.buffer();
        if buffer.reader > self.generation {
            return Poll::Ready(Some(Err("a later attempt sends this body now".into())));
        }
        buffer.read_by(self.generation);
        if self.position < buffer.received {
            return Poll::Ready(Some(buffer.replay(self.position)));
        }
        let polled = buffer.poll_next(cx, wanted_again);
        if polled.is_pending() {
            buffer.waiting = Some(cx.waker().clone());
        }
        polled
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

    /// Returns a copy of kept data from `position` on.
    fn replay(&self, position: u64) -> Result<Frame<Bytes>, BoxError> {
        /// The largest frame of kept data, so that a replay does not double the memory of a large buffer.
        const MAX_FRAME: usize = 64 * 1024;
        let data = usize::try_from(position).ok().and_then(|position| self.kept.get(position..));
        let data = data.filter(|data| !data.is_empty()).ok_or("this body is too long to be sent again")?;
        Ok(Frame::data(Bytes::copy_from_slice(&data[..data.len().min(MAX_FRAME)])))
    }

    /// Keeps a copy of `data`, unless the buffer is or becomes incomplete.
    fn keep(&mut self, data: &[u8], wanted_again: bool) {
        self.received += data.len() as u64;
        let length = self.kept.len().saturating_add(data.len());
        if self.incomplete || !wanted_again || length > self.limit {
            self.give_up();
            return;
        }
        if length > self.kept.capacity() {
            // Double the capacity, but not beyond the limit or the stated length of the body.
            let stated = self.size_hint.upper().and_then(|upper| usize::try_from(upper).ok());
            let most = stated.unwrap_or(usize::MAX).min(self.limit);
            let capacity = self.kept.capacity().saturating_mul(2).min(most).max(length);
            self.kept.reserve_exact(capacity - self.kept.len());
        }
        self.kept.extend_from_slice(data);
    }

    /// Makes the buffer incomplete, and frees its memory.
    fn give_up(&mut self) {
        self.incomplete = true;
        self.kept = Vec::new();
    }

    fn fail(&mut self) {
        self.progress = Progress::Failed;
        self.give_up();
    }
}

impl<B> ReplayBuffer<B>
where
    B: Body + Unpin,
    B::Error: Into<BoxError>,
{
    /// Reads the next frame of the body that is not empty, and keeps a copy of its data. Every copy that reaches the
    /// end of the body gets the trailers.
    fn poll_next(
        &mut self,
        cx: &mut Context<'_>,
        wanted_again: bool,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let mut quota = FrameQuota::of_a_poll();
        while self.progress == Progress::Open {
            ready!(quota.poll_take(cx));
            match ready!(Pin::new(&mut self.body).poll_frame(cx)) {
                None => self.progress = Progress::Ended,
                Some(Err(error)) => {
                    self.fail();
                    return Poll::Ready(Some(Err(error.into())));
                }
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(mut data) if data.has_remaining() => {
                        let data = data.copy_to_bytes(data.remaining());
                        self.keep(&data, wanted_again);
                        if self.body.is_end_stream() {
                            self.progress = Progress::Ended;
                        }
                        return Poll::Ready(Some(Ok(Frame::data(data))));
                    }
                    Ok(_empty) => {}
                    Err(frame) => {
                        if let Ok(trailers) = frame.into_trailers() {
                            self.trailers = Some(trailers);
                            self.progress = Progress::Ended;
                        }
                    }
                },
            }
        }
        Poll::Ready(match self.progress {
            Progress::Failed => Some(Err("this body has failed in an earlier attempt".into())),
            _ => self.trailers.clone().map(|trailers| Ok(Frame::trailers(trailers))),
        })
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
        assert_eq!(copy.buffer().kept.capacity(), 0);
        assert!(read(copy).await.is_err());
    }

    #[tokio::test]
    async fn a_copy_in_the_middle_of_a_body_over_the_limit_ends_with_an_error() {
        let mut first = body(7);
        let mut copy = first.try_clone().unwrap();
        next(&mut first).await;
        assert_eq!(next(&mut copy).await, "one ");
        let late = copy.try_clone().unwrap();
        assert_eq!(read(copy).await.unwrap(), "two three");
        assert!(read(late).await.is_err());
    }

    #[tokio::test]
    async fn the_buffer_never_has_room_for_more_than_its_limit() {
        for limit in [1, 63, 64, 1000, usize::MAX] {
            let frames: Vec<_> = (0..64).map(|_| Ok(Frame::data(Bytes::from_static(b"x")))).collect();
            let mut first = ReplayBody::new(Stream(frames.into_iter()), limit);
            let copy = first.try_clone().unwrap();
            while first.frame().await.is_some() {
                assert!(copy.buffer().kept.capacity() <= limit.min(64), "up to {limit}");
            }
            assert_eq!(copy.take_over(), limit >= 64);
        }
    }

    #[tokio::test]
    async fn a_frame_is_handed_on_without_a_copy() {
        let data = Bytes::from(vec![7; 1000]);
        let mut first = ReplayBody::new(http_body_util::Full::new(data.clone()), 4096);
        let _copy = first.try_clone().unwrap();
        let sent = first.frame().await.unwrap().unwrap().into_data().unwrap();
        assert_eq!(sent.as_ptr(), data.as_ptr());
    }

    #[tokio::test]
    async fn a_large_buffer_is_sent_again_in_frames_of_64_kib() {
        let data = Bytes::from((0..200_000_u32).map(|number| (number % 251) as u8).collect::<Vec<_>>());
        let mut first = ReplayBody::new(http_body_util::Full::new(data.clone()), 1024 * 1024);
        let mut copy = first.try_clone().unwrap();
        first.frame().await.unwrap().unwrap();
        let mut again = Vec::new();
        while let Some(frame) = copy.frame().await {
            let frame = frame.unwrap().into_data().unwrap();
            assert!(frame.len() <= 64 * 1024);
            again.extend_from_slice(&frame);
        }
        assert_eq!(again, data);
    }

    #[tokio::test]
    async fn without_a_copy_nothing_is_buffered() {
        let mut only = body(64);
        next(&mut only).await;
        next(&mut only).await;
        assert_eq!(only.buffer().kept.capacity(), 0);
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
        assert!(read(copy).await.is_err());
    }

    #[tokio::test]
    async fn a_body_that_panics_is_not_sent_again() {
        /// A body that loses a frame in a panic.
        struct Panics(u32);

        impl Body for Panics {
            type Data = Bytes;
            type Error = BoxError;

            fn poll_frame(
                mut self: Pin<&mut Self>,
                _cx: &mut Context<'_>,
            ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
                self.0 += 1;
                match self.0 {
                    2 => panic!("a frame is lost"),
                    4 => Poll::Ready(None),
                    _ => Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(b"x"))))),
                }
            }
        }

        let mut first = ReplayBody::new(Panics(0), 64);
        let copy = first.try_clone().unwrap();
        assert_eq!(next(&mut first).await, "x");
        let mut cx = Context::from_waker(Waker::noop());
        let poll = std::panic::AssertUnwindSafe(|| _ = Pin::new(&mut first).poll_frame(&mut cx));
        assert!(std::panic::catch_unwind(poll).is_err());
        assert!(!copy.take_over());
        assert!(copy.try_clone().is_none());
        assert!(read(copy).await.is_err());
        assert!(read(first).await.is_err());
    }

    #[tokio::test]
    async fn nothing_follows_an_error() {
        let frames = vec![Err("disk"), Ok(Frame::data(Bytes::from_static(b"x")))];
        let mut failed = ReplayBody::new(Stream(frames.into_iter()), 64);
        let mut older = body(64);
        let newer = older.try_clone().unwrap();
        assert!(newer.take_over());
        for (is_end, frame) in
            [(failed.is_end_stream(), failed.frame().await), (older.is_end_stream(), older.frame().await)]
        {
            assert!(!is_end && frame.unwrap().is_err());
        }
        assert!(failed.is_end_stream() && failed.frame().await.is_none());
        assert!(older.is_end_stream() && older.frame().await.is_none());
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
    async fn ten_thousand_empty_frames_take_no_room_and_are_not_read_in_one_poll() {
        let mut frames: Vec<_> = (0..10_000).map(|_| Ok(Frame::data(Bytes::new()))).collect();
        frames.push(Ok(Frame::data(Bytes::from_static(b"x"))));
        let first = ReplayBody::new(Stream(frames.into_iter()), 64);
        let copy = first.try_clone().unwrap();
        let mut reading = tokio_test::task::spawn(read(first));
        assert!(reading.poll().is_pending());
        assert!(reading.is_woken());
        assert_eq!(reading.await.unwrap(), "x");
        assert_eq!(copy.buffer().kept, b"x");
    }
}
