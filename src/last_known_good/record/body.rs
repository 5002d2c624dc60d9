//! The body of the cache's responses: a fresh body, which is recorded while the caller reads it, or the body of an
//! entry.
//!
//! # The last piece is held back
//!
//! At the end of a body, the entry may also have to be written to the store. This write is asynchronous. The cache
//! spawns no task for the write, so the body has to wait for it. Every piece but the last passes without delay. The
//! last piece is handed on when the write has ended, at the latest at the store's timeout or the call's deadline. If
//! the last piece cannot be recognized, the end of the body is held back instead.
//!
//! A wait after the last piece would be too late. A server that forwards a body of known length drops the body once
//! it has forwarded that many bytes. The write to the store would be dropped with the body.
//!
//! An entry causes this wait at most once per `renew_after`. A response without a body is written to the store before
//! its head is handed on.
//!
//! # Cancellation
//!
//! A body that is dropped before its end is not stored. If a body is dropped during the write, its entry is in memory
//! and perhaps in the store. If a layer reads the body only to discard it, the recording ends.

use std::pin::Pin;
use std::sync::{Mutex, PoisonError};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use http_body_util::Full;
use pin_project::pin_project;

use crate::BoxError;
use crate::internal::signals::is_discarding;
use crate::last_known_good::record::recorder::Recorder;
use crate::last_known_good::tier::bounded_store::BoxFuture;

/// The body of a response that came through [`LastKnownGoodService`](crate::last_known_good::LastKnownGoodService).
///
/// The body is recorded while it is read, and stored once it is complete. If the entry must also be written to a
/// [`Store`](crate::last_known_good::Store), the last piece is held back until the write has ended, at most for
/// [`store_timeout`](crate::last_known_good::LastKnownGoodBuilder::store_timeout). Otherwise the write could be lost,
/// because a reader that knows the length may drop the body right after the last piece.
///
/// # Cancel safety
///
/// A body that is dropped before its end is not stored. An earlier entry stays in the cache.
#[pin_project]
#[derive(Debug)]
pub struct ResponseBody<B>(#[pin] Kind<B>);

// Not boxed: a fresh body is the usual case, and a box would cost every call an allocation.
#[allow(clippy::large_enum_variant)]
#[pin_project(project = KindProj)]
#[derive(Debug)]
enum Kind<B> {
    Fresh(#[pin] RecordedBody<B>),
    Stored(#[pin] Full<Bytes>),
}

/// A body, its recorder, and the state of its end.
#[pin_project]
#[derive(Debug)]
struct RecordedBody<B> {
    #[pin]
    body: B,
    /// `None` if the body is not recorded, or is no longer recorded.
    recorder: Option<Recorder>,
    ending: Ending,
}

/// The state of a body's end. The end may have to wait for a write to the store.
#[derive(Debug)]
enum Ending {
    NotYet,
    Writing(Box<PendingWrite>),
    /// The inner body has ended and must not be polled again.
    Over,
}

/// A write to the store, and the last piece of the body, which waits for the write.
struct PendingWrite {
    /// The mutex is never locked. It makes the body `Sync`, even if the store's future is not `Sync`.
    write: Mutex<BoxFuture<()>>,
    /// `None` if no piece waits, only the end.
    last: Option<Frame<Bytes>>,
}

impl<B: Body<Data = Bytes>> ResponseBody<B> {
    /// A body from the upstream, recorded if a recorder is given.
    pub(crate) fn fresh(body: B, recorder: Option<Recorder>) -> Self {
        Self(Kind::Fresh(RecordedBody { body, recorder, ending: Ending::NotYet }))
    }

    pub(crate) fn stored(body: Bytes) -> Self {
        Self(Kind::Stored(Full::new(body)))
    }

    /// True while the body is being recorded or its entry is being written to the store.
    pub(crate) fn is_recording(&self) -> bool {
        match &self.0 {
            Kind::Fresh(recorded) => {
                recorded.recorder.is_some() || matches!(recorded.ending, Ending::Writing(_))
            }
            Kind::Stored(_) => false,
        }
    }
}

impl<B> RecordedBody<B>
where
    B: Body<Data = Bytes>,
    B::Error: Into<BoxError>,
{
    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let mut this = self.project();
        if is_discarding() {
            *this.recorder = None;
        }
        match this.ending {
            Ending::NotYet => {}
            Ending::Writing(write) => {
                ready!(write.poll(cx));
                let last = write.last.take();
                *this.ending = if last.is_some() { Ending::NotYet } else { Ending::Over };
                return Poll::Ready(last.map(Ok));
            }
            Ending::Over => return Poll::Ready(None),
        }
        let frame = ready!(this.body.as_mut().poll_frame(cx)).transpose().map_err(|error| {
            *this.recorder = None;
            error.into()
        });
        let frame = match frame {
            Ok(frame) => frame,
            Err(error) => return Poll::Ready(Some(Err(error))),
        };
        if let Some(data) = frame.as_ref().and_then(Frame::data_ref) {
            this.recorder.take_if(|recorder| !recorder.receive(data));
        }
        let is_last = frame.is_none() || this.body.is_end_stream();
        let write = is_last.then(|| this.recorder.take()?.store()).flatten();
        if let Some(write) = write {
            let mut write = Box::new(PendingWrite { write: Mutex::new(write), last: None });
            if write.poll(cx).is_pending() {
                write.last = frame;
                *this.ending = Ending::Writing(write);
                return Poll::Pending;
            }
        }
        Poll::Ready(frame.map(Ok))
    }

    fn is_end_stream(&self) -> bool {
        match &self.ending {
            Ending::NotYet => self.body.is_end_stream(),
            Ending::Writing(_) => false,
            Ending::Over => true,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.ending {
            Ending::NotYet => self.body.size_hint(),
            Ending::Writing(write) => SizeHint::with_exact(write.length()),
            Ending::Over => SizeHint::with_exact(0),
        }
    }
}

impl PendingWrite {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.write.get_mut().unwrap_or_else(PoisonError::into_inner).as_mut().poll(cx)
    }

    /// The length of the piece that is held back; zero without one.
    fn length(&self) -> u64 {
        self.last.as_ref().and_then(Frame::data_ref).map_or(0, |data| data.len() as u64)
    }
}

// Prints only the length, because the piece that is held back may be secret.
impl std::fmt::Debug for PendingWrite {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PendingWrite").field("length", &self.length()).finish_non_exhaustive()
    }
}

impl<B> Body for ResponseBody<B>
where
    B: Body<Data = Bytes>,
    B::Error: Into<BoxError>,
{
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        match self.project().0.project() {
            KindProj::Fresh(body) => body.poll_frame(cx),
            KindProj::Stored(body) => body.poll_frame(cx).map_err(|never| match never {}),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.0 {
            Kind::Fresh(body) => body.is_end_stream(),
            Kind::Stored(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            Kind::Fresh(body) => body.size_hint(),
            Kind::Stored(body) => body.size_hint(),
        }
    }
}
