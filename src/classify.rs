//! The one opinion of what an attempt's result means, shared by retry, breaker and fallback.

use std::time::Duration;

use crate::Error;

/// What one attempt says about the upstream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// The upstream is alive and deciding.
    Success,
    /// The upstream could not serve the request now; another attempt may fare better.
    Transient {
        /// How long the upstream asked to be left alone.
        retry_after: Option<Duration>,
        /// Whether any of the request may have reached the upstream. What was not sent is safe to send, whatever
        /// the request.
        sent: bool,
    },
    /// The upstream failed in a way that a second attempt would not mend.
    Failure,
    /// Says nothing about the upstream: the caller's own mistake, or a matter between caller and upstream.
    Neutral,
}

impl Outcome {
    /// A transient fault after the request may have been sent, without advice on when to come back.
    pub const fn transient() -> Self {
        Self::Transient { retry_after: None, sent: true }
    }

    /// Whether this counts against the upstream: `Transient` and `Failure` do.
    pub const fn is_fault(&self) -> bool {
        matches!(self, Self::Transient { .. } | Self::Failure)
    }
}

/// Decides what the result of an attempt says about the upstream.
///
/// One classifier is handed to every layer that has to judge, so that a retry, a circuit breaker and a fallback
/// never disagree. It sees the result alone, and is never asked about what was refused on this side
/// ([`Error::is_refusal`]): the layers know those.
///
/// A clone of it goes with each call, so what is large, or shared, belongs into an `Arc` inside it.
///
/// [`HttpClassifier`](crate::http::HttpClassifier) is the one for HTTP. For anything else, a closure will do, if the type
/// of its argument is written out:
///
/// ```
/// use steadfast::{Classify, Error, Outcome};
///
/// // A key-value service, whose `Busy` answer is worth another try.
/// enum Answer { Found(String), Missing, Busy }
///
/// let classify = |result: Result<&Answer, &Error<std::io::Error>>| match result {
///     Ok(Answer::Busy) | Err(_) => Outcome::transient(),
///     Ok(Answer::Found(_) | Answer::Missing) => Outcome::Success,
/// };
/// assert_eq!(classify.classify(Ok(&Answer::Busy)), Outcome::transient());
/// ```
pub trait Classify<Res, E>: Clone {
    /// What `result` says about the upstream.
    fn classify(&self, result: Result<&Res, &Error<E>>) -> Outcome;
}

impl<F, Res, E> Classify<Res, E> for F
where
    F: Fn(Result<&Res, &Error<E>>) -> Outcome + Clone,
{
    fn classify(&self, result: Result<&Res, &Error<E>>) -> Outcome {
        self(result)
    }
}
