//! A response that was good, whole.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, UNIX_EPOCH};

use bytes::Bytes;
use http::header::{AGE, DATE, HeaderName};
use http::{HeaderMap, HeaderValue, Response};
use httpdate::{fmt_http_date, parse_http_date};

use super::head::{Head, stated_age};
use super::moment::Moment;
use super::rules::Limits;
use super::stale::{Cause, Stale};
use super::vary::RequestHeaders;

const CACHE_STATUS: HeaderName = HeaderName::from_static("cache-status");

/// When an answer was asked for, given and made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Times {
    pub(super) asked: Moment,
    pub(super) given: Moment,
    /// By its own word, which may come through another cache: RFC 9111 §4.2.3, without the `Date`, since that would compare
    /// the origin's clock with this one, and a wrong one would take the fallback away unnoticed.
    pub(super) made: Moment,
    /// What it says in `Date`, in seconds since the beginning of 1970; 0 if it has none.
    pub(super) date: u64,
}

impl Times {
    /// Those of an answer with these headers. It may have been made at any time since it was asked for.
    pub(super) fn of(headers: &HeaderMap, asked: Moment, given: Moment) -> Self {
        let stated = stated_age(headers);
        let made = if stated.is_zero() { given } else { asked.before(stated) };
        Self { asked, given, made, date: date(headers).unwrap_or_default() }
    }
}

/// A good response, whole.
#[derive(Debug)]
pub(super) struct Entry {
    head: Arc<Head>,
    body: Bytes,
    /// When the same was last asked for, given and made.
    asked: AtomicU64,
    given: AtomicU64,
    made: AtomicU64,
    date: AtomicU64,
    synced: AtomicU64,
}

impl Entry {
    pub(super) const fn new(head: Arc<Head>, body: Bytes, times: Times) -> Self {
        Self {
            head,
            body,
            asked: AtomicU64::new(times.asked.0),
            given: AtomicU64::new(times.given.0),
            made: AtomicU64::new(times.made.0),
            date: AtomicU64::new(times.date),
            synced: AtomicU64::new(0),
        }
    }

    /// The same body with another head.
    pub(super) fn with_head(&self, head: Head, times: Times) -> Self {
        let entry = Self::new(Arc::new(head), self.body.clone(), times);
        entry.set_synced(self.synced());
        entry
    }

    /// The upstream has given the same again.
    pub(super) fn renew(&self, times: Times) {
        self.asked.fetch_max(times.asked.0, Ordering::Relaxed);
        self.given.fetch_max(times.given.0, Ordering::Relaxed);
        self.made.fetch_max(times.made.0, Ordering::Relaxed);
        self.date.fetch_max(times.date, Ordering::Relaxed);
    }

    pub(super) fn times(&self) -> Times {
        Times {
            asked: Moment(self.asked.load(Ordering::Relaxed)),
            given: Moment(self.given.load(Ordering::Relaxed)),
            made: Moment(self.made.load(Ordering::Relaxed)),
            date: self.date.load(Ordering::Relaxed),
        }
    }

    /// How long ago the origin made it.
    pub(super) fn age(&self, now: Moment) -> Duration {
        now.since(self.times().made)
    }

    /// For how long it may still be served; nothing, if it is too old.
    pub(super) fn left(&self, now: Moment) -> Duration {
        self.head.lifetime.served_for.saturating_sub(self.age(now))
    }

    /// Whether it may be served to a request with these headers and limits.
    pub(super) fn answers(&self, request: &RequestHeaders, limits: &Limits, now: Moment) -> bool {
        !self.left(now).is_zero()
            && limits.take(self.age(now), self.head.lifetime.fresh_for)
            && self.head.vary.matches(request)
    }

    /// Whether the upstream gave it later than that.
    pub(super) fn is_newer_than(&self, given: Moment) -> bool {
        self.times().given > given
    }

    /// Whether it stands in the place of another: of the one for equal requests, or of one that varies on other headers.
    pub(super) fn replaces(&self, other: &Self) -> bool {
        let (vary, others) = (&self.head.vary, &other.head.vary);
        vary == others || !vary.has_names_of(others)
    }

    /// When the store behind was last told of it or of the one before, or asked for a newer one.
    pub(super) fn synced(&self) -> Moment {
        Moment(self.synced.load(Ordering::Relaxed))
    }

    pub(super) fn set_synced(&self, at: Moment) {
        self.synced.store(at.0, Ordering::Relaxed);
    }

    pub(super) const fn head(&self) -> &Arc<Head> {
        &self.head
    }

    pub(super) const fn body(&self) -> &Bytes {
        &self.body
    }

    /// What it takes in memory, in bytes, near enough.
    pub(super) fn weight(&self) -> usize {
        size_of::<Self>() + self.head.weight() + self.body.len()
    }

    /// The response, marked.
    pub(super) fn serve(&self, now: Moment, cause: Cause) -> Response<Bytes> {
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
