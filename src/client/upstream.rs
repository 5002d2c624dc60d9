//! The inner edge: a `reqwest::Client` as a service of `http` responses.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use http::{Extensions, Response};
use pin_project::pin_project;
use reqwest::ResponseBuilderExt as _;
use reqwest::redirect::Policy;
use tower::Service;

use crate::poll::{listen_sent, say_sent};
use crate::{Call, Error};

/// A `reqwest::Client` at the bottom of a stack of layers.
///
/// Its requests are `reqwest::Request`s, bare or in a [`Call`], its responses `http::Response`s, and its errors
/// [`Error::Upstream`]. The URL that the response came from is kept for the way back, which is
/// `reqwest::Response::from(response.map(reqwest::Body::wrap))`.
///
/// reqwest retries some protocol errors by itself. One layer should retry, not two: build the client that is handed in
/// with `.retry(reqwest::retry::never())`.
///
/// ```
/// use std::time::Duration;
/// use steadfast::{Call, Upstream, timeout::TimeoutLayer};
/// use tower::{ServiceBuilder, ServiceExt};
///
/// # async fn example() -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
/// let client = reqwest::Client::builder().retry(reqwest::retry::never()).build()?;
/// let service = ServiceBuilder::new()
///     .layer(TimeoutLayer::total(Duration::from_secs(3)))
///     .service(Upstream::new(client.clone()));
/// let request = client.get("http://sku.internal/v1/items/42").build()?;
/// let response = service.oneshot(Call::new(request)).await?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct Upstream {
    client: reqwest::Client,
}

impl Upstream {
    /// The service of this client.
    pub const fn new(client: reqwest::Client) -> Self {
        Self { client }
    }
}

impl Service<reqwest::Request> for Upstream {
    type Response = Response<reqwest::Body>;
    type Error = Error<reqwest::Error>;
    type Future = UpstreamFuture;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Service::poll_ready(&mut self.client, cx).map_err(Error::Upstream)
    }

    fn call(&mut self, request: reqwest::Request) -> UpstreamFuture {
        UpstreamFuture { response: self.client.call(request), redirected: false }
    }
}

impl Service<Call<reqwest::Request>> for Upstream {
    type Response = Response<reqwest::Body>;
    type Error = Error<reqwest::Error>;
    type Future = UpstreamFuture;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Service::<reqwest::Request>::poll_ready(self, cx)
    }

    fn call(&mut self, call: Call<reqwest::Request>) -> UpstreamFuture {
        self.call(call.into_inner())
    }
}

/// The future of [`Upstream`].
#[pin_project]
pub struct UpstreamFuture {
    #[pin]
    response: <reqwest::Client as Service<reqwest::Request>>::Future,
    redirected: bool,
}

impl Future for UpstreamFuture {
    type Output = Result<Response<reqwest::Body>, Error<reqwest::Error>>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let listening = listen_sent();
        let polled = this.response.poll(cx);
        *this.redirected |= listening.heard();
        let result = ready!(polled);
        if *this.redirected {
            // A connection that fails now is not the first: the request has been answered once already.
            say_sent();
        }
        Poll::Ready(result.map(from_reqwest).map_err(Error::Upstream))
    }
}

impl fmt::Debug for UpstreamFuture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("UpstreamFuture")
    }
}

/// A redirect policy that lets a retry know when a redirect was followed.
///
/// reqwest reports a host that cannot be connected to in the same way whether the request went there first or was
/// redirected there. In the first case nothing was sent; in the second, a POST has been carried out already and must not
/// be sent again. A [`Client`](crate::Client) that builds its own reqwest client uses this policy; one that is built
/// elsewhere should too, if it follows redirects:
///
/// ```
/// use reqwest::redirect::Policy;
///
/// let builder = reqwest::Client::builder().redirect(steadfast::watch_redirects(Policy::limited(3)));
/// let client = steadfast::Client::builder().reqwest_builder(builder).build()?;
/// # Ok::<(), steadfast::ConfigError>(())
/// ```
pub fn watch_redirects(policy: Policy) -> Policy {
    Policy::custom(move |attempt| {
        say_sent();
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
