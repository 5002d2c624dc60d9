//! HTTP/2 frames (RFC 9113) over a raw socket, and header fields without a dynamic table (RFC 7541).

use std::io;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const END_STREAM: u8 = 1;
const ACK: u8 = 1;
const END_HEADERS: u8 = 4;
/// The largest payload that a peer must accept.
const MAX_PAYLOAD: usize = 16_384;

/// Error codes.
pub(super) mod code {
    pub(in super::super) const NO_ERROR: u32 = 0x0;
    pub(in super::super) const INTERNAL_ERROR: u32 = 0x2;
    pub(in super::super) const REFUSED_STREAM: u32 = 0x7;
    pub(in super::super) const CANCEL: u32 = 0x8;
    pub(in super::super) const ENHANCE_YOUR_CALM: u32 = 0xb;
}

/// The type of a frame.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Kind(u8);

impl Kind {
    pub(super) const DATA: Self = Self(0);
    pub(super) const HEADERS: Self = Self(1);
    pub(super) const RST_STREAM: Self = Self(3);
    const SETTINGS: Self = Self(4);
    const PING: Self = Self(6);
    const GOAWAY: Self = Self(7);
    const WINDOW_UPDATE: Self = Self(8);
    const CONTINUATION: Self = Self(9);
}

/// The head of a frame that arrived.
pub(super) struct Frame {
    pub(super) kind: Kind,
    flags: u8,
    pub(super) stream: u32,
}

impl Frame {
    pub(super) const fn ends_stream(&self) -> bool {
        self.flags & END_STREAM != 0
    }
}

/// A header field, encoded as a literal that no table keeps.
#[derive(Clone)]
pub(super) struct Field(Vec<u8>);

impl Field {
    /// A field whose name is in the static table.
    fn indexed(index: usize, value: &str) -> Self {
        let mut bytes = Vec::new();
        integer(&mut bytes, 4, index);
        string(&mut bytes, value);
        Self(bytes)
    }

    pub(super) fn named(name: &str, value: &str) -> Self {
        let mut bytes = vec![0];
        string(&mut bytes, name);
        string(&mut bytes, value);
        Self(bytes)
    }

    pub(super) fn length(length: usize) -> Self {
        Self::indexed(28, &length.to_string())
    }

    pub(super) fn encoding(name: &str) -> Self {
        Self::indexed(26, name)
    }

    pub(super) fn location(path: &str) -> Self {
        Self::indexed(46, path)
    }

    pub(super) fn retry_after(seconds: u32) -> Self {
        Self::indexed(53, &seconds.to_string())
    }
}

/// Appends an integer with a prefix of `prefix` bits (RFC 7541, section 5.1).
fn integer(bytes: &mut Vec<u8>, prefix: u32, value: usize) {
    let max = (1 << prefix) - 1;
    if value < max {
        bytes.push(low_byte(value));
        return;
    }
    bytes.push(low_byte(max));
    let mut rest = value - max;
    while rest >= 128 {
        bytes.push(low_byte(rest % 128 + 128));
        rest /= 128;
    }
    bytes.push(low_byte(rest));
}

fn low_byte(value: usize) -> u8 {
    u8::try_from(value & 0xff).unwrap_or_default()
}

fn string(bytes: &mut Vec<u8>, text: &str) {
    integer(bytes, 7, text.len());
    bytes.extend_from_slice(text.as_bytes());
}

/// A connection after the preface.
pub(super) struct Connection<'a> {
    stream: &'a mut TcpStream,
    /// The bytes that have arrived and are not read yet.
    buffer: Vec<u8>,
}

impl<'a> Connection<'a> {
    /// Reads the preface of the client, and sends empty settings.
    pub(super) async fn accept(stream: &'a mut TcpStream) -> io::Result<Self> {
        let mut preface = [0; PREFACE.len()];
        stream.read_exact(&mut preface).await?;
        if preface != PREFACE {
            return Err(io::ErrorKind::InvalidData.into());
        }
        let mut connection = Self { stream, buffer: Vec::new() };
        connection.write(&[(Kind::SETTINGS, 0, 0, &[])]).await?;
        Ok(connection)
    }

    pub(super) const fn stream(&mut self) -> &mut TcpStream {
        self.stream
    }

