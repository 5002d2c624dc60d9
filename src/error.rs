//! The error type of all layers: the reason why a call has no answer.
//!
//! # Design
//!
//! tower's own layers box errors. Code that meets a boxed `Error<E>` does not know `E`, but must recognise a refusal.
//! So all facts are in [`ErrorInfo`], which is not generic and is the first source of every `Error<E>`. `ErrorInfo`
//! holds the client's error in a box; `Error<E>` adds only the type of that error.
//!
//! The alternative is an `Error<E>` that holds the `E` itself, and with it a function that returns the source of the
//! `E`. This would save one allocation for each failed call, but code that does not know `E` could not read the kind
//! and the counts. The price of `ErrorInfo` is one more level in the chain of causes. That level says who ended the
//! call, and whether the upstream may have seen the request.

mod info;
mod kind;
mod refusal;

use std::any::Any;
use std::convert::Infallible;
use std::error::Error as StdError;
use std::fmt;
use std::io;
use std::marker::PhantomData;
use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

pub use self::info::ErrorInfo;
use self::info::{BoxedInner, Reach, TypedInner};
pub use self::kind::{BoxError, ErrorKind, TimeoutScope};
use crate::internal::signals::TimeUp;
use crate::internal::when_ready::NotCalled;
use crate::sealed::Sealed;
use crate::{EndpointId, RetryTerms, StopReason};

/// Why a call has no answer.
///
/// Every layer of this crate expects `Error<E>` from the service below, and itself fails with `Error<E>`. `E` is the
/// error of the client at the bottom. To adapt the innermost service, use `.map_err(Error::from_upstream)`, or
/// `.map_err(Error::from_boxed)` if that service boxes its errors.
///
/// An error says what failed ([`kind`](ErrorInfo::kind)), for which upstream, after how many attempts, why no further
/// attempt followed, and whether the upstream may have seen a request. The accessors are methods of [`ErrorInfo`], to
/// which an `Error` dereferences. `ErrorInfo` is not generic, and is the first [source](StdError::source) of every
/// `Error`, so code can find it in a box without knowing `E`. The client's error is the next source in the chain. A
/// refusal allocates nothing.
///
/// An answer of the upstream is never turned into an error: when the last attempt ends with a 503, the caller gets
/// that 503.
///
/// ```
/// use std::time::Duration;
/// use steadfast::{Error, ErrorKind};
///
/// fn advice<E>(error: &Error<E>) -> &'static str {
///     match error.kind() {
///         ErrorKind::CircuitOpen { .. } => "the upstream is known to be down",
///         _ if error.is_refusal() => "this service is too busy to ask",
///         _ => "the upstream was asked, and did not answer",
///     }
/// }
///
/// let retry_after = Some(Duration::from_millis(1234));
/// let error = Error::<std::io::Error>::new(ErrorKind::CircuitOpen { retry_after });
/// let error = error.with_upstream("http://sku.internal");
/// assert_eq!(advice(&error), "the upstream is known to be down");
/// assert_eq!(error.retry_after(), retry_after);
/// assert_eq!(error.to_string(), "http://sku.internal: circuit open, retry after 1.2 s (0 attempts)");
/// ```
pub struct Error<E> {
    info: ErrorInfo,
    client: PhantomData<fn() -> E>,
}

impl<E> Error<E> {
    /// Creates an error that wraps no other error, for example in a layer of your own.
    ///
    /// If `kind` is a refusal, the error counts zero attempts; otherwise it counts one attempt, which may have been
    /// sent. To change these facts, use [`with_attempts`](Self::with_attempts) and [`with_sent`](Self::with_sent).
    pub const fn new(kind: ErrorKind) -> Self {
        Self::from_info(ErrorInfo::new(kind, None))
    }

    /// Wraps the error of the client at the bottom: `.map_err(Error::from_upstream)`.
    ///
    /// If an error of this crate is among the sources of `error`, the kind and the counts of that error are kept.
    /// Otherwise the request counts as possibly sent, unless `error` proves that nothing was sent: a failed
    /// connection of hyper-util, a refused connection of `std::io`, an invalid request, or tower's `Overloaded`. A
    /// failed connection of reqwest proves nothing, because the unreachable host may be the target of a redirect;
    /// only `ReqwestService` can tell. For other clients, use [`with_sent`](Self::with_sent).
    ///
    /// The URL in an error of reqwest loses its userinfo, query and fragment, which can hold secrets.
    pub fn from_upstream(error: E) -> Self
    where
        E: StdError + Send + Sync + 'static,
    {
        #[cfg(feature = "reqwest")]
        let error = without_secrets(error);
        Self::from_info(ErrorInfo::of_client(Box::new(TypedInner(error))))
    }

