//! The record of a server: the requests that arrived, and the connections.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use http::{HeaderMap, header, request};
use tokio::sync::watch;

/// Replaces the random boundary of a multipart body.
const BOUNDARY: &str = "BOUNDARY";

/// A request as it arrived.
#[derive(Debug, Clone)]
pub(crate) struct Arrived {
    pub(crate) head: String,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Vec<u8>,
    /// True if the whole body arrived.
    pub(crate) complete: bool,
    /// The trailers, as text.
    pub(crate) trailers: String,
}

impl Arrived {
    pub(super) fn new(parts: &request::Parts) -> Self {
        Self {
            head: format!("{} {} {:?}", parts.method, parts.uri, parts.version),
            headers: parts.headers.clone(),
            body: Vec::new(),
            complete: false,
            trailers: String::new(),
        }
    }

    /// The request in one line. Random parts are replaced.
    pub(crate) fn line(&self) -> String {
        let boundary = self.boundary();
        let sent = match &boundary {
            Some(boundary) => replace(&self.body, boundary.as_bytes()),
            None => self.body.clone(),
        };
        let mut line = format!("{}; {}; body {}", self.head, headers(&self.headers), body(&sent));
        if !self.complete {
            line.push_str(" (incomplete)");
        }
        if !self.trailers.is_empty() {
            line.push_str("; trailers ");
            line.push_str(&self.trailers);
        }
        match boundary {
            Some(boundary) => line.replace(&boundary, BOUNDARY),
            None => line,
        }
    }

    /// The boundary of a multipart body, which is random.
    fn boundary(&self) -> Option<String> {
        let kind = self.headers.get(header::CONTENT_TYPE)?.to_str().ok()?;
        kind.split_once("boundary=").map(|(_, boundary)| boundary.to_owned())
    }
}

/// Replaces every boundary in a body.
fn replace(body: &[u8], boundary: &[u8]) -> Vec<u8> {
    let mut replaced = Vec::new();
    let mut rest = body;
    while let Some(at) = rest.windows(boundary.len()).position(|window| window == boundary) {
        replaced.extend_from_slice(&rest[..at]);
        replaced.extend_from_slice(BOUNDARY.as_bytes());
        rest = &rest[at + boundary.len()..];
    }
    replaced.extend_from_slice(rest);
    replaced
}

/// The headers in their order, without the date. A cookie jar has no order, so cookies are sorted.
pub(crate) fn headers(headers: &HeaderMap) -> String {
    let headers = headers.iter().filter(|(name, _)| *name != header::DATE);
    let headers = headers.map(|(name, value)| {
        let value = String::from_utf8_lossy(value.as_bytes());
        let mut parts: Vec<&str> = value.split("; ").collect();
        if name == header::COOKIE {
            parts.sort_unstable();
        }
        format!("{name}={}", parts.join("; "))
    });
    headers.collect::<Vec<_>>().join(", ")
}

/// A short body as text; a long body as its length and a checksum.
pub(crate) fn body(bytes: &[u8]) -> String {
    if bytes.len() <= 600 {
        return format!("{:?}", String::from_utf8_lossy(bytes));
    }
    let sum = bytes.iter().fold(1_u32, |sum, byte| sum.wrapping_mul(31).wrapping_add(u32::from(*byte)));
    format!("of {} bytes, checksum {sum:08x}", bytes.len())
}

/// The requests and connections of a server so far. A watch channel wakes the waiters for a count.
#[derive(Debug, Default)]
pub(crate) struct Log {
    arrived: Mutex<Vec<Arrived>>,
    requests: watch::Sender<usize>,
    connections: watch::Sender<usize>,
    open: watch::Sender<usize>,
}

impl Log {
    fn lock(&self) -> MutexGuard<'_, Vec<Arrived>> {
        self.arrived.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Records the head of a request, and returns its number.
    pub(super) fn begin(&self, arrived: Arrived) -> usize {
        let mut all = self.lock();
        all.push(arrived);
        let number = all.len() - 1;
        drop(all);
        self.requests.send_modify(|count| *count += 1);
        number
    }

    /// Records the body of a request.
    pub(super) fn complete(&self, number: usize, body: Vec<u8>, trailers: Option<&HeaderMap>) {
        if let Some(arrived) = self.lock().get_mut(number) {
            arrived.body = body;
            arrived.complete = true;
            arrived.trailers = trailers.map(headers).unwrap_or_default();
        }
    }

    /// Counts a connection until the guard is dropped.
    pub(super) fn connect(self: &Arc<Self>) -> Open {
        self.connections.send_modify(|count| *count += 1);
        self.open.send_modify(|count| *count += 1);
        Open(Arc::clone(self))
    }

    /// All requests, a line each.
    pub(crate) fn lines(&self) -> String {
        let lines: Vec<String> = self.lock().iter().map(Arrived::line).collect();
        if lines.is_empty() { "nothing".to_owned() } else { lines.join(" + ") }
    }

    pub(crate) fn requests(&self) -> usize {
        *self.requests.borrow()
    }

    pub(crate) fn connections(&self) -> usize {
        *self.connections.borrow()
    }

    /// Waits until this number of requests has arrived.
    pub(crate) async fn has_requests(&self, requests: usize) {
        // The sender lives as long as `self`.
        let _ = self.requests.subscribe().wait_for(|count| *count >= requests).await;
    }

    /// Waits until no connection is open.
    pub(crate) async fn is_idle(&self) {
        let _ = self.open.subscribe().wait_for(|open| *open == 0).await;
    }
}

/// A connection that is open.
#[derive(Debug)]
pub(super) struct Open(Arc<Log>);

impl Drop for Open {
    fn drop(&mut self) {
        self.0.open.send_modify(|count| *count -= 1);
    }
}
