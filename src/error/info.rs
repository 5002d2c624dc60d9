//! The facts about an error, in a type that is not generic: kind, upstream, counts, and the client's error in a box.

use std::any::Any;
use std::error::Error as StdError;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::kind::{BoxError, ErrorKind, TimeoutScope};
use crate::http::Fault;
use crate::http::client_errors::{self, Sent, causes};
use crate::{EndpointId, RetryTerms, StopReason};

/// The facts about an [`Error`](super::Error), in a type that is not generic.
///
/// Code that does not know the client can find an `ErrorInfo` in a box, or in a chain of `anyhow` or `eyre`:
///
/// ```
/// use steadfast::{BoxError, Error, ErrorInfo, ErrorKind};
///
/// let refusal = Error::<std::io::Error>::new(ErrorKind::BulkheadFull { max_concurrent: 128 });
/// let boxed: BoxError = refusal.with_upstream("http://sku.internal").into();
///
/// let info = boxed.source().and_then(|source| source.downcast_ref::<ErrorInfo>()).unwrap();
/// assert!(info.is_refusal());
/// assert_eq!(info.upstream(), Some("http://sku.internal"));
/// ```
pub struct ErrorInfo {
    pub(super) kind: ErrorKind,
    pub(super) client: Option<Box<dyn InnerError>>,
    pub(super) upstream: Option<Arc<str>>,
    pub(super) attempts: u32,
    pub(super) stop: Option<StopReason>,
    pub(super) marks: Marks,
    pub(super) endpoint: Option<EndpointId>,
}

/// How far the requests of the call got.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reach {
    /// The upstream has processed no request.
    Nowhere = 0,
    /// The upstream may have seen a request.
    Upstream,
    /// The same, and a share of the caller's own timeout has cut the attempt.
    UpstreamBriefly,
    /// The upstream has redirected the request to another host, which has failed.
    RedirectTarget,
}

impl Reach {
    pub(super) const fn of(maybe_sent: bool) -> Self {
        if maybe_sent { Self::Upstream } else { Self::Nowhere }
    }
}

/// The reach and the terms of an error in one byte, because an error has no room for two.
#[derive(Clone, Copy)]
pub(super) struct Marks(u8);

impl Marks {
    const REACH: u8 = 3;
    const TERMS: u8 = 3 << 2;

    pub(super) const fn of(reach: Reach) -> Self {
        Self(0).with_reach(reach)
    }

    pub(super) const fn with_reach(self, reach: Reach) -> Self {
        Self(self.0 & !Self::REACH | reach as u8)
    }

    pub(super) const fn with_terms(self, terms: RetryTerms) -> Self {
        Self(self.0 & !Self::TERMS | (terms as u8) << 2)
    }

    const fn reach(self) -> Reach {
        match self.0 & Self::REACH {
            0 => Reach::Nowhere,
            1 => Reach::Upstream,
            2 => Reach::UpstreamBriefly,
            _ => Reach::RedirectTarget,
        }
    }

    const fn terms(self) -> RetryTerms {
        match (self.0 & Self::TERMS) >> 2 {
            0 => RetryTerms::Charged,
            1 => RetryTerms::Elsewhere,
            2 => RetryTerms::Free,
            _ => RetryTerms::AtOnce,
        }
    }
}

/// The client's error, of a type that only [`Error`](super::Error) knows.
pub(super) trait InnerError: Send + Sync {
    fn as_error(&self) -> &(dyn StdError + 'static);
    fn as_any(&self) -> &dyn Any;
    fn into_any(self: Box<Self>) -> Box<dyn Any>;
}

/// A client's error that implements [`std::error::Error`].
pub(super) struct TypedInner<E>(pub(super) E);

impl<E: StdError + Send + Sync + 'static> InnerError for TypedInner<E> {
    fn as_error(&self) -> &(dyn StdError + 'static) {
        &self.0
    }

    fn as_any(&self) -> &dyn Any {
        &self.0
    }

