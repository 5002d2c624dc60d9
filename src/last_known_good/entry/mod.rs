//! A response that was good, whole.

pub(crate) mod head;
pub(crate) mod unix_nanos;
pub(crate) mod wire;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, UNIX_EPOCH};

use bytes::Bytes;
use http::header::{AGE, DATE, HeaderName};
use http::{HeaderMap, HeaderValue, Response};
use httpdate::{fmt_http_date, parse_http_date};

use crate::http::fields::stated_age;
use crate::last_known_good::entry::head::Head;
use crate::last_known_good::entry::unix_nanos::UnixNanos;
use crate::last_known_good::policy::rules::Limits;
use crate::last_known_good::policy::vary::RequestHeaders;
use crate::stale::{Cause, Stale};

const CACHE_STATUS: HeaderName = HeaderName::from_static("cache-status");

/// When an answer was asked for, given and made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Times {
    pub(crate) requested: UnixNanos,
    pub(crate) received: UnixNanos,
    /// By its own word, which may come through another cache: RFC 9111 §4.2.3, without the `Date`, since that would compare
    /// the origin's clock with this one, and a wrong one would take the fallback away unnoticed.
    pub(crate) generated: UnixNanos,
    /// What it says in `Date`, in seconds since the beginning of 1970; 0 if it has none.
    pub(crate) date: u64,
}

impl Times {
    /// Those of an answer with these headers. It may have been made at any time since it was asked for.
    pub(crate) fn of(headers: &HeaderMap, requested: UnixNanos, received: UnixNanos) -> Self {
        let stated = stated_age(headers);
        let generated = if stated.is_zero() { received } else { requested.before(stated) };
        Self { requested, received, generated, date: date(headers).unwrap_or_default() }
    }
}

/// A good response, whole.
#[derive(Debug)]
pub(crate) struct Entry {
    head: Arc<Head>,
    body: Bytes,
    /// When the same was last asked for, given and made.
    requested: AtomicU64,
    received: AtomicU64,
    generated: AtomicU64,
    date: AtomicU64,
    synced: AtomicU64,
}

impl Entry {
    pub(crate) const fn new(head: Arc<Head>, body: Bytes, times: Times) -> Self {
        Self {
            head,
            body,
            requested: AtomicU64::new(times.requested.0),
            received: AtomicU64::new(times.received.0),
            generated: AtomicU64::new(times.generated.0),
            date: AtomicU64::new(times.date),
            synced: AtomicU64::new(0),
        }
    }

    /// The same body with another head.
    pub(crate) fn with_head(&self, head: Head, times: Times) -> Self {
        let entry = Self::new(Arc::new(head), self.body.clone(), times);
        entry.set_synced(self.synced());
        entry
    }

    /// The upstream has given the same again.
    pub(crate) fn renew(&self, times: Times) {
        self.requested.fetch_max(times.requested.0, Ordering::Relaxed);
        self.received.fetch_max(times.received.0, Ordering::Relaxed);
        self.generated.fetch_max(times.generated.0, Ordering::Relaxed);
        self.date.fetch_max(times.date, Ordering::Relaxed);
    }

    pub(crate) fn times(&self) -> Times {
        Times {
            requested: UnixNanos(self.requested.load(Ordering::Relaxed)),
            received: UnixNanos(self.received.load(Ordering::Relaxed)),
            generated: UnixNanos(self.generated.load(Ordering::Relaxed)),
            date: self.date.load(Ordering::Relaxed),
        }
    }

    /// How long ago the origin made it.
    pub(crate) fn age(&self, now: UnixNanos) -> Duration {
        now.since(self.times().generated)
    }

    /// For how long it may still be served; nothing, if it is too old.
    pub(crate) fn left(&self, now: UnixNanos) -> Duration {
        self.head.lifetime.served_for.saturating_sub(self.age(now))
    }

    /// Whether it may be served to a request with these headers and limits.
    pub(crate) fn answers(&self, request: &RequestHeaders, limits: &Limits, now: UnixNanos) -> bool {
        !self.left(now).is_zero()
            && limits.take(self.age(now), self.head.lifetime.fresh_for)
            && self.head.vary.matches(request)
    }

    /// Whether the upstream gave it later than that.
    pub(crate) fn is_newer_than(&self, received: UnixNanos) -> bool {
        self.times().received > received
    }

    /// Whether it stands in the place of another: of the one for equal requests, or of one that varies on other headers.
    pub(crate) fn replaces(&self, other: &Self) -> bool {
        let (vary, others) = (&self.head.vary, &other.head.vary);
        vary == others || !vary.has_names_of(others)
    }

    /// When the store behind was last told of it or of the one before, or asked for a newer one.
    pub(crate) fn synced(&self) -> UnixNanos {
        UnixNanos(self.synced.load(Ordering::Relaxed))
    }

    pub(crate) fn set_synced(&self, at: UnixNanos) {
        self.synced.store(at.0, Ordering::Relaxed);
    }

    pub(crate) const fn head(&self) -> &Arc<Head> {
        &self.head
    }

    pub(crate) const fn body(&self) -> &Bytes {
        &self.body
    }

    /// What it takes in memory, in bytes, near enough.
    pub(crate) fn weight(&self) -> usize {
        size_of::<Self>() + self.head.weight() + self.body.len()
    }

    /// The response, marked.
    pub(crate) fn serve(&self, now: UnixNanos, cause: Cause) -> Response<Bytes> {
        let age = self.age(now);
        let mut response = Response::new(self.body.clone());
        *response.status_mut() = self.head.status;
        *response.version_mut() = self.head.version;
        let headers = response.headers_mut();
        headers.clone_from(&self.head.headers);
        if let Some(date) = self.date() {
            headers.insert(DATE, date);
        }
        headers.insert(AGE, age.as_secs().into());
        headers
            .append(CACHE_STATUS, cause.cache_status(seconds(self.head.lifetime.fresh_for) - seconds(age)));
        response.extensions_mut().insert(Stale { age, cause });
        response
    }

    /// The `Date` of the last answer that was the same.
    fn date(&self) -> Option<HeaderValue> {
        let date = Duration::from_secs(self.times().date);
        (!date.is_zero()).then(|| HeaderValue::try_from(fmt_http_date(UNIX_EPOCH + date)).ok())?
    }
}

/// What a response says in `Date`, in seconds since the beginning of 1970.
fn date(headers: &HeaderMap) -> Option<u64> {
    let date = parse_http_date(headers.get(DATE)?.to_str().ok()?).ok()?;
    Some(date.duration_since(UNIX_EPOCH).ok()?.as_secs())
}

fn seconds(time: Duration) -> i64 {
    time.as_secs().try_into().unwrap_or(i64::MAX)
}
