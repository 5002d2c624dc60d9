//! The body of a response: fresh, and kept as it is read; or stored.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use http_body_util::Full;
use pin_project::pin_project;

use super::keeper::{Keeper, Watching};
use crate::BoxError;
use crate::http::body::WatchedBody;

/// The body of a response that came through [`LastKnownGood`](super::LastKnownGood).
#[pin_project]
#[derive(Debug)]
pub struct ResponseBody<B>(#[pin] Kind<B>);

// Fresh is the usual one: boxing it would cost every call an allocation.
#[allow(clippy::large_enum_variant)]
#[pin_project(project = KindProj)]
#[derive(Debug)]
enum Kind<B> {
    Fresh(#[pin] WatchedBody<B, Watching>),
    Stored(#[pin] Full<Bytes>),
}

impl<B: Body<Data = Bytes>> ResponseBody<B> {
    /// A body that is handed on, and kept if there is a keeper.
    pub(super) fn fresh(body: B, keeper: Option<Keeper>) -> Self {
        let watching = keeper.map_or(Watching::nothing(), Watching::keep);
        Self(Kind::Fresh(WatchedBody::new(body, watching)))
    }

    /// Whether it is still being kept, or a store has yet to be told that it was.
    pub(super) fn is_kept(&self) -> bool {
        match &self.0 {
            Kind::Fresh(body) => body.watch().is_some_and(Watching::is_busy),
            Kind::Stored(_) => false,
        }
    }

    pub(super) fn stored(body: Bytes) -> Self {
        Self(Kind::Stored(Full::new(body)))
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