    /// Creates the error for a response whose body could not be read whole.
    pub fn from_body(error: impl Into<BoxError>) -> Self {
        Self::from_info(ErrorInfo::new(ErrorKind::Body, Some(Box::new(BoxedInner(error.into())))))
    }

    pub(crate) const fn from_info(info: ErrorInfo) -> Self {
        Self { info, client: PhantomData }
    }

    /// Creates a timeout error; `after` is the length of the time limit, if known.
    pub(crate) const fn timeout(scope: TimeoutScope, after: Option<Duration>) -> Self {
        Self::new(ErrorKind::Timeout { scope, after })
    }

    /// Creates the error of an attempt whose time is up.
    pub(crate) const fn of_time_up(limit: TimeUp) -> Self {
        let error = Self::timeout(TimeoutScope::of(limit.is_total), Some(limit.after));
        if limit.is_callers_share { error.cut_by_callers_share() } else { error }
    }

    /// Sets the name of the upstream, unless the error already has one: the layer nearest to the upstream knows the
    /// name best.
    #[must_use]
    pub fn with_upstream(mut self, name: impl Into<Arc<str>>) -> Self {
        if self.info.upstream.is_none() {
            self.info.upstream = Some(name.into());
        }
        self
    }

    /// Marks an error of `poll_ready`: no attempt was made, and nothing was sent.
    pub(crate) fn of_readiness(self, upstream: Option<&Arc<str>>) -> Self {
        let mut error = self.with_attempts(0).with_sent(false);
        error.set_upstream(upstream);
        error
    }

    /// Sets the name of the upstream in place, as [`with_upstream`](Self::with_upstream) does. Does nothing for
    /// `None`.
    pub(crate) fn set_upstream(&mut self, name: Option<&Arc<str>>) {
        if let (None, Some(name)) = (&self.info.upstream, name) {
            self.info.upstream = Some(Arc::clone(name));
        }
    }

    /// Sets the number of requests that the call has handed to a connector, including the one that failed.
    #[must_use]
    pub const fn with_attempts(mut self, attempts: u32) -> Self {
        self.info.attempts = attempts;
        self
    }

    /// Sets whether the upstream may have seen any part of a request. With `false`, a retry may send even a POST
    /// again.
    #[must_use]
    pub const fn with_sent(mut self, sent: bool) -> Self {
        if self.info.maybe_sent() != sent {
            self.info.marks = self.info.marks.with_reach(Reach::of(sent));
        }
        self
    }

    /// Sets the endpoint of the attempt, so that the next attempt can go to another endpoint.
    #[must_use]
    pub const fn at_endpoint(mut self, endpoint: EndpointId) -> Self {
        self.info.endpoint = Some(endpoint);
        self
    }

    /// Sets the terms on which a retry may follow.
    pub(crate) const fn on_terms(mut self, terms: RetryTerms) -> Self {
        self.info.marks = self.info.marks.with_terms(terms);
        self
    }

    /// Marks a fault of another host, to which the upstream has redirected the request. The upstream has seen the
    /// request, and the fault does not count against the upstream.
    #[must_use]
    pub const fn at_redirect_target(mut self) -> Self {
        self.info.marks = self.info.marks.with_reach(Reach::RedirectTarget);
        self
    }

    /// Sets the reason why no further attempt followed.
    pub(crate) const fn with_stop_reason(mut self, reason: Option<StopReason>) -> Self {
        self.info.stop = reason;
        self
    }

    /// Notes that a share of the caller's own timeout has cut the attempt.
    pub(crate) const fn cut_by_callers_share(mut self) -> Self {
        self.info.marks = self.info.marks.with_reach(Reach::UpstreamBriefly);
        self
    }

    pub(crate) const fn with_kind(mut self, kind: ErrorKind) -> Self {
        self.info.kind = kind;
        self
    }

    /// Returns the facts about the error, in a type that does not depend on `E`.
    pub const fn info(&self) -> &ErrorInfo {
        &self.info
    }
}

impl Error<Infallible> {
    /// Returns the error of a body whose time is up: an [`Error`] inside an `io::Error` of the kind `TimedOut`, which
    /// `reqwest::Error::is_timeout` recognises.
    pub(crate) fn body_timeout(scope: TimeoutScope, after: Duration) -> BoxError {
        io::Error::new(io::ErrorKind::TimedOut, Self::timeout(scope, Some(after))).into()
    }
}

impl<E: 'static> Error<E> {
    /// Returns the client's error, if the client failed. For an `Error<BoxError>`, this is the box.
    pub fn inner(&self) -> Option<&E> {
        self.info.client.as_ref()?.as_any().downcast_ref()
    }

    /// Returns the client's error, if the client failed.
    pub fn into_inner(self) -> Option<E> {
        let client: Box<dyn Any> = self.info.client?.into_any();
        client.downcast().ok().map(|error| *error)
    }
}

