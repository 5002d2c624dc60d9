//! A response that was good, and the mark of one that is served again.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::header::{AGE, CONNECTION, HeaderName};
use http::{HeaderMap, HeaderValue, Response, StatusCode, Version};
use tokio::time::Instant;

use super::policy::{self, RequestHeaders, Vary};
use crate::{Error, TimeoutScope};

const CACHE_STATUS: HeaderName = HeaderName::from_static("cache-status");

/// Marks a response that was served from the store, in its extensions.
///
/// ```
/// use steadfast::last_known_good::Stale;
///
/// fn as_of<B>(response: &http::Response<B>) -> String {
///     match response.extensions().get::<Stale>() {
///         Some(stale) => format!("as of {} seconds ago, since {}", stale.age.as_secs(), stale.cause),
///         None => "as of now".to_owned(),
///     }
/// }
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stale {
    /// How long ago the upstream gave this response.
    pub age: Duration,
    /// Why the upstream could not be used now.
    pub cause: Cause,
}

/// Why a stored response was served.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Cause {
    /// The upstream answered with this status.
    Status(StatusCode),
    /// The upstream could not be reached, or did not answer.
    Transport,
    /// The body of its answer did not arrive whole.
    Body,
    /// It took too long.
    Timeout(TimeoutScope),
    /// The circuit breaker refused the call.
    CircuitOpen,
    /// The bulkhead refused the call.
    BulkheadFull,
}

impl Cause {
    pub(super) fn of<B, E>(result: &Result<Response<B>, Error<E>>) -> Self {
        match result {
            Ok(response) => Self::Status(response.status()),
            Err(Error::Upstream(_)) => Self::Transport,
            Err(Error::Body(_)) => Self::Body,
            Err(Error::Timeout { scope, .. }) => Self::Timeout(*scope),
            Err(Error::CircuitOpen { .. }) => Self::CircuitOpen,
            Err(Error::BulkheadFull { .. }) => Self::BulkheadFull,
        }
    }

    /// A member of `Cache-Status` (RFC 9211): a `hit` if the call went no further, `fwd=stale` if it did.
    fn cache_status(self) -> HeaderValue {
        match self {
            Self::Status(status) => {
                let value = format!("steadfast; fwd=stale; fwd-status={}", status.as_u16());
                HeaderValue::try_from(value).unwrap_or(HeaderValue::from_static("steadfast; fwd=stale"))
            }
            Self::Transport => HeaderValue::from_static("steadfast; fwd=stale; detail=transport"),
            Self::Body => HeaderValue::from_static("steadfast; fwd=stale; detail=body"),
            Self::Timeout(_) => HeaderValue::from_static("steadfast; fwd=stale; detail=timeout"),
            Self::CircuitOpen => HeaderValue::from_static("steadfast; hit; detail=circuit-open"),
            Self::BulkheadFull => HeaderValue::from_static("steadfast; hit; detail=bulkhead-full"),
        }
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Status(status) => write!(f, "the upstream answered {}", status.as_u16()),
            Self::Transport => f.write_str("the upstream could not be reached"),
            Self::Body => f.write_str("the body did not arrive whole"),
            Self::Timeout(scope) => write!(f, "the {scope} timeout has passed"),
            Self::CircuitOpen => f.write_str("the circuit is open"),
            Self::BulkheadFull => f.write_str("the bulkhead is full"),
        }
    }
}

/// The head of a good response.
#[derive(Debug)]
pub(super) struct Head {
    status: StatusCode,
    version: Version,
    headers: HeaderMap,
    vary: Vary,
    /// How old the response already was when it came, by its own `Age`.
    age: Duration,
    lifetime: Duration,
    /// What the lifetime is where the origin says nothing, and was judged with.
    max_age: Duration,
}

impl Head {
    /// `None` if the response may not be kept.
    pub(super) fn new<B>(
        response: &Response<B>,
        request: &RequestHeaders,
        max_age: Duration,
    ) -> Option<Self> {
        let headers = end_to_end(response.headers());
        Some(Self {
            lifetime: policy::lifetime(response.status(), response.headers(), max_age)?,
            vary: Vary::new(response.headers(), request)?,
            status: response.status(),
            version: response.version(),
            headers: headers.map(|(name, value)| (name.clone(), detached(value))).collect(),
            age: age(response.headers()),
            max_age,
        })
    }

    /// Whether [`new`](Self::new) would make the same again.
    fn is_of<B>(&self, response: &Response<B>, request: &RequestHeaders, max_age: Duration) -> bool {
        (self.status, self.version, self.max_age) == (response.status(), response.version(), max_age)
            && end_to_end(response.headers()).map(with_mark).eq(self.headers.iter().map(with_mark))
            && self.vary.matches(request)
    }
}

