//! The part of a body that has arrived, compared with the body of the earlier entry.
//!
//! A piece of a body is a slice of the connection's read buffer. A stored slice would keep the whole buffer in
//! memory, beyond the configured bound. Pieces are therefore held only until the body is complete, and a stored body
//! is a copy of exact size. If a body equals the earlier entry's, no piece is held.

use bytes::{Bytes, BytesMut};

/// The received bytes of a body. As long as they equal the beginning of the earlier entry's body, called `known`
/// below, only their number is held.
#[derive(Debug)]
pub(crate) enum BodyCapture {
    Known(usize),
    // Boxed: a new body is rare, and a small enum is cheap to move with the response.
    Other(Box<Pieces>),
}

impl Default for BodyCapture {
    fn default() -> Self {
        Self::Known(0)
    }
}

impl BodyCapture {
    pub(crate) fn len(&self) -> usize {
        match self {
            Self::Known(length) => *length,
            Self::Other(pieces) => pieces.length,
        }
    }

    /// Returns a copy of a complete body. The copy has exact size.
    pub(crate) fn whole(body: &Bytes) -> Bytes {
        Bytes::copy_from_slice(body)
    }

    /// Adds a received piece. `known` must be the same body for all pieces.
    pub(crate) fn push(&mut self, data: &Bytes, known: &Bytes) {
        match self {
            Self::Known(length) if known[*length..].starts_with(data) => *length += data.len(),
            Self::Known(length) => {
                let mut pieces = Box::<Pieces>::default();
                pieces.push(&known.slice(..*length));
                pieces.push(data);
                *self = Self::Other(pieces);
            }
            Self::Other(pieces) => pieces.push(data),
        }
    }

    pub(crate) const fn is_all_of(&self, known: &Bytes) -> bool {
        matches!(self, Self::Known(length) if *length == known.len())
    }

    /// Returns the known body if the received body is equal, else a copy of the received body.
    pub(crate) fn into_body(self, known: &Bytes) -> Bytes {
        match self {
            Self::Known(_) if self.is_all_of(known) => known.clone(),
            Self::Known(length) => Bytes::copy_from_slice(&known[..length]),
            Self::Other(pieces) => pieces.join(),
        }
    }
}

#[derive(Debug, Default)]
pub(crate) struct Pieces {
    large: Vec<Bytes>,
    /// The small pieces after the last large one, copied and joined, so that they do not keep read buffers in memory.
    tail: BytesMut,
    length: usize,
}

impl Pieces {
    fn push(&mut self, data: &Bytes) {
        /// The size, in bytes, up to which a piece is copied instead of referenced.
        const SMALL: usize = 1024;
        self.length += data.len();
        if data.len() <= SMALL && !self.large.is_empty() {
            self.tail.extend_from_slice(data);
            return;
        }
        if !self.tail.is_empty() {
            self.large.push(self.tail.split().freeze());
        }
        if !data.is_empty() {
            self.large.push(data.clone());
        }
    }

    fn join(self) -> Bytes {
        let mut joined = BytesMut::with_capacity(self.length);
        self.large.iter().for_each(|piece| joined.extend_from_slice(piece));
        joined.extend_from_slice(&self.tail);
        joined.freeze()
    }
}
