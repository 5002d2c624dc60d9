//! What an HTTP response, or its absence, says about the upstream.

#[cfg(any(feature = "reqwest", feature = "hyper"))]
use std::error::Error as StdError;
use std::fmt;
use std::sync::Arc;
use std::time::SystemTime;

use http::{HeaderMap, Response, StatusCode};

use super::retry_after;
use crate::{BoxError, Classify, Error, Outcome};

/// The classifier for HTTP.
///
/// | result | outcome |
/// |---|---|
/// | 502, 503, 504 ([`transient`](Self::transient)) | `Transient`, with the wait that `Retry-After` asks for |
/// | other 5xx | `Failure` |
/// | 408, 429 ([`neutral`](Self::neutral)) | `Neutral` |
/// | every other status | `Success`: the upstream is alive and deciding |
/// | connect, reset, incomplete message, timeout, body cut short | `Transient` |
/// | the caller's own mistake: builder, redirect loop, decoding | `Neutral` |
///
/// ```
/// use http::StatusCode;
/// use steadfast::http::HttpClassifier;
///
/// // An upstream whose 429 is worth another try, after the wait that it asks for.
/// let classifier = HttpClassifier::new()
///     .transient([StatusCode::TOO_MANY_REQUESTS, StatusCode::BAD_GATEWAY, StatusCode::SERVICE_UNAVAILABLE]);
/// ```
#[derive(Clone, Default)]
pub struct HttpClassifier {
    /// `None` is [`DEFAULT`]: a clone goes with each call, and most of them have nothing to count.
    table: Option<Arc<Table>>,
}

#[derive(Clone)]
struct Table {
    transient: StatusSet,
    neutral: StatusSet,
    on_response: Option<Arc<HeadJudge>>,
    /// `None` is the system's.
    wall_clock: Option<Arc<WallClock>>,
}

static DEFAULT: Table = Table {
    transient: StatusSet::new().with(502).with(503).with(504),
    neutral: StatusSet::new().with(408).with(429),
    on_response: None,
    wall_clock: None,
};

/// A judgement of one's own on the head of a response; `None` leaves it to the table.
type HeadJudge = dyn Fn(StatusCode, &HeaderMap) -> Option<Outcome> + Send + Sync;

type WallClock = dyn Fn() -> SystemTime + Send + Sync;

impl HttpClassifier {
    /// The table above.
    pub const fn new() -> Self {
        Self { table: None }
    }

    /// The statuses that are worth another attempt, in place of 502, 503 and 504. A status that is named here is
    /// transient even if it is also named as neutral.
    pub fn transient(mut self, statuses: impl IntoIterator<Item = StatusCode>) -> Self {
        self.table_mut().transient = statuses.into_iter().collect();
        self
    }

    /// The statuses that say nothing about the upstream, in place of 408 and 429.
    pub fn neutral(mut self, statuses: impl IntoIterator<Item = StatusCode>) -> Self {
        self.table_mut().neutral = statuses.into_iter().collect();
        self
    }

    /// Asks `judge` about every response first; where it gives `None`, the table decides.
    ///
    /// ```
    /// use steadfast::{Outcome, http::HttpClassifier};
    ///
    /// // An upstream that answers 200 when it has only half of the answer.
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

    /// The clock that a date in `Retry-After` is read against, in place of the system's.
    pub fn wall_clock(mut self, clock: impl Fn() -> SystemTime + Send + Sync + 'static) -> Self {
        self.table_mut().wall_clock = Some(Arc::new(clock));
        self
    }

    fn table(&self) -> &Table {
        self.table.as_deref().unwrap_or(&DEFAULT)
    }

    fn table_mut(&mut self) -> &mut Table {
        Arc::make_mut(self.table.get_or_insert_with(|| Arc::new(DEFAULT.clone())))
    }
}

impl Table {
    fn classify(&self, status: StatusCode, headers: &HeaderMap) -> Outcome {
        if let Some(outcome) = self.on_response.as_ref().and_then(|judge| judge(status, headers)) {
            return outcome;
        }
        if self.transient.contains(status) {
            let retry_after = retry_after::parse(headers, self.wall_clock.as_deref().unwrap_or(&system_time));
            Outcome::Transient { retry_after, sent: true }
        } else if self.neutral.contains(status) {
            Outcome::Neutral
        } else if status.is_server_error() {
            Outcome::Failure
        } else {
            Outcome::Success
        }
    }
}

