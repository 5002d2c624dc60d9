//! The faults: their names and their kinds.

use std::fmt;

use super::case::Protocol;

/// A fault of the server, of its network or of its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Fault {
    // ===== of the connection =====
    Refused,
    ConnectHangs,
    NoSuchName,
    PlainServer,
    UntrustedCertificate,
    ClosedAtOnce,
    ResetAtOnce,
    // ===== of the exchange =====
    ClosedAfterRequest,
    ResetAfterRequest,
    StallBeforeHead,
    StallInBody,
    Garbage,
    OversizedHead,
    ClosedInBody,
    ResetInBody,
    ClosedInChunks,
    CreatedThenClosed,
    Trickle,
    BodyTooShort,
    BodyTooLong,
    EarlyAnswer,
    CorruptGzip,
    RedirectToRefused,
    SlowHead,
    SlowBody,
    SlowUpload,
    Unavailable {
        retry_after: u32,
    },
    // ===== of HTTP/2 =====
    StreamResetInBody,
    StreamEndInBody,
    RefusedFirstStream,
    RefusedStream,
    Cancel,
    Calm,
    GoAwayBelow,
    GoAwayCalm,
    // ===== of a reused connection =====
    IdleClosed,
    IdleReset,
    IdleSilent,
    // ===== no faults, for the checks that must hold =====
    /// Answers this number of streams on each connection. Then sends a `GOAWAY` that leaves the next stream
    /// unprocessed.
    GoAwayBelowEvery {
        streams: usize,
    },
    /// Answers this number of streams on each connection, and then sends a `GOAWAY`.
    GoAwayAfterEvery {
        streams: usize,
    },
    HeadEndsInHeaders,
    HeadEndsInData,
    NotModified,
}

impl Fault {
    /// True if the server is at fault before it has read a request.
    pub(crate) const fn is_of_connection(self, protocol: Protocol) -> bool {
        match self {
            Self::PlainServer | Self::UntrustedCertificate | Self::ClosedAtOnce | Self::ResetAtOnce => true,
            Self::Garbage => matches!(protocol, Protocol::Http2),
            _ => false,
        }
    }

    /// True if a first call opens the connection, and the second call is the one of the table.
    pub(crate) const fn is_of_reuse(self) -> bool {
        matches!(self, Self::IdleClosed | Self::IdleReset | Self::IdleSilent)
    }

    pub(crate) const fn is_tls(self) -> bool {
        matches!(self, Self::PlainServer | Self::UntrustedCertificate)
    }

    /// True if the text of the error depends on the resolver, on the side that the kernel serves first, or on the
    /// timer that fires first.
    pub(crate) const fn has_varying_text(self) -> bool {
        match self {
            Self::NoSuchName | Self::ClosedAtOnce | Self::ResetAtOnce | Self::IdleReset => true,
            // reqwest has two timers for a connect.
            Self::ConnectHangs => true,
            _ => false,
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Refused => "connection refused",
            Self::ConnectHangs => "connect hangs (backlog full)",
            Self::NoSuchName => "no such name",
            Self::PlainServer => "TLS: the server speaks plain HTTP",
            Self::UntrustedCertificate => "TLS: untrusted certificate",
            Self::ClosedAtOnce => "closed when accepted",
            Self::ResetAtOnce => "reset, request unread",
            Self::ClosedAfterRequest => "closed after the request",
            Self::ResetAfterRequest => "reset after the request",
            Self::StallBeforeHead => "stall before the head",
            Self::StallInBody => "stall in the body",
            Self::Garbage => "garbage",
            Self::OversizedHead => "head of 1 MiB",
            Self::ClosedInBody => "closed in the body",
            Self::ResetInBody => "reset in the body",
            Self::ClosedInChunks => "closed in a chunked body",
            Self::CreatedThenClosed => "201 with `Location`, closed in the body",
            Self::Trickle => "body in pieces of one byte",
            Self::BodyTooShort => "body ends before its stated length",
            Self::BodyTooLong => "body longer than its stated length",
            Self::EarlyAnswer => "413 before the body has arrived",
            Self::CorruptGzip => "corrupt gzip",
            Self::RedirectToRefused => "303 to a port that refuses",
            Self::SlowHead => "head after 670 ms",
            Self::SlowBody => "body takes 1 s",
            Self::SlowUpload => "server reads the body for 800 ms",
            Self::Unavailable { retry_after } => return write!(f, "503, `Retry-After: {retry_after}`"),
            Self::StreamResetInBody => "RST_STREAM(INTERNAL_ERROR) in the body",
            Self::StreamEndInBody => "RST_STREAM(NO_ERROR) in the body",
            Self::RefusedFirstStream => "RST_STREAM(REFUSED_STREAM), each connection's first stream",
            Self::RefusedStream => "RST_STREAM(REFUSED_STREAM)",
            Self::Cancel => "RST_STREAM(CANCEL)",
            Self::Calm => "RST_STREAM(ENHANCE_YOUR_CALM)",
            Self::GoAwayBelow => "GOAWAY(NO_ERROR) below the stream",
            Self::GoAwayCalm => "GOAWAY(ENHANCE_YOUR_CALM)",
            Self::IdleClosed => "idle connection closed",
            Self::IdleReset => "idle connection reset when the request arrives",
            Self::IdleSilent => "open connection that answers no longer",
            Self::GoAwayBelowEvery { streams } => {
                return write!(f, "GOAWAY(NO_ERROR) below the stream that follows {streams}");
            }
            Self::GoAwayAfterEvery { streams } => {
                return write!(f, "GOAWAY(NO_ERROR) after the answer to {streams} streams");
            }
            Self::HeadEndsInHeaders => "`content-length: 1000`, ended by HEADERS",
            Self::HeadEndsInData => "`content-length: 1000`, ended by an empty DATA",
            Self::NotModified => "304 with `content-length: 1000`",
        })
    }
}
