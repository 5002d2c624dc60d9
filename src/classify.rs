//! Classifiers judge attempts, for the retry, the circuit breaker and the cache.
//!
//! If a retry counts an answer as a fault, but the circuit breaker counts it as a success, the two work against each
//! other. To prevent this, all layers of a stack share one classifier.
//!
//! A verdict takes two steps. Before a request is sent, [`Classify`] sees the request and returns a [`Judge`]. Later,
//! this judge sees the result. So the verdict on the same result can differ by route, and a judge may keep parts of
//! the request. The default judge keeps nothing, and cloning it copies one pointer.
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

/// The verdict on one attempt. The [error](crate::ErrorInfo::maybe_sent), not the outcome, says whether the request
/// was sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Outcome {
    /// The upstream is alive and has answered. This includes statuses such as 404, 408 and 429.
    Success,
    /// The upstream could not serve the request now; another attempt may succeed.
    Transient {
        /// The wait that the upstream asked for.
        retry_after: Option<Duration>,
    },
    /// The upstream has declared the request as not processed (RFC 9113 §8.7). No fault is counted. A retry sends the
    /// request again at once, up to three times, whatever the method and the policy. After that, the policy decides.
    NotProcessed,
    /// The upstream is healthy and answers "not now" (429). This is no fault: a circuit breaker counts it as a
    /// success. A retry makes another attempt after `retry_after`.
    Throttled {
        /// The wait that the upstream asked for.
        retry_after: Option<Duration>,
    },
    /// The application behind a route failed (500), and another attempt would fail, too. The upstream is alive: a
    /// failure counts in a circuit breaker's failure rate, but not in its run of failures.
    Failure,
    /// The result says nothing about the upstream's health. An example is a mistake of the caller.
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

/// Chooses the judge of each call, before the request is sent.
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
    /// The judge of a call, kept until the result arrives.
    type Judge: Judge<Res, E>;

    /// Returns the judge for a request that is about to be sent.
    fn judge(&self, request: &Req) -> Self::Judge;
}

/// Judges the result of an attempt. A retry layer has one judge for each call.
///
/// A judge never sees [refusals](crate::ErrorInfo::is_refusal), because every layer recognises them by itself. A
/// retry does not ask about a call that was cut by its deadline. A circuit breaker asks about such a call, and about
/// a call that its caller drops. If the judge finds a fault, the length of the wait decides whether the fault counts.
pub trait Judge<Res, E> {
    /// Returns the verdict on `result`.
    fn classify(&self, result: Result<&Res, &Error<E>>) -> Outcome;
}
