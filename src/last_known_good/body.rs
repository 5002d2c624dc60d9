//! The body of a response: fresh, and kept as it is read; or stored.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Bytes, BytesMut};
use http_body::{Body, Frame, SizeHint};
use http_body_util::Full;
use pin_project::pin_project;

use super::MemoryStore;
use super::entry::Head;
use super::key::Key;
use crate::BoxError;
use crate::http::body::{End, Watch, WatchedBody};
use crate::message::sealed::Sealed;

/// The body of a response that came through [`LastKnownGood`](super::LastKnownGood).
#[pin_project]
#[derive(Debug)]
pub struct ResponseBody<B>(#[pin] Kind<B>);

// Fresh is the usual one: boxing it would cost every call an allocation.
#[allow(clippy::large_enum_variant)]
#[pin_project(project = KindProj)]
#[derive(Debug)]
enum Kind<B> {
    Fresh(#[pin] WatchedBody<B, Option<Keeper>>),
    Stored(#[pin] Full<Bytes>),
}

impl<B: Body<Data = Bytes>> ResponseBody<B> {
    /// A body that is handed on, and kept if there is a keeper.
    pub(super) fn fresh(body: B, keeper: Option<Keeper>) -> Self {
        Self(Kind::Fresh(WatchedBody::new(body, keeper)))
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

/// Keeps a response as its body passes by: by reference, without a wait, and stored only if it was whole.
pub(super) struct Keeper {
    store: MemoryStore,
    /// What is being kept; `None` once the body has outgrown its bound.
    kept: Option<(Key, Head)>,
    /// The version of the key when the call began.
    version: u64,
    pieces: Vec<Bytes>,
    /// Small pieces after those, joined, so that a body in many of them takes no more memory than its bytes.
    tail: BytesMut,
    length: usize,
    max_length: usize,
}

impl Keeper {
    pub(super) fn new(store: MemoryStore, key: Key, version: u64, head: Head, max_length: usize) -> Self {
        Self {
            store,
            kept: Some((key, head)),
            version,
            pieces: Vec::new(),
            tail: BytesMut::new(),
            length: 0,
            max_length,
        }
    }

    fn store(&mut self) {
        let Some((key, head)) = self.kept.take() else { return };
        // A piece is a part of the buffer that the connection was read into, and would hold on to all of it: what stays
        // is copied to its exact size, unless the same is in the store already.
        let previous = self.store.get(&key);
        if previous.as_ref().is_some_and(|entry| entry.is_newer_than(&head)) {
            return;
        }
        let unchanged = previous.map(|entry| entry.body().clone()).filter(|body| self.is_same(body));
        let body = unchanged.unwrap_or_else(|| self.join());
        self.store.insert(&key, self.version, head.with_body(body));
    }

    fn push(&mut self, data: &Bytes) {
        /// What is as small as this is not worth a reference of its own.
        const SMALL: usize = 1024;
        if data.len() <= SMALL && !self.pieces.is_empty() {
            self.tail.extend_from_slice(data);
            return;
        }
        if !self.tail.is_empty() {
            self.pieces.push(self.tail.split().freeze());
        }
        self.pieces.push(data.clone());
    }

    fn pieces(&self) -> impl Iterator<Item = &[u8]> {
        self.pieces.iter().map(|piece| &piece[..]).chain([&self.tail[..]])
    }

    fn is_same(&self, body: &Bytes) -> bool {
        let mut rest = &body[..];
        body.len() == self.length
            && self.pieces().all(|piece| {
                let (start, after) = rest.split_at(piece.len());
                rest = after;
                start == piece
            })
    }

    fn join(&self) -> Bytes {
        let mut joined = BytesMut::with_capacity(self.length);
        self.pieces().for_each(|piece| joined.extend_from_slice(piece));
        joined.freeze()
    }
}

// What is kept may be secret: the headers that the response varies on, its own, and its body.
impl fmt::Debug for Keeper {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keeper").field("length", &self.length).finish_non_exhaustive()
    }
}

impl Sealed for Option<Keeper> {}

impl Watch<Bytes> for Option<Keeper> {
    fn data(self: Pin<&mut Self>, data: &Bytes) {
        let Some(keeper) = self.get_mut() else { return };
        keeper.length = keeper.length.saturating_add(data.len());
        if keeper.length > keeper.max_length {
            keeper.kept = None;
            keeper.pieces = Vec::new();
            keeper.tail = BytesMut::new();
        } else if keeper.kept.is_some() && !data.is_empty() {
            keeper.push(data);
        }
    }

    fn end(self: Pin<&mut Self>, end: End) {
        if let (End::Whole, Some(keeper)) = (end, self.get_mut()) {
            keeper.store();
        }
    }
}
