//! Why a call has no answer, in one type that every layer shares.

mod info;
mod kind;

use std::any::Any;
use std::error::Error as StdError;
use std::fmt;
use std::marker::PhantomData;
use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

pub use self::info::ErrorInfo;
use self::info::{BoxedInner, TypedInner};
pub use self::kind::{BoxError, ErrorKind, TimeoutScope};
use crate::{EndpointId, StopReason};

/// Why a call has no answer.
///
/// Every layer of this crate is a service from `Error<E>` to `Error<E>`, where `E` is the error of the client at the bottom.
/// The innermost service joins with `.map_err(Error::from_upstream)`, or, if it boxes its errors, with
/// `.map_err(Error::from_boxed)`. An error says what failed ([`kind`](ErrorInfo::kind)), for which upstream, after how many
/// attempts, why there were no more of them, and whether the upstream may have seen a request. A refusal allocates nothing.
///
/// The methods that say so are those of [`ErrorInfo`], which an `Error` dereferences to. `ErrorInfo` is not generic, and it is
/// the first [source](StdError::source) of every `Error`, so code that meets the error in a box finds it whatever `E` is. The
/// error of the client comes after it.
///
/// An answer of the upstream is never turned into an error: when the attempts run out on a 503, the caller gets that 503.
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
/// let error = Error::<std::io::Error>::new(ErrorKind::CircuitOpen { retry_after }).with_upstream("http://sku.internal");
/// assert_eq!(advice(&error), "the upstream is known to be down");
/// assert_eq!(error.retry_after(), retry_after);
/// assert_eq!(error.to_string(), "http://sku.internal: circuit open, retry after 1.2 s (0 attempts)");
/// ```
pub struct Error<E> {
    info: ErrorInfo,
    client: PhantomData<fn() -> E>,
}

impl<E> Error<E> {
    /// An error of this kind that no client has caused: what a layer of your own says for itself.
    ///
    /// A refusal counts no attempt. Of any other kind, one attempt may have reached the upstream, unless
    /// [`with_attempts`](Self::with_attempts) and [`with_sent`](Self::with_sent) say otherwise.
    pub const fn new(kind: ErrorKind) -> Self {
        Self::from_info(ErrorInfo::new(kind, None))
    }

    /// The error of the client at the bottom: `.map_err(Error::from_upstream)`.
    ///
    /// Something may have been sent, unless `error` is known to say otherwise: a connection that did not come about, in the
    /// errors of hyper-util and `std::io`. One of reqwest may be that to the target of a redirect, so it needs a
    /// `ReqwestService` to tell. For other clients, [`with_sent`](Self::with_sent) says it. If an error
    /// of this crate is among the sources of `error`, its kind and its counts are kept.
    pub fn from_upstream(error: E) -> Self
    where
        E: StdError + Send + Sync + 'static,
    {
        Self::from_info(ErrorInfo::of_client(Box::new(TypedInner(error))))
    }

    /// A response whose body could not be read whole.
    pub fn from_body(error: impl Into<BoxError>) -> Self {
        Self::from_info(ErrorInfo::new(ErrorKind::Body, Some(Box::new(BoxedInner(error.into())))))
    }

    /// What a future that was refused ends with.
    pub(crate) fn from_refusal(refusal: &mut Option<ErrorInfo>) -> Self {
        Self::from_info(refusal.take().expect("polled after it was ready"))
    }

    pub(crate) const fn from_info(info: ErrorInfo) -> Self {
        Self { info, client: PhantomData }
    }

    /// The call ran out of time: `after` is how much it had.
    pub(crate) const fn timeout(scope: TimeoutScope, after: Option<Duration>) -> Self {
        Self::new(ErrorKind::Timeout { scope, after })
    }

    /// Names the upstream. An error that has a name keeps it: the layer that is nearest to the upstream knows it best.
    #[must_use]
    pub fn with_upstream(mut self, name: impl Into<Arc<str>>) -> Self {
        if self.info.upstream.is_none() {
            self.info.upstream = Some(name.into());
        }
        self
    }

    /// The error of a service that cannot become ready: nothing was sent.
    pub(crate) fn of_readiness(self, upstream: Option<&Arc<str>>) -> Self {
        let mut error = self.with_attempts(0).with_sent(false);
        error.set_upstream(upstream);
        error
    }

    /// [`with_upstream`](Self::with_upstream), in place, by a handle that may have no name.
    pub(crate) fn set_upstream(&mut self, name: Option<&Arc<str>>) {
        if let (None, Some(name)) = (&self.info.upstream, name) {
            self.info.upstream = Some(Arc::clone(name));
        }
    }

    /// How many requests the call has handed to a connector, this error's own attempt included.
    #[must_use]
    pub const fn with_attempts(mut self, attempts: u32) -> Self {
        self.info.attempts = attempts;
        self
    }

    /// Whether the upstream may have seen any of a request. `false` lets a retry send a POST again.
    #[must_use]
    pub const fn with_sent(mut self, sent: bool) -> Self {
        self.info.maybe_sent = sent;
        self
    }

    /// Names the endpoint that the attempt went to, so that a retry can go to another.
    #[must_use]
    pub const fn at_endpoint(mut self, endpoint: EndpointId) -> Self {
        self.info.endpoint = Some(endpoint);
        self
    }

    /// Why the call made no further attempt.
    pub(crate) const fn with_stop_reason(mut self, reason: Option<StopReason>) -> Self {
        self.info.stop = reason;
        self
    }

    pub(crate) const fn with_kind(mut self, kind: ErrorKind) -> Self {
        self.info.kind = kind;
        self
    }

    /// What is known of the error, whatever `E` is.
    pub const fn info(&self) -> &ErrorInfo {
        &self.info
    }
}

impl<E: 'static> Error<E> {
    /// The error of the client, if the client caused this one. For an `Error<BoxError>`, it is the box.
    pub fn inner(&self) -> Option<&E> {
        self.info.client.as_ref()?.as_any().downcast_ref()
    }

    /// The error of the client, if the client caused this one.
    pub fn into_inner(self) -> Option<E> {
        let client: Box<dyn Any> = self.info.client?.into_any();
        client.downcast().ok().map(|error| *error)
    }
}

impl Error<BoxError> {
    /// The way back from layers and clients that box their errors, as tower's `Timeout`, `LoadShed`, `ConcurrencyLimit` and
    /// `Buffer` do: `.map_err(Error::from_boxed)`, between such a layer and one of this crate.
    ///
    /// A steadfast error in the box, or among the sources of what is in it, keeps its kind, its upstream and its counts: a
    /// refusal stays a refusal. tower's `Elapsed` is a [timeout](ErrorKind::Timeout) and its `Overloaded` a
    /// [refusal](ErrorKind::Overloaded). Anything else is an error of the client.
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
    ///     .map_err(Error::from_boxed)     // what tower has boxed,
    ///     .timeout(Duration::from_secs(1)) // as this layer does
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
            Err(error) => Self::from_info(ErrorInfo::of_client(Box::new(BoxedInner(error)))),
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

// An error travels through every layer by value.
const _: () = assert!(size_of::<Error<BoxError>>() <= 64);

#[cfg(test)]
mod tests;