/// A date in `Retry-After` is wall-clock time, and nothing else is.
#[allow(clippy::disallowed_methods)]
fn system_time() -> SystemTime {
    SystemTime::now()
}

impl<B, E: TransportError> Classify<Response<B>, E> for HttpClassifier {
    fn classify(&self, result: Result<&Response<B>, &Error<E>>) -> Outcome {
        match result {
            Ok(response) => self.table().classify(response.status(), response.headers()),
            Err(Error::Upstream(error)) => error.fault().outcome(),
            Err(_) => Outcome::transient(),
        }
    }
}

impl fmt::Debug for HttpClassifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpClassifier")
            .field("transient", &self.table().transient)
            .field("neutral", &self.table().neutral)
            .finish_non_exhaustive()
    }
}

// ===== StatusSet =====

/// A set of status codes, asked in one step.
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

    fn contains(&self, status: StatusCode) -> bool {
        let (word, bit) = Self::position(status.as_u16());
        self.0[word] & bit != 0
    }

    /// A status code has three digits, so it is below 1024.
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

// ===== TransportError =====

/// What kind of fault left a request without a response.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Fault {
    /// No connection came about, so nothing was sent.
    Connect,
    /// The exchange broke off, or took too long, after something may have been sent.
    Exchange,
    /// The caller's own: the request could not be built, its body failed, or the response was not what the
    /// caller asked to have.
    Caller,
}

impl Fault {
    fn outcome(self) -> Outcome {
        match self {
            Self::Connect => Outcome::Transient { retry_after: None, sent: false },
            Self::Exchange => Outcome::transient(),
            Self::Caller => Outcome::Neutral,
        }
    }
}

/// The error of an HTTP client, as [`HttpClassifier`] sees it.
pub trait TransportError {
    /// What kind of fault it is.
    fn fault(&self) -> Fault;
}

impl TransportError for std::convert::Infallible {
    fn fault(&self) -> Fault {
        match *self {}
    }
}

impl TransportError for std::io::Error {
    fn fault(&self) -> Fault {
        // Only a refusal cannot befall a connection that has come about: a host can become unreachable at any time.
        match self.kind() {
            std::io::ErrorKind::ConnectionRefused => Fault::Connect,
            _ => Fault::Exchange,
        }
    }
}

/// One of the errors below, in a box. What is not known broke off.
impl TransportError for BoxError {
    fn fault(&self) -> Fault {
        #[cfg(feature = "reqwest")]
        if let Some(error) = self.downcast_ref::<reqwest::Error>() {
            return error.fault();
        }
        #[cfg(feature = "hyper")]
        if let Some(error) = self.downcast_ref::<hyper_util::client::legacy::Error>() {
            return error.fault();
        }
        #[cfg(feature = "hyper")]
        if let Some(error) = self.downcast_ref::<hyper::Error>() {
            return error.fault();
        }
        self.downcast_ref::<std::io::Error>().map_or(Fault::Exchange, TransportError::fault)
    }
}

#[cfg(feature = "reqwest")]
impl TransportError for reqwest::Error {
    fn fault(&self) -> Fault {
        if self.is_connect() {
            Fault::Connect
        } else if self.is_builder()
            || self.is_redirect()
            || self.is_decode()
            || self.is_status()
            || self.is_upgrade()
            || is_callers_fault(self)
        {
            Fault::Caller
        } else {
            Fault::Exchange
        }
    }
}

#[cfg(feature = "hyper")]
impl TransportError for hyper_util::client::legacy::Error {
    fn fault(&self) -> Fault {
        if self.is_connect() {
            Fault::Connect
        } else if is_callers_fault(self) || self.source().is_none() {
            // Without a cause it is the request that the client refused: no absolute URI, an unknown version.
            Fault::Caller
        } else {
            Fault::Exchange
        }
    }
}

#[cfg(feature = "hyper")]
impl TransportError for hyper::Error {
    fn fault(&self) -> Fault {
        if self.is_user() { Fault::Caller } else { Fault::Exchange }
    }
}

/// Whether hyper, somewhere below, found the caller at fault: a request body that failed, a header that cannot be.
#[cfg(any(feature = "reqwest", feature = "hyper"))]
fn is_callers_fault(error: &(dyn StdError + 'static)) -> bool {
    error.downcast_ref::<hyper::Error>().is_some_and(hyper::Error::is_user)
        || error.source().is_some_and(is_callers_fault)
}