    fn into_any(self: Box<Self>) -> Box<dyn Any> {
        Box::new(self.0)
    }
}

/// A client's error in a box. `BoxError` does not implement [`std::error::Error`], so it needs an adapter of its own.
pub(super) struct BoxedInner(pub(super) BoxError);

impl InnerError for BoxedInner {
    fn as_error(&self) -> &(dyn StdError + 'static) {
        &*self.0
    }

    fn as_any(&self) -> &dyn Any {
        &self.0
    }

    fn into_any(self: Box<Self>) -> Box<dyn Any> {
        Box::new(self.0)
    }
}

impl ErrorInfo {
    pub(super) const fn new(kind: ErrorKind, client: Option<Box<dyn InnerError>>) -> Self {
        let is_refusal = kind.is_refusal();
        Self {
            kind,
            client,
            upstream: None,
            attempts: if is_refusal { 0 } else { 1 },
            stop: None,
            marks: Marks::of(Reach::of(!is_refusal)),
            endpoint: None,
        }
    }

    /// Derives the facts from the chain of causes of a client's error. If the chain holds a steadfast error, its
    /// facts count; otherwise the facts follow from the types of the errors.
    pub(super) fn of_client(client: Box<dyn InnerError>) -> Self {
        let of_error = |error: &(dyn StdError + 'static)| {
            if let Some(known) = wrapped(error).find_map(|error| error.downcast_ref::<Self>()) {
                return Self { upstream: known.upstream.clone(), client: None, ..*known };
            }
            if let Some(kind) = wrapped(error).find_map(kind_of_tower) {
                return Self::new(kind, None);
            }
            // Prefer the error of an HTTP client, which is about this call. A deeper `io::Error` can be about
            // something else, even a file.
            let trusted = causes(error).find(|error| client_errors::is_of_a_client(*error));
            let outermost = causes(error).find(|error| !client_errors::is_wrapper(*error));
            let sent = trusted
                .or(outermost)
                .and_then(client_errors::inspect)
                .map_or(Sent::Maybe, |facts| facts.sent);
            // An unknown error around the client's error may hide a redirect. Then an earlier request of the call was
            // sent.
            let is_hidden = trusted
                .is_some_and(|trusted| !outermost.is_some_and(|error| std::ptr::addr_eq(error, trusted)));
            let sent = if is_hidden { Sent::Maybe } else { sent };
            Self {
                attempts: u32::from(sent != Sent::NotAttempted),
                marks: Marks::of(Reach::of(sent == Sent::Maybe)),
                ..Self::new(ErrorKind::Upstream, None)
            }
        };
        of_error(client.as_error()).with_client(client)
    }

    fn with_client(mut self, client: Box<dyn InnerError>) -> Self {
        self.client = Some(client);
        self
    }

