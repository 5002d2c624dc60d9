//! The body of a response: fresh, and kept as it is read; or a kept one.

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
/// What passes by is retained by reference, and kept if it was whole. Where a store has to be told of it, the last piece is
/// handed on when it has been, or its bound has passed: who reads a body of a stated length may not look for its end.
#[pin_project]
#[derive(Debug)]
pub struct ResponseBody<B>(#[pin] Kind<B>);

// Fresh is the usual one: boxing it would cost every call an allocation.
#[allow(clippy::large_enum_variant)]
#[pin_project(project = KindProj)]
#[derive(Debug)]
enum Kind<B> {
    Fresh(#[pin] Kept<B>),
    Stored(#[pin] Full<Bytes>),
}

/// A body, and who keeps it.
#[pin_project]
#[derive(Debug)]
struct Kept<B> {
    #[pin]
    body: B,
    /// `None` if it is not kept, or not any more.
    recorder: Option<Recorder>,
    ending: Ending,
}

/// How a body ends that a store is told of.
#[derive(Debug)]
enum Ending {
    NotYet,
    Telling(Box<Telling>),
    /// The body has said that it has ended, and must not be asked again.
    Over,
}

/// The store is told, and what is to be handed on after that: the last piece, or the end.
struct Telling {
    /// Locked by nobody: the future of a store need not be `Sync`, and a body has to be.
    telling: Mutex<BoxFuture<()>>,
    last: Option<Frame<Bytes>>,
}

impl<B: Body<Data = Bytes>> ResponseBody<B> {
    /// A body that is handed on, and kept if there is a recorder.
    pub(crate) fn fresh(body: B, recorder: Option<Recorder>) -> Self {
        Self(Kind::Fresh(Kept { body, recorder, ending: Ending::NotYet }))
    }

    pub(crate) fn stored(body: Bytes) -> Self {
        Self(Kind::Stored(Full::new(body)))
    }

    /// Whether it is still being kept, or a store has yet to be told that it was.
    pub(crate) fn is_kept(&self) -> bool {
        match &self.0 {
            Kind::Fresh(kept) => kept.recorder.is_some() || matches!(kept.ending, Ending::Telling(_)),
            Kind::Stored(_) => false,
        }
    }
}

impl<B> Kept<B>
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
            Ending::Telling(telling) => {
                ready!(telling.poll(cx));
                let last = telling.last.take();
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
        let telling = is_last.then(|| this.recorder.take()?.keep()).flatten();
        if let Some(telling) = telling {
            let mut telling = Box::new(Telling { telling: Mutex::new(telling), last: None });
            if telling.poll(cx).is_pending() {
                telling.last = frame;
                *this.ending = Ending::Telling(telling);
                return Poll::Pending;
            }
        }
        Poll::Ready(frame.map(Ok))
    }

    fn is_end_stream(&self) -> bool {
        match &self.ending {
            Ending::NotYet => self.body.is_end_stream(),
            Ending::Telling(_) => false,
            Ending::Over => true,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.ending {
            Ending::NotYet => self.body.size_hint(),
            Ending::Telling(telling) => SizeHint::with_exact(telling.length()),
            Ending::Over => SizeHint::with_exact(0),
        }
    }
}

impl Telling {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.telling.get_mut().unwrap_or_else(PoisonError::into_inner).as_mut().poll(cx)
    }

    /// That of what is held back.
    fn length(&self) -> u64 {
        self.last.as_ref().and_then(Frame::data_ref).map_or(0, |data| data.len() as u64)
    }
}

// What is held back may be secret.
impl std::fmt::Debug for Telling {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Telling").field("length", &self.length()).finish_non_exhaustive()
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
