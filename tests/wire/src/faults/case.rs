//! The rows of the table: the faults of each protocol version, with their occasions and methods.

use std::fmt;

use http::Method;

use super::fault::Fault;

/// The occasions on which a server is at fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Times {
    /// At the first occasion; the server is healthy afterwards.
    Once,
    Always,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Protocol {
    Http1,
    Http2,
}

/// One row of the table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Case {
    pub(crate) fault: Fault,
    pub(crate) times: Times,
    pub(crate) protocol: Protocol,
    pub(crate) method: Method,
}

const BOTH: [Fault; 26] = [
    Fault::Refused,
    Fault::ConnectHangs,
    Fault::NoSuchName,
    Fault::PlainServer,
    Fault::UntrustedCertificate,
    Fault::ClosedAtOnce,
    Fault::ResetAtOnce,
    Fault::ClosedAfterRequest,
    Fault::ResetAfterRequest,
    Fault::StallBeforeHead,
    Fault::StallInBody,
    Fault::Garbage,
    Fault::OversizedHead,
    Fault::ClosedInBody,
    Fault::ResetInBody,
    Fault::CreatedThenClosed,
    Fault::Trickle,
    Fault::BodyTooLong,
    Fault::EarlyAnswer,
    Fault::CorruptGzip,
    Fault::RedirectToRefused,
    Fault::SlowHead,
    Fault::SlowBody,
    Fault::SlowUpload,
    Fault::Unavailable { retry_after: 1 },
    Fault::Unavailable { retry_after: 60 },
];
const OF_HTTP1: [Fault; 1] = [Fault::ClosedInChunks];
const OF_HTTP2: [Fault; 9] = [
    Fault::BodyTooShort,
    Fault::StreamResetInBody,
    Fault::StreamEndInBody,
    Fault::RefusedFirstStream,
    Fault::RefusedStream,
    Fault::Cancel,
    Fault::Calm,
    Fault::GoAwayBelow,
    Fault::GoAwayCalm,
];
const OF_REUSE: [Fault; 3] = [Fault::IdleClosed, Fault::IdleReset, Fault::IdleSilent];

/// The faults of a protocol, in the order of the table.
fn faults(protocol: Protocol) -> Vec<Fault> {
    let own = match protocol {
        Protocol::Http1 => &OF_HTTP1[..],
        Protocol::Http2 => &OF_HTTP2[..],
    };
    [&BOTH[..], own, &OF_REUSE[..]].concat()
}

fn times(fault: Fault) -> &'static [Times] {
    match fault {
        // The server cannot tell when the client's first attempt is over.
        Fault::Refused | Fault::ConnectHangs | Fault::NoSuchName => &[Times::Always],
        Fault::PlainServer | Fault::UntrustedCertificate | Fault::Trickle => &[Times::Always],
        // Only the first connection is at fault, or the first stream of each.
        Fault::IdleClosed | Fault::IdleReset | Fault::IdleSilent => &[Times::Once],
        Fault::RefusedFirstStream | Fault::EarlyAnswer | Fault::CorruptGzip => &[Times::Always],
        Fault::RedirectToRefused | Fault::SlowHead | Fault::SlowBody | Fault::SlowUpload => &[Times::Always],
        _ => &[Times::Once, Times::Always],
    }
}

fn methods(fault: Fault) -> &'static [Method] {
    match fault {
        Fault::EarlyAnswer | Fault::SlowUpload => &[Method::PUT, Method::POST],
        _ => &[Method::GET, Method::PUT, Method::POST],
    }
}

impl Case {
    /// Every row of the table, in its order.
    pub(crate) fn all() -> Vec<Self> {
        let mut cases = Vec::new();
        for protocol in [Protocol::Http1, Protocol::Http2] {
            for fault in faults(protocol) {
                for at in times(fault) {
                    let of_method = |method| Self { fault, times: *at, protocol, method };
                    cases.extend(methods(fault).iter().cloned().map(of_method));
                }
            }
        }
        cases
    }

    /// The body of the request. A body that the server does not read at once exceeds the kernel's
    /// buffers, or the window of HTTP/2.
    pub(crate) fn body(&self) -> Vec<u8> {
        match (self.fault, &self.method) {
            (_, &Method::GET | &Method::HEAD) => Vec::new(),
            (Fault::SlowUpload, _) if self.protocol == Protocol::Http1 => vec![b'x'; 12 << 20],
            (Fault::EarlyAnswer | Fault::SlowUpload, _) => vec![b'x'; 256 << 10],
            _ => b"hello".to_vec(),
        }
    }

    /// The fault and its times, as the table shows them.
    pub(crate) fn label(&self) -> String {
        match (times(self.fault), self.times) {
            ([_], _) => self.fault.to_string(),
            (_, Times::Once) => format!("{}, once", self.fault),
            (_, Times::Always) => format!("{}, always", self.fault),
        }
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Http1 => "HTTP/1.1",
            Self::Http2 => "HTTP/2",
        })
    }
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}: {}", self.protocol, self.method, self.label())
    }
}