    /// Finds the facts of a steadfast error in a chain of causes, through boxes and wrappers. The search stops at an
    /// error of the request's own body, whose causes may be about another call.
    ///
    /// ```
    /// use steadfast::{Error, ErrorInfo, ErrorKind};
    ///
    /// let error = Error::<std::io::Error>::new(ErrorKind::CircuitOpen { retry_after: None });
    /// let boxed: Box<dyn std::error::Error> = Box::new(error);
    /// assert!(ErrorInfo::find(&*boxed).is_some_and(ErrorInfo::is_circuit_open));
    /// ```
    pub fn find<'a>(error: &'a (dyn StdError + 'static)) -> Option<&'a Self> {
        causes(error).find_map(|error| error.downcast_ref())
    }

    /// Returns the kind of failure.
    pub const fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// Returns the upstream's name, as given to a layer or its handle; a `Client` uses scheme and authority by
    /// default. `None` if no layer has a name.
    pub fn upstream(&self) -> Option<&str> {
        self.upstream.as_deref()
    }

    /// Returns the number of requests that the call handed to a connector. A failed connection counts; a refusal does
    /// not.
    pub const fn attempts(&self) -> u32 {
        self.attempts
    }

    /// Returns why no further attempt was made; `None` if no further attempt was wanted.
    pub const fn stop_reason(&self) -> Option<StopReason> {
        match (self.stop, self.kind) {
            (None, ErrorKind::CircuitOpen { .. }) => Some(StopReason::CircuitOpen),
            (None, ErrorKind::BulkheadFull { .. }) => Some(StopReason::BulkheadFull),
            (None, ErrorKind::Overloaded) => Some(StopReason::Overloaded),
            (None, ErrorKind::NoRuntime) => Some(StopReason::NoRuntime),
            (None, ErrorKind::NoEndpoint) => Some(StopReason::NoEndpoint),
            (None, ErrorKind::Timeout { scope: TimeoutScope::Total, .. }) => Some(StopReason::Deadline),
            (stop, _) => stop,
        }
    }

    /// Returns the stop reason that a retry layer has set; `None` without one, even if the kind implies a reason.
    pub(crate) const fn stop_of_retry(&self) -> Option<StopReason> {
        self.stop
    }

    /// True if the upstream may have seen any part of the call's requests. If false, a request of any method can
    /// safely be sent again.
    pub const fn maybe_sent(&self) -> bool {
        !matches!(self.marks.reach(), Reach::Nowhere)
    }

    /// Returns the endpoint of the last attempt; `None` if no layer below chooses among endpoints.
    pub const fn endpoint(&self) -> Option<EndpointId> {
        self.endpoint
    }

    /// Returns the terms on which a retry may follow.
    pub(crate) const fn retry_terms(&self) -> RetryTerms {
        self.marks.terms()
    }

    /// True if the fault is that of another host, to which the upstream has redirected the request. Such a fault does
    /// not count against the upstream. Known only if the redirects of the HTTP client are
    /// [watched](crate::watch_redirects), as those of a default `Client` are.
    pub const fn is_of_redirect_target(&self) -> bool {
        matches!(self.marks.reach(), Reach::RedirectTarget)
    }

    /// True if the circuit breaker refused the attempt.
    pub const fn is_circuit_open(&self) -> bool {
        matches!(self.kind, ErrorKind::CircuitOpen { .. })
    }

    /// True if the bulkhead refused the attempt.
    pub const fn is_bulkhead_full(&self) -> bool {
        matches!(self.kind, ErrorKind::BulkheadFull { .. })
    }

    /// True if a time limit has passed: that of the call, of an attempt, of a timeout layer of tower, or of the
    /// client.
    pub fn is_timeout(&self) -> bool {
        let of_client = || self.client_error().is_some_and(client_errors::is_timeout);
        matches!(self.kind, ErrorKind::Timeout { .. }) || of_client()
    }

    /// True if the time limit of the whole call has passed.
    pub const fn is_total_timeout(&self) -> bool {
        matches!(self.kind, ErrorKind::Timeout { scope: TimeoutScope::Total, .. })
    }

    /// True if a limit that the caller has chosen for this call has cut the attempt: the deadline, or a share of the
    /// call's own timeout.
    pub(crate) const fn is_cut_by_caller(&self) -> bool {
        self.is_total_timeout() || matches!(self.marks.reach(), Reach::UpstreamBriefly)
    }

    /// True if the client failed to connect, to the upstream or to the target of a redirect.
    pub fn is_connect(&self) -> bool {
        self.fault().is_some_and(Fault::is_connect)
    }

    /// Returns the fault in the client's error; `None` if there is no such error.
    pub(crate) fn fault(&self) -> Option<Fault> {
        self.client_error().map(client_errors::fault_of)
    }

    /// Returns how long to wait before another call. `None` unless the circuit breaker refused the attempt and knows
    /// the time.
    pub const fn retry_after(&self) -> Option<Duration> {
        match self.kind {
            ErrorKind::CircuitOpen { retry_after } => retry_after,
            _ => None,
        }
    }

    /// Returns the HTTP status in the client's error, for example in an error of reqwest's `error_for_status`.
    pub fn status(&self) -> Option<http::StatusCode> {
        #[cfg(feature = "reqwest")]
        return self.reqwest_error()?.status();
        #[cfg(not(feature = "reqwest"))]
        None
    }

    /// Returns the URL in reqwest's error, if the error has one. The URL has no userinfo, query or fragment: these
    /// parts are removed, so that no text of the error shows them.
    #[cfg(feature = "reqwest")]
    pub fn url(&self) -> Option<&reqwest::Url> {
        self.reqwest_error()?.url()
    }

    #[cfg(feature = "reqwest")]
    fn reqwest_error(&self) -> Option<&reqwest::Error> {
        causes(self.client_error()?).find_map(|error| error.downcast_ref())
    }

    fn client_error(&self) -> Option<&(dyn StdError + 'static)> {
        self.client.as_ref().map(|client| client.as_error())
    }

    /// Returns the client's own error, without the steadfast errors and `io::Error`s that boxing layers have put
    /// around it.
    fn innermost_client_error(&self) -> Option<&(dyn StdError + 'static)> {
        let error = self.client_error()?;
        match wrapped(error).find_map(|error| error.downcast_ref::<Self>()) {
            Some(boxed) => boxed.innermost_client_error(),
            None => causes(error).find(|error| !client_errors::is_wrapper(*error)),
        }
    }

    /// Writes one line for a log: the upstream, the failure with its cause, and the number of attempts.
    pub(super) fn fmt_summary(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(upstream) = &self.upstream {
            write!(f, "{upstream}: ")?;
        }
        if self.is_of_redirect_target() {
            f.write_str("redirect target: ")?;
        }
        match self.kind {
            ErrorKind::Upstream => self.fmt_client(f)?,
            ErrorKind::CircuitOpen { retry_after: None } => f.write_str("circuit open")?,
            ErrorKind::CircuitOpen { retry_after: Some(wait) } => {
                write!(f, "circuit open, retry after {}", Rounded(wait))?;
            }
            ErrorKind::BulkheadFull { max_concurrent } => {
                write!(f, "bulkhead full, {max_concurrent} attempts in flight")?;
            }
            ErrorKind::Overloaded => f.write_str("refused by a load-shedding layer")?,
            ErrorKind::Timeout { scope, after } => {
                f.write_str(match scope {
                    TimeoutScope::Total => "deadline passed",
                    TimeoutScope::Attempt => "attempt timed out",
                    TimeoutScope::Other => "timed out",
                })?;
                after.map_or(Ok(()), |after| write!(f, " after {}", Rounded(after)))?;
            }
            ErrorKind::NoRuntime => f.write_str("no tokio runtime on this thread")?,
            ErrorKind::NoEndpoint => f.write_str("no endpoint known")?,
            ErrorKind::Body => {
                let is_whole = self.fault() == Some(Fault::Caller);
                f.write_str(if is_whole {
                    "response body cannot be decoded"
                } else {
                    "response body broke off"
                })?;
                self.fmt_root(f)?;
            }
        }
        let s = if self.attempts == 1 { "" } else { "s" };
        write!(f, " ({} attempt{s}", self.attempts)?;
        // For a refusal or a passed deadline, the stop reason would only repeat the kind.
        if let Some(stop) = self.stop.filter(|_| !self.is_refusal() && !self.is_total_timeout()) {
            write!(f, ", no retry: {stop}")?;
        }
        f.write_str(")")
    }

    /// Writes the meaning of the client's error, and the root cause. If the meaning is not known, writes the error's
    /// own text.
    fn fmt_client(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(error) = self.innermost_client_error() else { return f.write_str("the client failed") };
        match client_errors::inspect(error).and_then(|facts| facts.text) {
            Some(text) => {
                f.write_str(text)?;
                self.fmt_root(f)
            }
            None => fmt_line(&error.to_string(), f),
        }
    }

    /// Writes the root cause of the client's error. The causes above the root add less, so they are left out.
    fn fmt_root(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(error) = self.innermost_client_error() else { return Ok(()) };
        match client_errors::telling_root(error) {
            Some(root) => {
                f.write_str(": ")?;
                fmt_line(&root.to_string(), f)
            }
            None => Ok(()),
        }
    }

    pub(super) fn fmt_fields(&self, name: &str, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut fields = f.debug_struct(name);
        fields.field("kind", &self.kind).field("upstream", &self.upstream).field("attempts", &self.attempts);
        fields.field("stop_reason", &self.stop_reason()).field("maybe_sent", &self.maybe_sent());
        if let Some(endpoint) = self.endpoint {
            fields.field("endpoint", &endpoint.get());
        }
        if let Some(client) = self.client_error() {
            fields.field("client", &client);
        }
        fields.finish()
    }
}

/// Returns an error and the errors that it wraps, but stops before the first error of an HTTP client. The causes of a
/// client's error can belong to another call, for example the call that feeds the request's body.
fn wrapped<'a>(error: &'a (dyn StdError + 'static)) -> impl Iterator<Item = &'a (dyn StdError + 'static)> {
    causes(error).take_while(|error| !client_errors::is_of_a_client(*error))
}

/// Returns the kind for an error of tower's own layers.
fn kind_of_tower(error: &(dyn StdError + 'static)) -> Option<ErrorKind> {
    if error.is::<tower::timeout::error::Elapsed>() {
        Some(ErrorKind::Timeout { scope: TimeoutScope::Other, after: None })
    } else if error.is::<tower::load_shed::error::Overloaded>() {
        Some(ErrorKind::Overloaded)
    } else {
        None
    }
}

/// The second line in a chain of causes: who ended the call, and whether the upstream may have seen the request.
impl fmt::Display for ErrorInfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.kind {
            ErrorKind::Upstream => "the client had no answer",
            ErrorKind::CircuitOpen { .. } => "the circuit breaker refused",
            ErrorKind::BulkheadFull { .. } => "the bulkhead refused",
            ErrorKind::Overloaded => "a load-shedding layer refused",
            ErrorKind::Timeout { .. } => "the answer did not come in time",
            ErrorKind::Body => "the answer was not whole",
            ErrorKind::NoRuntime => "there is no tokio runtime",
            ErrorKind::NoEndpoint => "the discovery has found no endpoint",
        })?;
        f.write_str(if self.maybe_sent() {
            "; the upstream may have seen the request"
        } else {
            "; the upstream has not processed the request"
        })
    }
}

