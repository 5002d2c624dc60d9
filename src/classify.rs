//! What the result of an attempt says about the upstream: one opinion, shared by retry, circuit breaker and cache.
//!
//! A retry that takes an answer for a fault which the circuit breaker takes for a success fights the breaker. So one
//! classifier is handed to every layer that has to judge. It is asked with the request before the request is sent, keeps what
//! it wants of it, and then judges the result ([`Classify`], [`Judge`]).
//!
//! [`HttpClassifier`](crate::http::HttpClassifier) is the one for HTTP. For anything else, a function will do:
//!
//! ```
//! use steadfast::{Outcome, classify};
//! use steadfast::retry::{RetryLayer, RetryPolicy};
//!
//! // A key-value service, whose `Busy` answer is worth another try.
//! enum Answer { Found(String), Missing, Busy }
//!
//! let classifier = classify::from_fn(|result| match result {
//!     Ok(Answer::Busy) | Err(_) => Outcome::transient(),
//!     Ok(Answer::Found(_) | Answer::Missing) => Outcome::Success,
//! });
//! let layer = RetryLayer::new(RetryPolicy::default()).classifier(classifier).non_http();
//! ```

use std::fmt;
use std::marker::PhantomData;
use std::time::Duration;

use crate::{Error, ErrorInfo};

/// What one attempt says about the upstream. Whether anything was sent is the [error's](ErrorInfo::maybe_sent) to say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Outcome {
    /// The upstream is alive and deciding.
    Success,
    /// The upstream could not serve the request now; another attempt may fare better.
    Transient {
        /// How long the upstream asked to be left alone.
        retry_after: Option<Duration>,
    },
    /// The upstream has not looked at the request, and says so (RFC 9113 §8.7): it is sent again at once, whatever its method,
    /// and nobody is to blame. A retry that has no copy of the request, because its policy or its budget is spent, hands the
    /// result on.
    NotProcessed,
    /// The upstream is healthy and answers "not now" (429): another attempt makes sense after the wait, and there is no fault.
    Throttled {
        /// How long the upstream asked to be left alone.
        retry_after: Option<Duration>,
    },
    /// The upstream failed in a way that a second attempt would not mend.
    Failure,
    /// Says nothing about the upstream: the caller's own mistake, or a matter between caller and upstream.
    Neutral,
}

impl Outcome {
    /// A transient fault without advice on when to come back.
    pub const fn transient() -> Self {
        Self::Transient { retry_after: None }
    }

    /// Whether this counts against the upstream: `Transient` and `Failure` do.
    pub const fn is_fault(&self) -> bool {
        matches!(self, Self::Transient { .. } | Self::Failure)
    }

    /// How long the upstream asked to be left alone.
    pub const fn retry_after(&self) -> Option<Duration> {
        match *self {
            Self::Transient { retry_after } | Self::Throttled { retry_after } => retry_after,
            _ => None,
        }
    }
}

/// Decides what attempts say about the upstream. Asked with each request before it is sent.
///
/// A layer clones its classifier with its service, so what is large, or shared, belongs into an `Arc` inside it.
///
/// ```
/// use http::Response;
/// use steadfast::http::{HttpClassifier, TransportError};
/// use steadfast::{Classify, Error, Judge, Outcome};
///
/// struct Command { is_report: bool }
///
/// /// Nobody waits for reports: they are not to open the circuit of everything else.
/// #[derive(Clone)]
/// struct ExceptReports(HttpClassifier);
///
/// /// What is kept of a request: whether it is for a report.
/// struct Kept { is_report: bool, other: HttpClassifier }
///
/// impl<B, E: TransportError + 'static> Classify<Command, Response<B>, E> for ExceptReports {
///     type Judge = Kept;
///
///     fn judge(&self, request: &Command) -> Kept {
///         Kept { is_report: request.is_report, other: self.0.clone() }
///     }
/// }
///
/// impl<B, E: TransportError + 'static> Judge<Response<B>, E> for Kept {
///     fn classify(&self, result: Result<&Response<B>, &Error<E>>) -> Outcome {
///         if self.is_report { Outcome::Neutral } else { self.other.classify(result) }
///     }
/// }
/// ```
pub trait Classify<Req, Res, E>: Clone {
    /// What is kept of a request until its result is there.
    type Judge: Judge<Res, E>;