/// A good response, whole.
#[derive(Debug)]
pub(super) struct Entry {
    head: Arc<Head>,
    body: Bytes,
    /// When the upstream gave it.
    given_at: Instant,
    /// How long after that the upstream gave the same again, in nanoseconds.
    renewed_after: AtomicU64,
}

impl Entry {
    pub(super) const fn new(head: Arc<Head>, body: Bytes, given_at: Instant) -> Self {
        Self { head, body, given_at, renewed_after: AtomicU64::new(0) }
    }

    /// The upstream has given the same again.
    pub(super) fn renew(&self, at: Instant) {
        let after = at.saturating_duration_since(self.given_at).as_nanos();
        self.renewed_after.fetch_max(after.try_into().unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    fn last_given_at(&self) -> Instant {
        self.given_at + Duration::from_nanos(self.renewed_after.load(Ordering::Relaxed))
    }

    /// How long ago the origin made it.
    pub(super) fn age(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.last_given_at()).saturating_add(self.head.age)
    }

    pub(super) fn is_too_old(&self, now: Instant) -> bool {
        self.age(now) >= self.head.lifetime
    }

    /// Whether it answers a request with these headers.
    pub(super) fn answers(&self, request: &RequestHeaders) -> bool {
        self.head.vary.matches(request)
    }

    /// Whether the upstream gave it later than that.
    pub(super) fn is_newer_than(&self, given_at: Instant) -> bool {
        self.last_given_at() > given_at
    }

    /// Whether what would be kept of the head of `response` is the same.
    pub(super) fn has_head_of<B>(
        &self,
        response: &Response<B>,
        request: &RequestHeaders,
        max_age: Duration,
    ) -> bool {
        self.head.is_of(response, request, max_age)
    }

    pub(super) const fn head(&self) -> &Arc<Head> {
        &self.head
    }

    pub(super) const fn body(&self) -> &Bytes {
        &self.body
    }

    /// What it takes in memory, in bytes, near enough.
    pub(super) fn weight(&self) -> usize {
        let headers: usize =
            self.head.headers.iter().map(|(name, value)| name.as_str().len() + value.len() + 64).sum();
        size_of::<Self>() + size_of::<Head>() + headers + self.head.vary.weight() + self.body.len()
    }

    /// The response, marked.
    pub(super) fn serve(&self, now: Instant, cause: Cause) -> Response<Bytes> {
        let age = self.age(now);
        let mut response = Response::new(self.body.clone());
        *response.status_mut() = self.head.status;
        *response.version_mut() = self.head.version;
        response.headers_mut().clone_from(&self.head.headers);
        response.headers_mut().insert(AGE, age.as_secs().into());
        response.headers_mut().append(CACHE_STATUS, cause.cache_status());
        response.extensions_mut().insert(Stale { age, cause });
        response
    }
}

/// The headers that are about the response and not about its connection (RFC 9111 §3.1, RFC 9110 §7.6.1).
fn end_to_end(headers: &HeaderMap) -> impl Iterator<Item = (&HeaderName, &HeaderValue)> {
    let listed = headers.get_all(CONNECTION);
    headers.iter().filter(move |(name, _)| {
        !is_of_a_connection(name) && !listed.iter().any(|line| lists(line, name.as_str()))
    })
}

fn is_of_a_connection(name: &HeaderName) -> bool {
    matches!(
        name.as_str(),
        "connection"
            | "keep-alive"
            | "proxy-authenticate"
            | "proxy-authentication-info"
            | "proxy-connection"
            | "te"
            | "trailer"
            | "transfer-encoding"
            | "upgrade"
    )
}

fn lists(line: &HeaderValue, name: &str) -> bool {
    line.to_str().unwrap_or_default().split(',').any(|it| it.trim().eq_ignore_ascii_case(name))
}

/// A value is equal to another whether or not one of them is marked sensitive; here it is not.
fn with_mark<'a>((name, value): (&'a HeaderName, &'a HeaderValue)) -> (&'a HeaderName, &'a [u8], bool) {
    (name, value.as_bytes(), value.is_sensitive())
}

/// A value as parsed is a part of the buffer that the connection was read into, and would hold on to all of it.
pub(super) fn detached(value: &HeaderValue) -> HeaderValue {
    let mut copy = HeaderValue::from_bytes(value.as_bytes()).unwrap_or_else(|_| value.clone());
    copy.set_sensitive(value.is_sensitive());
    copy
}

/// The age that a response says it has; what is not a number is none.
fn age(headers: &HeaderMap) -> Duration {
    let age = headers.get(AGE).and_then(|age| age.to_str().ok()?.trim().parse::<u32>().ok());
    Duration::from_secs(age.unwrap_or_default().into())
}