impl fmt::Debug for ErrorInfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.fmt_fields("ErrorInfo", f)
    }
}

impl StdError for ErrorInfo {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.client_error()
    }
}

/// Writes the first line of a foreign text, without the credentials and the queries of its URLs.
fn fmt_line(text: &str, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let line = text.lines().next().unwrap_or_default();
    for (number, word) in line.split(' ').enumerate() {
        if number > 0 {
            f.write_str(" ")?;
        }
        let Some((scheme, rest)) = word.split_once("://") else {
            f.write_str(word)?;
            continue;
        };
        let (shown, cut) = rest.split_once(['?', '#']).map_or((rest, ""), |(shown, _)| (shown, "?…"));
        let authority = shown.find('/').unwrap_or(shown.len());
        let host = shown[..authority].rfind('@').map_or(0, |at| at + 1);
        write!(f, "{scheme}://{}{cut}", &shown[host..])?;
    }
    Ok(())
}

/// A duration, rounded for display: `1.2 s`, `294 ms`.
struct Rounded(Duration);

impl fmt::Display for Rounded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.0.as_secs_f64();
        if seconds >= 9.95 {
            write!(f, "{seconds:.0} s")
        } else if seconds >= 0.9995 {
            let tenths = (seconds * 10.0).round() / 10.0;
            write!(f, "{tenths} s")
        } else if seconds >= 0.000_999_5 || self.0.is_zero() {
            write!(f, "{:.0} ms", seconds * 1e3)
        } else {
            write!(f, "{:.0} µs", (seconds * 1e6).max(1.0))
        }
    }
}
