//! Entries: stored good responses, each with a head, a body and times.
//!
//! An entry is immutable except for its times. If the upstream sends an equal response again, only the times advance.
//!
//! # Age
//!
//! The age of an entry is computed from the response's `Age` header and the local times of request and response.
//! `Date` is ignored, unlike in RFC 9111 §4.2.3, because its use would compare the origin server's clock with the
//! local clock. With a wrong clock at the origin server, every entry could count as too old, and the fault would stay
//! unnoticed until an entry is needed.

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

/// The times at which a response was requested, received and generated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Times {
    pub(crate) requested: UnixNanos,
    pub(crate) received: UnixNanos,
    /// The time of generation, computed from `Age`, a header that a cache on the way may set (RFC 9111 §4.2.3).
    pub(crate) generated: UnixNanos,
    /// The `Date` header in seconds since 1970-01-01 UTC; 0 if the header is missing or invalid.
    pub(crate) date: u64,
}

impl Times {
    /// Returns the times of a response with these headers. An `Age` counts from the request, not from the response,
    /// because a cache may have set it at any time between the two.
    pub(crate) fn of(headers: &HeaderMap, requested: UnixNanos, received: UnixNanos) -> Self {
        let stated = stated_age(headers);
        let generated = if stated.is_zero() { received } else { requested.before(stated) };
        Self { requested, received, generated, date: date(headers).unwrap_or_default() }
    }
}

/// A complete good response.
#[derive(Debug)]
pub(crate) struct Entry {
    head: Arc<Head>,
    body: Bytes,
    /// This field and the next three are the [`Times`] of the latest equal response.
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

    /// Returns an entry with the same body and a new head.
    pub(crate) fn with_head(&self, head: Head, times: Times) -> Self {
        let entry = Self::new(Arc::new(head), self.body.clone(), times);
        entry.set_synced(self.synced());
        entry
    }

    /// Advances the times, after the upstream has sent an equal response. Times never move back.
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

    /// The time since the response was generated.
    pub(crate) fn age(&self, now: UnixNanos) -> Duration {
        now.since(self.times().generated)
    }

    /// The remaining time for which the entry may be served; zero if the entry is too old.
    pub(crate) fn left(&self, now: UnixNanos) -> Duration {
        self.head.lifetime.served_for.saturating_sub(self.age(now))
    }

    /// True if the entry may be served to a request with these headers and limits.
    pub(crate) fn answers(&self, request: &RequestHeaders, limits: &Limits, now: UnixNanos) -> bool {
        !self.left(now).is_zero()
            && limits.accept(self.age(now), self.head.lifetime.fresh_for)
            && self.head.vary.matches(request)
    }

    /// True if the latest equal response arrived after the time `received`.
    pub(crate) fn is_newer_than(&self, received: UnixNanos) -> bool {
        self.times().received > received
    }

    /// True if this entry takes the place of `other`. The two can exist together only if they vary on the same
    /// headers, with different values.
    pub(crate) fn replaces(&self, other: &Self) -> bool {
        let (vary, others) = (&self.head.vary, &other.head.vary);
        vary == others || !vary.has_names_of(others)
    }

    /// The time of the last access to the store, read or write, for this entry or the one that it replaced. An
    /// entry causes at most one access per `renew_after`.
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

    /// The approximate size in memory, in bytes.
    pub(crate) fn weight(&self) -> usize {
        size_of::<Self>() + self.head.weight() + self.body.len()
    }

    /// Builds a stale response, marked with `Age`, `Cache-Status` (RFC 9211) and [`Stale`].
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

    /// The `Date` header of the latest equal response.
    fn date(&self) -> Option<HeaderValue> {
        let date = Duration::from_secs(self.times().date);
        (!date.is_zero()).then(|| HeaderValue::try_from(fmt_http_date(UNIX_EPOCH + date)).ok())?
    }
}

/// Parses `Date` into seconds since 1970-01-01 UTC.
fn date(headers: &HeaderMap) -> Option<u64> {
    let date = parse_http_date(headers.get(DATE)?.to_str().ok()?).ok()?;
    Some(date.duration_since(UNIX_EPOCH).ok()?.as_secs())
}

fn seconds(time: Duration) -> i64 {
    time.as_secs().try_into().unwrap_or(i64::MAX)
}