    /// Reads a frame, and acknowledges it if necessary. `None` if the client has closed the connection.
    ///
    /// Cancel safe: a cancelled acknowledgement could be sent in part, but a socket takes such a short frame at once.
    pub(super) async fn read(&mut self) -> io::Result<Option<Frame>> {
        let (frame, payload) = loop {
            if let Some(frame) = self.take_frame() {
                break frame;
            }
            if self.stream.read_buf(&mut self.buffer).await? == 0 {
                return Ok(None);
            }
        };
        if frame.flags & ACK == 0 {
            match frame.kind {
                Kind::SETTINGS => self.write(&[(frame.kind, ACK, 0, &[])]).await?,
                Kind::PING => self.write(&[(frame.kind, ACK, 0, &payload)]).await?,
                _ => {}
            }
        }
        Ok(Some(frame))
    }

    /// Takes a frame and its payload from the buffer, if both are whole.
    fn take_frame(&mut self) -> Option<(Frame, Vec<u8>)> {
        let &[l0, l1, l2, kind, flags, s0, s1, s2, s3] = self.buffer.first_chunk()?;
        let end = 9 + u32::from_be_bytes([0, l0, l1, l2]) as usize;
        let payload = self.buffer.get(9..end)?.to_vec();
        self.buffer.drain(..end);
        let stream = u32::from_be_bytes([s0, s1, s2, s3]) & (u32::MAX >> 1);
        Some((Frame { kind: Kind(kind), flags, stream }, payload))
    }

    /// Sends the head of a response.
    pub(super) async fn head(
        &mut self,
        stream: u32,
        status: &str,
        fields: &[Field],
        ends: bool,
    ) -> io::Result<()> {
        // The static table has some values of `:status`, too; a literal serves for all.
        let mut block = Field::indexed(8, status).0;
        fields.iter().for_each(|field| block.extend_from_slice(&field.0));
        let parts: Vec<&[u8]> = block.chunks(MAX_PAYLOAD).collect();
        let frames: Vec<_> = (0..parts.len())
            .map(|at| {
                let end_headers = if at + 1 == parts.len() { END_HEADERS } else { 0 };
                let end_stream = if at == 0 && ends { END_STREAM } else { 0 };
                let kind = if at == 0 { Kind::HEADERS } else { Kind::CONTINUATION };
                (kind, end_headers | end_stream, stream, parts[at])
            })
            .collect();
        self.write(&frames).await
    }

    pub(super) async fn data(&mut self, stream: u32, data: &[u8], ends: bool) -> io::Result<()> {
        self.write(&[(Kind::DATA, if ends { END_STREAM } else { 0 }, stream, data)]).await
    }

    pub(super) async fn reset_stream(&mut self, stream: u32, code: u32) -> io::Result<()> {
        self.write(&[(Kind::RST_STREAM, 0, stream, &code.to_be_bytes())]).await
    }

    pub(super) async fn go_away(&mut self, last_stream: u32, code: u32) -> io::Result<()> {
        let payload = [last_stream.to_be_bytes(), code.to_be_bytes()].concat();
        self.write(&[(Kind::GOAWAY, 0, 0, &payload)]).await
    }

    /// Lets the client send this number of further bytes on a stream.
    pub(super) async fn widen(&mut self, stream: u32, bytes: u32) -> io::Result<()> {
        let bytes = bytes.to_be_bytes();
        self.write(&[(Kind::WINDOW_UPDATE, 0, 0, &bytes), (Kind::WINDOW_UPDATE, 0, stream, &bytes)]).await
    }

    async fn write(&mut self, frames: &[(Kind, u8, u32, &[u8])]) -> io::Result<()> {
        let mut bytes = Vec::new();
        for (kind, flags, stream, payload) in frames {
            let length = u32::try_from(payload.len()).map_err(io::Error::other)?;
            bytes.extend_from_slice(&length.to_be_bytes()[1..]);
            bytes.extend_from_slice(&[kind.0, *flags]);
            bytes.extend_from_slice(&stream.to_be_bytes());
            bytes.extend_from_slice(payload);
        }
        self.stream.write_all(&bytes).await
    }
}

#[cfg(test)]
mod tests {
    use super::integer;

    #[test]
    fn integers_are_encoded_as_in_rfc_7541() {
        let encoded = |prefix, value| {
            let mut bytes = Vec::new();
            integer(&mut bytes, prefix, value);
            bytes
        };
        assert_eq!(encoded(5, 10), [10]);
        assert_eq!(encoded(5, 1337), [31, 154, 10]);
        assert_eq!(encoded(8, 42), [42]);
    }
}
