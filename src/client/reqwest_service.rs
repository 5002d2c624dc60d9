//! The inner edge: a `reqwest::Client` as a service of `http` responses.

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
/// Its requests are `reqwest::Request`s in a [`Call`], which carries their options and their deadline, or bare ones, which have
/// neither: a [`DeadlineLayer`](crate::deadline::DeadlineLayer) above can only cut those. Its responses `http::Response`s, and its errors have the
/// client's [inside](Error::inner). The URL that the response came from is kept for the way back, which is
/// `reqwest::Response::from(response.map(reqwest::Body::wrap))`.
///
/// reqwest retries some protocol errors by itself. One layer should retry, not two: build the client that is handed in
/// with `.retry(reqwest::retry::never())`.
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
#[derive(Debug, Clone)]
pub struct ReqwestService {
    client: reqwest::Client,
    /// Whether its redirect policy is one that [`watch_redirects`] has made.
    is_watched: bool,
}

impl ReqwestService {
    /// The service of this client, whose redirect policy can be any.
    ///
    /// A host that cannot be connected to may have been redirected to, so a failed connection does not count as "nothing was
    /// sent": a POST is then sent once. [`with_watched_redirects`](Self::with_watched_redirects) knows better.
    pub const fn new(client: reqwest::Client) -> Self {
        Self { client, is_watched: false }
    }

    /// The service of a client whose redirect policy comes from [`watch_redirects`], or follows no redirects: a POST whose
    /// connection fails before any redirect was not sent, and can be retried.
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
        // An unknown policy may have followed a redirect at any time.
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
    /// Whether the request may have been answered by a redirect already.
    may_be_redirected: bool,
    /// Whether reqwest has had to wait for something: then the request was more than looked at.
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
                // The request that cannot be sent is the one that a redirect asked for; the one before it was answered.
                error.with_attempts(1).with_sent(true)
            } else if is_connect && !may_be_redirected {
                // The connection that failed was the first.
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
    /// Set by a watched policy inside one poll of [`ReqwestFuture`], and read by that poll: reqwest calls a policy with no other
    /// way to find the request again.
    static REDIRECTED: Cell<bool> = const { Cell::new(false) };
}

/// A redirect policy that lets a retry know when a redirect was followed.
///
/// reqwest reports a host that cannot be connected to in the same way whether the request went there first or was
/// redirected there. In the first case nothing was sent; in the second, a POST has been carried out already and must not
/// be sent again. A [`Client`](crate::Client) with a reqwest client of its own uses this policy. With any other policy,
/// a failed connection counts as sent, and a POST is not retried after it. So a client of your own settings wants this one, too:
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

/// The conversion forgets the URL unless it is put where reqwest will look for it.
fn from_reqwest(response: reqwest::Response) -> Response<reqwest::Body> {
    let url = response.url().clone();
    let mut response = Response::from(response);
    keep_url(response.extensions_mut(), url);
    response
}

/// Puts a URL where reqwest will look for it: a place that only a builder can reach.
pub(super) fn keep_url(extensions: &mut Extensions, url: reqwest::Url) {
    let mut builder = Response::builder();
    if let Some(of_builder) = builder.extensions_mut() {
        std::mem::swap(of_builder, extensions);
    }
    if let Ok(built) = builder.url(url).body(()) {
        *extensions = built.into_parts().0.extensions;
    }
}
