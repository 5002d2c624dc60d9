//! Classifiers: the verdict on an attempt, shared by retry, circuit breaker and cache.
//!
//! If a retry counts an answer as a fault, but the circuit breaker counts it as a success, the two work against each
//! other. To prevent this, all layers of a stack share one classifier.
//!
//! A classifier is asked twice. [`Classify`] sees the request before the request is sent, and returns a [`Judge`],
//! which later judges the result. Each route can thus have its own verdicts. The judge may keep parts of the request.
//! The default judge keeps nothing, and a copy of it is a copy of one pointer.
//!
//! [`HttpClassifier`](crate::http::HttpClassifier) is the classifier for HTTP. For other protocols, a function is
//! enough:
//!
//! ```
//! use steadfast::{Outcome, classify};
//! use steadfast::retry::{RetryLayer, RetryPolicy};
//!
//! // A key-value service. Its `Busy` answer is worth another attempt.
//! enum Answer { Found(String), Missing, Busy }
//!
//! let classifier = classify::from_fn(|result| match result {
//!     Ok(Answer::Busy) | Err(_) => Outcome::transient(),
//!     Ok(Answer::Found(_) | Answer::Missing) => Outcome::Success,
//! });
//! let layer = RetryLayer::new(RetryPolicy::default()).classifier(classifier).non_http();
//! ```

mod by_request;
mod from_fn;

use std::time::Duration;

pub use self::by_request::{ByRequest, by_request};
pub use self::from_fn::{FromFn, from_fn};
use crate::Error;

/// The verdict on one attempt. Whether the request was sent is a fact of the [error](crate::ErrorInfo::maybe_sent),
/// not of the outcome.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Outcome {
    /// The upstream is alive and has answered.
    Success,
    /// The upstream could not serve the request now; another attempt may succeed.
    Transient {
        /// The wait that the upstream asked for.
        retry_after: Option<Duration>,
    },
    /// The upstream has declared the request as not processed (RFC 9113 §8.7). No fault is counted. A retry sends the
    /// request again at once, whatever the method, at most three times. If the retry has no copy of the request, for
    /// example because the policy or the budget is spent, it returns the result.
    NotProcessed,
    /// The upstream is healthy and answers "not now" (429). Another attempt makes sense after the wait, and no fault
    /// is counted.
    Throttled {
        /// The wait that the upstream asked for.
        retry_after: Option<Duration>,
    },
    /// The upstream failed, and another attempt would fail, too.
    Failure,
    /// The result says nothing about the upstream: a mistake of the caller, or a matter between caller and upstream.
    Neutral,
}

impl Outcome {
    /// Returns a transient fault without a `retry_after`.
    pub const fn transient() -> Self {
        Self::Transient { retry_after: None }
    }

    /// True for the faults that count against the upstream: `Transient` and `Failure`.
    pub const fn is_fault(&self) -> bool {
        matches!(self, Self::Transient { .. } | Self::Failure)
    }

    /// Returns the wait that the upstream asked for.
    pub const fn retry_after(&self) -> Option<Duration> {
        match *self {
            Self::Transient { retry_after } | Self::Throttled { retry_after } => retry_after,
            _ => None,
        }
    }
}

/// Chooses the judge of each call, before its request is sent.
///
/// A layer clones its classifier together with its service, so put large or shared parts into an `Arc`.
///
/// ```
/// use http::Response;
/// use steadfast::http::{HttpClassifier, TransportError};
/// use steadfast::{Classify, Error, Judge, Outcome};
///
/// struct Command { is_report: bool }
///
/// /// Keeps failing reports from opening the circuit for all other requests.
/// #[derive(Clone)]
/// struct ExceptReports(HttpClassifier);
///
/// /// The judge: remembers whether the request was for a report.
/// struct ReportJudge { is_report: bool, other: HttpClassifier }
///
/// impl<B, E: TransportError + 'static> Classify<Command, Response<B>, E> for ExceptReports {
///     type Judge = ReportJudge;
///
///     fn judge(&self, request: &Command) -> ReportJudge {
///         ReportJudge { is_report: request.is_report, other: self.0.clone() }
///     }
/// }
///
/// impl<B, E: TransportError + 'static> Judge<Response<B>, E> for ReportJudge {
///     fn classify(&self, result: Result<&Response<B>, &Error<E>>) -> Outcome {
///         if self.is_report { Outcome::Neutral } else { self.other.classify(result) }
///     }
/// }
/// ```
#[doc(alias = "retry predicate")]
#[doc(alias = "retryable")]
pub trait Classify<Req, Res, E>: Clone {
    /// The judge of a call, kept until the result is there.
    type Judge: Judge<Res, E>;

    /// Returns the judge for a request that is about to be sent.
    fn judge(&self, request: &Req) -> Self::Judge;
}

/// Judges the result of an attempt. In a retry, one judge judges all attempts of a call.
///
/// A judge never sees [refusals](crate::ErrorInfo::is_refusal): the layers recognise them. Retry and circuit breaker
/// do not ask it about a call that was cut by its deadline, but the cache does.
pub trait Judge<Res, E> {
    /// Returns the verdict on `result`.
    fn classify(&self, result: Result<&Res, &Error<E>>) -> Outcome;
}
