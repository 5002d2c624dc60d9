//! The classifier for HTTP: what a status or an error says about the upstream.

use std::fmt;
use std::sync::Arc;
use std::time::SystemTime;

use http::{HeaderMap, Response, StatusCode};

use super::client_errors::Fault;
use super::{TransportError, retry_after};
use crate::{Classify, Error, ErrorInfo, ErrorKind, Judge, Outcome};

/// The classifier for HTTP: judges a response by its status, and an error by its kind.
///
/// | result | outcome |
/// |---|---|
/// | 502, 503, 504 (set by [`transient`](Self::transient)) | `Transient`, with the wait in `Retry-After` |
/// | other 5xx | `Failure` |
/// | none by default (set by [`throttled`](Self::throttled)) | `Throttled`, with the wait in `Retry-After` |
/// | none by default (set by [`neutral`](Self::neutral)) | `Neutral` |
/// | every other status, also 408 and 429 | `Success`: the upstream is alive and has answered |
/// | failed connection, reset, incomplete message, timeout, body cut short | `Transient` |
/// | not processed by an HTTP/2 server: `REFUSED_STREAM`, or a `GOAWAY` with a lower last stream (feature `http2`) | `NotProcessed` |
/// | no retry can help: invalid request, redirect loop, undecodable body, `https` without TLS, untrusted certificate (feature `rustls`) | `Neutral` |
///
/// ```
/// use http::StatusCode;
/// use steadfast::http::HttpClassifier;
///
/// // Retries a 429 after the wait in `Retry-After`.
/// let classifier = HttpClassifier::new().throttled([StatusCode::TOO_MANY_REQUESTS]);
/// ```
#[derive(Clone, Default)]
pub struct HttpClassifier {
    /// `None` stands for [`DEFAULT`]. Every call clones the classifier; with `None`, a clone changes no reference
    /// count.
    table: Option<Arc<Table>>,
}

#[derive(Clone)]
struct Table {
    transient: StatusSet,
    throttled: StatusSet,
    neutral: StatusSet,
    /// The union of the three sets. Any other status is judged by its class, 5xx or not.
    named: StatusSet,
    on_response: Option<Arc<ResponseHook>>,
    on_error: Option<Arc<ErrorHook>>,
    /// The clock for dates in `Retry-After`; `None` stands for the system's clock.
    wall_clock: Option<Arc<ClockFunction>>,
}

static DEFAULT: Table = Table {
    transient: StatusSet::new().with(502).with(503).with(504),
    throttled: StatusSet::new(),
    neutral: StatusSet::new(),
    named: StatusSet::new().with(502).with(503).with(504),
    on_response: None,
    on_error: None,
    wall_clock: None,
};

/// A user's function that judges the head of a response. If it returns `None`, the table decides.
type ResponseHook = dyn Fn(StatusCode, &HeaderMap) -> Option<Outcome> + Send + Sync;

/// A user's function that judges an error. If it returns `None`, the table decides.
type ErrorHook = dyn Fn(&ErrorInfo) -> Option<Outcome> + Send + Sync;

type ClockFunction = dyn Fn() -> SystemTime + Send + Sync;

impl HttpClassifier {
    /// Creates a classifier that judges by the [table](HttpClassifier) of this type.
    pub const fn new() -> Self {
        Self { table: None }
    }

    /// Sets the statuses that are worth another attempt. Default: 502, 503 and 504.
    ///
    /// A status in this set is transient even if [`neutral`](Self::neutral) names it too.
    pub fn transient(mut self, statuses: impl IntoIterator<Item = StatusCode>) -> Self {
        self.name_statuses(|table| table.transient = statuses.into_iter().collect());
        self
    }

    /// Sets the statuses by which a healthy upstream says "not now". Default: none; a 429 is not retried.
    ///
    /// Such an answer is worth another attempt after the wait in `Retry-After`, and is no fault. This set takes
    /// precedence over [`transient`](Self::transient) and [`neutral`](Self::neutral).
    pub fn throttled(mut self, statuses: impl IntoIterator<Item = StatusCode>) -> Self {
        self.name_statuses(|table| table.throttled = statuses.into_iter().collect());
        self
    }

    /// Sets the statuses that say nothing about the upstream. Default: none.
    pub fn neutral(mut self, statuses: impl IntoIterator<Item = StatusCode>) -> Self {
        self.name_statuses(|table| table.neutral = statuses.into_iter().collect());
        self
    }

    /// Judges every response with `judge`. If `judge` returns `None`, the table decides.
    ///
    /// A retry obeys the `Retry-After` of a response even if the outcome from `judge` names no wait.
    ///
    /// ```
    /// use steadfast::{Outcome, http::HttpClassifier};
    ///
    /// // This upstream answers 200 even if it has only half of the data.
    /// let classifier = HttpClassifier::new().on_response(|_status, headers| {
    ///     headers.contains_key("x-partial-answer").then(Outcome::transient)
    /// });
    /// ```
    pub fn on_response(
        mut self,
        judge: impl Fn(StatusCode, &HeaderMap) -> Option<Outcome> + Send + Sync + 'static,
    ) -> Self {
        self.table_mut().on_response = Some(Arc::new(judge));
        self
    }

