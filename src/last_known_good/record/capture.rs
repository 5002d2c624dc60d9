//! What has come of a body, next to the body that is known already.

use bytes::{Bytes, BytesMut};

/// The bytes of a body that have come: no more than their number, as long as they are those of the known one.
#[derive(Debug)]
pub(crate) enum BodyCapture {
    StoredValue(usize),
    // Boxed, because it is the rarer one: what keeps a body is moved with the response.
    Other(Box<Pieces>),
}

impl Default for BodyCapture {
    fn default() -> Self {
        Self::StoredValue(0)
    }
}

impl BodyCapture {
    pub(crate) fn len(&self) -> usize {
        match self {
            Self::StoredValue(length) => *length,
            Self::Other(pieces) => pieces.length,
        }
    }

    /// A copy of a whole body, which holds on to nothing else.
    pub(crate) fn whole(body: &Bytes) -> Bytes {
        Bytes::copy_from_slice(body)
    }

    /// More has come. The known body is the same each time.
    pub(crate) fn push(&mut self, data: &Bytes, known: &Bytes) {
        match self {
            Self::StoredValue(length) if known[*length..].starts_with(data) => *length += data.len(),
            Self::StoredValue(length) => {
                let mut pieces = Box::<Pieces>::default();
                pieces.push(&known.slice(..*length));
                pieces.push(data);
                *self = Self::Other(pieces);
            }
            Self::Other(pieces) => pieces.push(data),
        }
    }

    pub(crate) const fn is_all_of(&self, known: &Bytes) -> bool {
        matches!(self, Self::StoredValue(length) if *length == known.len())
    }

    /// The whole: the known body itself, or a copy of its exact size. A piece is a part of the buffer that the
    /// connection was read into, and would hold on to all of it.
    pub(crate) fn into_body(self, known: &Bytes) -> Bytes {
        match self {
            Self::StoredValue(_) if self.is_all_of(known) => known.clone(),
            Self::StoredValue(length) => Bytes::copy_from_slice(&known[..length]),
            Self::Other(pieces) => pieces.join(),
        }
    }
}

#[derive(Debug, Default)]
pub(crate) struct Pieces {
    large: Vec<Bytes>,
    /// Small pieces after those, joined, so that a body in many of them takes no more memory than its bytes.
    tail: BytesMut,
    length: usize,
}

impl Pieces {
    fn push(&mut self, data: &Bytes) {
        /// What is as small as this is not worth a reference of its own.
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