/// Hides secrets in the URL of an error of reqwest.
#[cfg(feature = "reqwest")]
fn without_secrets<E: 'static>(mut error: E) -> E {
    if let Some(error) = (&mut error as &mut dyn Any).downcast_mut() {
        crate::http::client_errors::hide_secrets(error);
    }
    error
}

#[cfg(feature = "reqwest")]
fn without_secrets_in_box(mut error: BoxError) -> BoxError {
    if let Some(error) = error.downcast_mut() {
        crate::http::client_errors::hide_secrets(error);
    } else if let Some(error) = error.downcast_mut::<Box<reqwest::Error>>() {
        crate::http::client_errors::hide_secrets(error);
    }
    error
}

impl Error<BoxError> {
    /// Converts a boxed error, such as one of tower's `Timeout`, `LoadShed`, `ConcurrencyLimit` or `Buffer`.
    ///
    /// Place `.map_err(Error::from_boxed)` between the service and a layer of this crate. A steadfast error in the
    /// box, or among the sources of the boxed error, keeps its kind, upstream and counts, so a refusal stays a
    /// refusal. tower's `Elapsed` becomes a [timeout](ErrorKind::Timeout), and `Overloaded` a
    /// [refusal](ErrorKind::Overloaded). Any other error counts as an error of the client.
    ///
    /// ```
    /// use steadfast::{BoxError, Error, ErrorKind};
    ///
    /// let refusal = Error::<std::io::Error>::new(ErrorKind::CircuitOpen { retry_after: None });
    /// let boxed: BoxError = refusal.with_upstream("sku").into();
    /// let error = Error::from_boxed(boxed);
    /// assert!(error.is_circuit_open());
    /// assert_eq!((error.upstream(), error.attempts()), (Some("sku"), 0));
    /// ```
    ///
    /// In a stack:
    ///
    /// ```
    /// use std::time::Duration;
    /// use http::{Request, Response};
    /// use steadfast::Error;
    /// use steadfast::circuit_breaker::{CircuitBreaker, CircuitBreakerLayer};
    /// use steadfast::retry::{RetryLayer, RetryPolicy};
    /// use tower::{ServiceBuilder, ServiceExt};
    ///
    /// # async fn example() -> Result<(), steadfast::BoxError> {
    /// let service = ServiceBuilder::new()
    ///     .layer(RetryLayer::new(RetryPolicy::default()))
    ///     .map_err(Error::from_boxed) // unboxes the errors
    ///     .timeout(Duration::from_secs(1)) // boxes its errors
    ///     .layer(CircuitBreakerLayer::new(CircuitBreaker::default()))
    ///     .map_err(Error::from_upstream)
    ///     .service_fn(async |_: Request<String>| Ok::<_, std::io::Error>(Response::new(String::new())));
    /// let response = service.oneshot(Request::new(String::new())).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn from_boxed(error: impl Into<BoxError>) -> Self {
        match error.into().downcast::<Self>() {
            Ok(error) => *error,
            Err(error) => {
                #[cfg(feature = "reqwest")]
                let error = without_secrets_in_box(error);
                Self::from_info(ErrorInfo::of_client(Box::new(BoxedInner(error))))
            }
        }
    }
}

impl<E> Deref for Error<E> {
    type Target = ErrorInfo;

    fn deref(&self) -> &ErrorInfo {
        &self.info
    }
}

impl<E> fmt::Display for Error<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.info.fmt_summary(f)
    }
}

impl<E> fmt::Debug for Error<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.info.fmt_fields("Error", f)
    }
}

impl<E> StdError for Error<E> {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        Some(&self.info)
    }
}

/// The error of a call whose service did not become ready. No attempt was made, and nothing was sent.
impl<E> From<NotCalled<Self>> for Error<E> {
    fn from(not_called: NotCalled<Self>) -> Self {
        let error = match not_called {
            NotCalled::Failed(error) => error,
            NotCalled::Late(after) => Self::timeout(TimeoutScope::Total, Some(after)),
        };
        error.of_readiness(None)
    }
}

/// The trait of the error that every layer of this crate returns, and expects from the service below. Only [`Error`]
/// implements it.
///
/// A layer requires this trait so that the compiler can name the fix if the service below has an error of another
/// type.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a `steadfast::Error`",
    label = "the service below this layer fails with `{Self}`",
    note = "convert the error below the layer: `.map_err(steadfast::Error::from_upstream)`, or \
            `.map_err(steadfast::Error::from_boxed)` for a boxed error; for reqwest, use `steadfast::ReqwestService`"
)]
pub trait SteadfastError: Sealed {}

impl<E> Sealed for Error<E> {}

impl<E> SteadfastError for Error<E> {}

// Every layer moves an error by value, so an error must stay small.
const _: () = assert!(size_of::<Error<BoxError>>() <= 64);

#[cfg(test)]
mod tests;