    /// Judges every error except refusals with `judge`. If `judge` returns `None`, the table decides.
    ///
    /// ```
    /// use steadfast::{Outcome, http::HttpClassifier};
    ///
    /// // A failed connection is a mistake in the configuration: do not retry.
    /// let classifier = HttpClassifier::new()
    ///     .on_error(|error| error.is_connect().then_some(Outcome::Neutral));
    /// ```
    pub fn on_error(mut self, judge: impl Fn(&ErrorInfo) -> Option<Outcome> + Send + Sync + 'static) -> Self {
        self.table_mut().on_error = Some(Arc::new(judge));
        self
    }

    /// Sets the clock with which this classifier compares dates in `Retry-After`. Default: the system's.
    pub fn wall_clock(mut self, clock: impl Fn() -> SystemTime + Send + Sync + 'static) -> Self {
        self.table_mut().wall_clock = Some(Arc::new(clock));
        self
    }

    fn name_statuses(&mut self, name: impl FnOnce(&mut Table)) {
        let table = self.table_mut();
        name(table);
        table.named = table.transient.union(table.throttled).union(table.neutral);
    }

    fn table(&self) -> &Table {
        self.table.as_deref().unwrap_or(&DEFAULT)
    }

    fn table_mut(&mut self) -> &mut Table {
        Arc::make_mut(self.table.get_or_insert_with(|| Arc::new(DEFAULT.clone())))
    }
}

impl Table {
    fn of_head(&self, status: StatusCode, headers: &HeaderMap) -> Outcome {
        let wait =
            || retry_after::parse(headers, self.wall_clock.as_deref().unwrap_or(&retry_after::system_time));
        if let Some(outcome) = self.on_response.as_ref().and_then(|judge| judge(status, headers)) {
            return outcome;
        }
        if !self.named.contains(status) {
            return if status.is_server_error() { Outcome::Failure } else { Outcome::Success };
        }
        if self.throttled.contains(status) {
            Outcome::Throttled { retry_after: wait() }
        } else if self.transient.contains(status) {
            Outcome::Transient { retry_after: wait() }
        } else {
            Outcome::Neutral
        }
    }

    fn of_error<E: TransportError + 'static>(&self, error: &Error<E>) -> Outcome {
        if let Some(outcome) = self.on_error.as_ref().and_then(|judge| judge(error.info())) {
            return outcome;
        }
        let fault = match error.kind() {
            ErrorKind::Upstream => error.inner().map(TransportError::fault),
            ErrorKind::Body => error.fault(),
            _ => None,
        };
        match fault {
            Some(Fault::Caller | Fault::Impossible) => Outcome::Neutral,
            // After a redirect, the upstream has processed the call's first request.
            Some(Fault::NotProcessed) if !error.maybe_sent() => Outcome::NotProcessed,
            Some(Fault::NotProcessed | Fault::Connect | Fault::Exchange) | None => Outcome::transient(),
        }
    }
}

/// Judges by the result alone, and keeps nothing of the request.
impl<Req, B, E: TransportError + 'static> Classify<Req, Response<B>, E> for HttpClassifier {
    type Judge = Self;

    #[inline]
    fn judge(&self, _request: &Req) -> Self {
        self.clone()
    }
}

impl<B, E: TransportError + 'static> Judge<Response<B>, E> for HttpClassifier {
    fn classify(&self, result: Result<&Response<B>, &Error<E>>) -> Outcome {
        match result {
            Ok(response) => self.table().of_head(response.status(), response.headers()),
            Err(error) => self.table().of_error(error),
        }
    }
}

impl fmt::Debug for HttpClassifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpClassifier")
            .field("transient", &self.table().transient)
            .field("throttled", &self.table().throttled)
            .field("neutral", &self.table().neutral)
            .finish_non_exhaustive()
    }
}

// ===== StatusSet =====

/// A set of status codes, as a bit set.
#[derive(Clone, Copy, PartialEq, Eq)]
struct StatusSet([u64; 16]);

impl StatusSet {
    const fn new() -> Self {
        Self([0; 16])
    }

    const fn with(mut self, status: u16) -> Self {
        let (word, bit) = Self::position(status);
        self.0[word] |= bit;
        self
    }

    fn union(mut self, other: Self) -> Self {
        self.0.iter_mut().zip(other.0).for_each(|(word, others)| *word |= others);
        self
    }

    fn contains(&self, status: StatusCode) -> bool {
        let (word, bit) = Self::position(status.as_u16());
        self.0[word] & bit != 0
    }

    /// Returns the index of a status's word, and its bit in the word. A status code has three digits, so 16 words are
    /// enough.
    const fn position(status: u16) -> (usize, u64) {
        ((status / 64) as usize % 16, 1 << (status % 64))
    }
}

impl FromIterator<StatusCode> for StatusSet {
    fn from_iter<I: IntoIterator<Item = StatusCode>>(statuses: I) -> Self {
        statuses.into_iter().fold(Self::new(), |set, status| set.with(status.as_u16()))
    }
}

impl fmt::Debug for StatusSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let statuses = (100..1000).filter_map(|status| StatusCode::from_u16(status).ok());
        f.debug_set().entries(statuses.filter(|status| self.contains(*status))).finish()
    }
}
