//! The body of a response: fresh, and recorded as it is read; or a recorded one.

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
/// What passes by is retained by reference, and recorded if it was whole. Where a store has to be told of it, the last piece is
/// handed on when it has been, or its bound has passed: who reads a body of a stated length may not look for its end.
#[pin_project]
#[derive(Debug)]
pub struct ResponseBody<B>(#[pin] Kind<B>);

// Fresh is the usual one: boxing it would cost every call an allocation.
#[allow(clippy::large_enum_variant)]
#[pin_project(project = KindProj)]
#[derive(Debug)]
enum Kind<B> {
    Fresh(#[pin] RecordedBody<B>),
    Stored(#[pin] Full<Bytes>),
}

/// A body, and who keeps it.
#[pin_project]
#[derive(Debug)]
struct RecordedBody<B> {
    #[pin]
    body: B,
    /// `None` if it is not recorded, or not any more.
    recorder: Option<Recorder>,
    ending: Ending,
}

/// How a body ends that a store is told of.
#[derive(Debug)]
enum Ending {
    NotYet,
    Writing(Box<PendingWrite>),
    /// The body has said that it has ended, and must not be asked again.
    Over,
}

/// The store is told, and what is to be handed on after that: the last piece, or the end.
struct PendingWrite {
    /// Locked by nobody: the future of a store need not be `Sync`, and a body has to be.
    write: Mutex<BoxFuture<()>>,
    last: Option<Frame<Bytes>>,
}

impl<B: Body<Data = Bytes>> ResponseBody<B> {
    /// A body that is handed on, and recorded if there is a recorder.
    pub(crate) fn fresh(body: B, recorder: Option<Recorder>) -> Self {
        Self(Kind::Fresh(RecordedBody { body, recorder, ending: Ending::NotYet }))
    }

    pub(crate) fn stored(body: Bytes) -> Self {
        Self(Kind::Stored(Full::new(body)))
    }

    /// Whether it is still being recorded, or a store has yet to be told that it was.
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

    /// That of what is held back.
    fn length(&self) -> u64 {
        self.last.as_ref().and_then(Frame::data_ref).map_or(0, |data| data.len() as u64)
    }
}

// What is held back may be secret.
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
