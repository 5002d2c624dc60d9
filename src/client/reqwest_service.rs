//! Wraps a `reqwest::Client` as a tower service, and converts its responses and errors for the layers. To support
//! another HTTP client, start in `http/client_errors/`, where the errors of each client are classified.
//!
//! # The one thread-local that correctness needs
//!
//! If a connection fails before any redirect, nothing was sent, and even a POST may be retried. If the connection to
//! the target of a redirect fails, the redirecting host may already have processed the POST. reqwest's error is the
//! same in both cases, and reqwest calls a redirect policy without any reference to the request.
//!
//! So a policy made by [`watch_redirects`] sets a thread-local flag. reqwest runs the policy inside the poll of
//! [`ReqwestFuture`], and the same poll reads the flag, so no other task can run in between. If the client was not
//! declared with `with_watched_redirects`, a request counts as possibly sent after any failed connection.

use std::cell::Cell;
use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};

use http::{Extensions, Response};
use pin_project::pin_project;
use reqwest::ResponseBuilderExt as _;
use reqwest::redirect::Policy;
use tower::Service;

use crate::http::{Fault, TransportError as _};
use crate::{Call, Error};

/// A `reqwest::Client` at the bottom of a stack of layers.
///
/// A request is a [`Call`], which carries all options, or a bare `reqwest::Request`, which carries only a timeout. A
/// [`DeadlineLayer`](crate::deadline::DeadlineLayer) also cuts the call of a bare request, but the layers below do
/// not know the deadline. A response is an `http::Response`, and an error contains [reqwest's error](Error::inner).
/// To get a `reqwest::Response` with its URL, use `reqwest::Response::from(response.map(reqwest::Body::wrap))`.
///
/// reqwest retries some protocol errors by itself. Only one layer should retry, so build the client with
/// `.retry(reqwest::retry::never())`.
///
/// ```
/// use std::time::Duration;
/// use steadfast::{Call, ReqwestService, deadline::DeadlineLayer};
/// use tower::{ServiceBuilder, ServiceExt};
///
/// # async fn example() -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
/// let client = reqwest::Client::builder().retry(reqwest::retry::never()).build()?;
/// let service = ServiceBuilder::new()
///     .layer(DeadlineLayer::new(Duration::from_secs(3)))
///     .service(ReqwestService::new(client.clone()));
/// let request = client.get("http://sku.internal/v1/items/42").build()?;
/// let response = service.oneshot(Call::new(request)).await?;
/// # Ok(())
/// # }
/// ```
#[doc(alias = "Upstream")]
#[doc(alias = "middleware")]
#[derive(Debug, Clone)]
pub struct ReqwestService {
    client: reqwest::Client,
    /// True if the client was declared with [`with_watched_redirects`](Self::with_watched_redirects).
    is_watched: bool,
}

impl ReqwestService {
    /// Wraps a client with any redirect policy.
    ///
    /// After a failed connection, a POST is not retried: the connection may be to the target of a redirect, so the
    /// POST counts as possibly sent. To allow such retries, use
    /// [`with_watched_redirects`](Self::with_watched_redirects).
    pub const fn new(client: reqwest::Client) -> Self {
        Self { client, is_watched: false }
    }

    /// Wraps a client whose redirect policy comes from [`watch_redirects`], or follows no redirects.
    ///
    /// If the connection fails before any redirect, even a POST can be retried, because nothing was sent.
    pub const fn with_watched_redirects(client: reqwest::Client) -> Self {
        Self { client, is_watched: true }
    }
}

impl Service<reqwest::Request> for ReqwestService {
    type Response = Response<reqwest::Body>;
    type Error = Error<reqwest::Error>;
    type Future = ReqwestFuture;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Service::poll_ready(&mut self.client, cx).map_err(Error::from_upstream)
    }

    fn call(&mut self, request: reqwest::Request) -> ReqwestFuture {
        // If the policy is not watched, assume that a redirect was followed.
        ReqwestFuture {
            response: self.client.call(request),
            may_be_redirected: !self.is_watched,
            has_waited: false,
        }
    }
}