    /// Looks at a request that is about to be sent.
    fn judge(&self, request: &Req) -> Self::Judge;
}

/// Judges the result of one attempt, or, in a retry, of each attempt of one call.
///
/// It is never asked about what was refused on this side ([`ErrorInfo::is_refusal`]): the layers know those. Nor do retry and
/// circuit breaker ask about a call that was cut by its deadline.
pub trait Judge<Res, E> {
    /// What `result` says about the upstream.
    fn classify(&self, result: Result<&Res, &Error<E>>) -> Outcome;
}

/// A classifier that looks at results alone.
///
/// The function sees an error as an [`ErrorInfo`], whatever the client. See the [module](self) for an example.
pub fn from_fn<Res, F>(function: F) -> FromFn<F, Res>
where
    F: Fn(Result<&Res, &ErrorInfo>) -> Outcome + Clone,
{
    FromFn { function, signature: PhantomData }
}

/// A classifier for each request: what `choose` gives, or else `default`.
///
/// A request whose every result is neutral is not retried, and a cache neither keeps its answers nor answers it.
///
/// ```
/// use http::Request;
/// use steadfast::circuit_breaker::{CircuitBreaker, CircuitBreakerLayer};
/// use steadfast::http::HttpClassifier;
/// use steadfast::{Outcome, classify};
///
/// // Nobody waits for reports, and they often fail: they are not to open the circuit of everything else.
/// let neutral = HttpClassifier::new().on_response(|_, _| Some(Outcome::Neutral));
/// let neutral = neutral.on_error(|_| Some(Outcome::Neutral));
/// let classifier = classify::by_request(HttpClassifier::new(), move |request: &Request<String>| {
///     request.uri().path().starts_with("/reports/").then(|| neutral.clone())
/// });
/// let layer = CircuitBreakerLayer::new(CircuitBreaker::default()).classifier(classifier);
/// ```
pub fn by_request<Req, C, F>(default: C, choose: F) -> ByRequest<C, F>
where
    F: Fn(&Req) -> Option<C> + Clone,
{
    ByRequest { default, choose }
}

/// The classifier that [`by_request`] makes.
#[derive(Clone)]
pub struct ByRequest<C, F> {
    default: C,
    choose: F,
}

impl<Req, Res, E, C, F> Classify<Req, Res, E> for ByRequest<C, F>
where
    C: Classify<Req, Res, E>,
    F: Fn(&Req) -> Option<C> + Clone,
{
    type Judge = C::Judge;

    fn judge(&self, request: &Req) -> C::Judge {
        match (self.choose)(request) {
            Some(chosen) => chosen.judge(request),
            None => self.default.judge(request),
        }
    }
}

impl<C: fmt::Debug, F> fmt::Debug for ByRequest<C, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ByRequest").field("default", &self.default).finish_non_exhaustive()
    }
}

/// The classifier that [`from_fn`] makes.
pub struct FromFn<F, Res> {
    function: F,
    signature: PhantomData<fn(&Res)>,
}

impl<Req, Res, E, F> Classify<Req, Res, E> for FromFn<F, Res>
where
    F: Fn(Result<&Res, &ErrorInfo>) -> Outcome + Clone,
{
    type Judge = Self;

    fn judge(&self, _request: &Req) -> Self {
        self.clone()
    }
}

impl<Res, E, F> Judge<Res, E> for FromFn<F, Res>
where
    F: Fn(Result<&Res, &ErrorInfo>) -> Outcome,
{
    fn classify(&self, result: Result<&Res, &Error<E>>) -> Outcome {
        (self.function)(result.map_err(Error::info))
    }
}

impl<F: Clone, Res> Clone for FromFn<F, Res> {
    fn clone(&self) -> Self {
        Self { function: self.function.clone(), signature: PhantomData }
    }
}

impl<F, Res> fmt::Debug for FromFn<F, Res> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("FromFn")
    }
}