impl Service<Call<reqwest::Request>> for ReqwestService {
    type Response = Response<reqwest::Body>;
    type Error = Error<reqwest::Error>;
    type Future = ReqwestFuture;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Service::<reqwest::Request>::poll_ready(self, cx)
    }

    fn call(&mut self, call: Call<reqwest::Request>) -> ReqwestFuture {
        self.call(call.into_inner())
    }
}

/// The future of [`ReqwestService`].
#[pin_project]
pub struct ReqwestFuture {
    #[pin]
    response: <reqwest::Client as Service<reqwest::Request>>::Future,
    /// True if the request may already have been redirected.
    may_be_redirected: bool,
    /// True once a poll has returned `Pending`. reqwest rejects an invalid request in the first poll, so a later
    /// rejection is about a redirected request.
    has_waited: bool,
}

impl Future for ReqwestFuture {
    type Output = Result<Response<reqwest::Body>, Error<reqwest::Error>>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let around = REDIRECTED.replace(false);
        let polled = this.response.poll(cx);
        *this.may_be_redirected |= REDIRECTED.replace(around);
        if polled.is_pending() {
            *this.has_waited = true;
            return Poll::Pending;
        }
        let (may_be_redirected, has_waited) = (*this.may_be_redirected, *this.has_waited);
        polled.map_ok(from_reqwest).map_err(|error| {
            let is_connect = error.fault() == Fault::Connect;
            let error = Error::from_upstream(error);
            if error.attempts() == 0 && has_waited {
                // The redirected request is invalid; the request before the redirect was sent and answered.
                error.with_attempts(1).with_sent(true)
            } else if is_connect && !may_be_redirected {
                // No redirect was followed, so no request was sent before the failed connection.
                error.with_sent(false)
            } else {
                error
            }
        })
    }
}

impl fmt::Debug for ReqwestFuture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ReqwestFuture")
    }
}

thread_local! {
    /// Set by a watched policy during a poll of [`ReqwestFuture`], and read by the same poll. See the module docs.
    static REDIRECTED: Cell<bool> = const { Cell::new(false) };
}

/// Wraps a redirect policy, so that a retry knows whether a redirect was followed.
///
/// reqwest reports a failed connection in the same way for the first host and for the target of a redirect. In the
/// first case, nothing was sent. In the second, a POST has been processed already and must not be sent again.
/// Under a policy without this wrapper, a POST counts as possibly sent after a failed connection, and is not retried.
///
/// A default [`Client`](crate::Client) uses this wrapper. If you configure reqwest yourself, wrap your policy, too:
///
/// ```
/// use reqwest::redirect::Policy;
///
/// let builder = reqwest::Client::builder().redirect(steadfast::watch_redirects(Policy::limited(3)));
/// let client = steadfast::Client::builder().reqwest_builder(builder).with_watched_redirects().build()?;
/// # Ok::<(), steadfast::ConfigError>(())
/// ```
pub fn watch_redirects(policy: Policy) -> Policy {
    Policy::custom(move |attempt| {
        REDIRECTED.set(true);
        policy.redirect(attempt)
    })
}

/// Converts a response. The URL would be lost, so it is stored in an extension that reqwest reads.
fn from_reqwest(response: reqwest::Response) -> Response<reqwest::Body> {
    let url = response.url().clone();
    let mut response = Response::from(response);
    keep_url(response.extensions_mut(), url);
    response
}

/// Stores a URL in the extensions. The type of the extension is private to reqwest, so only a response builder can
/// insert it.
pub(super) fn keep_url(extensions: &mut Extensions, url: reqwest::Url) {
    let mut builder = Response::builder();
    if let Some(of_builder) = builder.extensions_mut() {
        std::mem::swap(of_builder, extensions);
    }
    if let Ok(built) = builder.url(url).body(()) {
        *extensions = built.into_parts().0.extensions;
    }
}
