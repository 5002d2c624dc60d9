use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use http::Method;
use pin_project::pin_project;
use reqwest::IntoUrl;
use tower::Service;

use super::response::into_reqwest;
use super::stack::{MakeUpstreamStack, Stack, StackKey, UpstreamHandle};
use super::{ClientBuilder, ClientError, RequestBuilder, ReqwestService};
use crate::last_known_good::LastKnownGood;
use crate::per_upstream::PerUpstreamService;
use crate::{Call, Error, HasCallOptions as _};

/// An HTTP client that keeps a service useful while its upstreams are not.
///
/// It is used like `reqwest::Client`, and answers with `reqwest::Response`s. Around every call there is a deadline, and, one set
/// for each upstream: retries with a budget, a circuit breaker, a bulkhead, an attempt timeout, and the buffering of small
/// bodies. On request ([`ClientBuilder::last_known_good`]), stale responses stand in for answers that do not come. A clone
/// shares everything.
///
/// It is also a [`tower::Service`] of `reqwest::Request`s and of [`Call`]s of them.
///
/// ```
/// use std::time::Duration;
///
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// let http = steadfast::Client::builder().total_timeout(Duration::from_secs(3)).build()?;
///
/// let response = http.get("http://sku.internal/v1/items/42").send().await?;
/// let item = response.text().await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Client(Arc<Shared>);

struct Shared {
    http: reqwest::Client,
    stack: Stack,
}

impl Client {
    /// A client with the defaults of [`ClientBuilder`].
    ///
    /// # Panics
    ///
    /// Where `reqwest::Client::new` does: if the TLS backend cannot be initialized. [`Client::builder`] returns that
    /// as an error.
    pub fn new() -> Self {
        Self::builder().build().expect("the defaults are valid")
    }

    /// A builder that starts from the defaults.
    pub fn builder() -> ClientBuilder {
        ClientBuilder::new()
    }

    pub(super) fn from_parts(http: reqwest::Client, stack: Stack) -> Self {
        Self(Arc::new(Shared { http, stack }))
    }

    /// A GET request.
    pub fn get(&self, url: impl IntoUrl) -> RequestBuilder {
        self.request(Method::GET, url)
    }

    /// A POST request. Without an `Idempotency-Key`, or the caller's word ([`RequestBuilder::idempotent`]), it is sent
    /// again only if nothing of it was sent before.
    pub fn post(&self, url: impl IntoUrl) -> RequestBuilder {
        self.request(Method::POST, url)
    }

    /// A PUT request.
    pub fn put(&self, url: impl IntoUrl) -> RequestBuilder {
        self.request(Method::PUT, url)
    }

    /// A PATCH request. It is not idempotent: like a [POST](Self::post), it is retried only if nothing was sent.
    pub fn patch(&self, url: impl IntoUrl) -> RequestBuilder {
        self.request(Method::PATCH, url)
    }

    /// A DELETE request.
    pub fn delete(&self, url: impl IntoUrl) -> RequestBuilder {
        self.request(Method::DELETE, url)
    }

    /// A HEAD request.
    pub fn head(&self, url: impl IntoUrl) -> RequestBuilder {
        self.request(Method::HEAD, url)
    }

    /// A request of any method.
    pub fn request(&self, method: Method, url: impl IntoUrl) -> RequestBuilder {
        RequestBuilder::new(self.clone(), self.0.http.request(method, url))
    }

    /// Sends a request, or a [`Call`] of one.
    ///
    /// A timeout that is set on the request becomes that of the whole call, unless the call has one of its own.
    ///
    /// # Errors
    ///
    /// If there is no answer: not for any status that the upstream answers with.
    ///
    /// # Cancel safety
    ///
    /// Dropped, it gives back whatever it held: permits, places, tokens.
    pub fn execute(&self, request: impl Into<Call<reqwest::Request>>) -> ResponseFuture {
        self.clone().begin(request.into())
    }

    pub(super) const fn begin(self, call: Call<reqwest::Request>) -> ResponseFuture {
        ResponseFuture(State::Fresh(Some((self, call))))
    }

    fn call_stack(&self, mut call: Call<reqwest::Request>) -> StackFuture {
        // reqwest's own would begin again with every attempt.
        if let Some(timeout) = call.request_mut().timeout_mut().take() {
            let asked = call.options().get_timeout();
            call = call.timeout(asked.unwrap_or(timeout));
        }
        let stack = &self.0.stack;
        stack.send(call, |call| {
            stack.inner().send(call, |cached, call| cached.send(call, PerUpstreamService::send))
        })
    }

    /// The handle of the upstream that requests to `url` go to, which is made if it is not known yet. Its parts can be
    /// handed to layers of your own, to share a circuit or a budget with them.
    ///
    /// # Errors
    ///
    /// If `url` is none.
    ///
    /// ```
    /// use steadfast::circuit_breaker::State;
    ///
    /// let client = steadfast::Client::new();
    /// let sku = client.upstream_at("http://sku.internal")?;
    /// assert_eq!(sku.circuit_breaker().unwrap().state(), State::Closed);
    /// # Ok::<(), reqwest::Error>(())
    /// ```
    pub fn upstream_at(&self, url: impl IntoUrl) -> reqwest::Result<UpstreamHandle> {
        let request = self.0.http.get(url).build()?;
        Ok(self.per_upstream().handles(&Call::new(request)))
    }

    /// The cache of stale responses; `None` unless the client was built [with one](ClientBuilder::last_known_good).
    ///
    /// ```
    /// use steadfast::{Client, last_known_good::LastKnownGood};
    ///
    /// assert!(Client::new().last_known_good().is_none());
    /// let client = Client::builder().last_known_good(LastKnownGood::builder()).build()?;
    /// assert!(client.last_known_good().is_some_and(|cache| cache.is_empty()));
    /// # Ok::<(), steadfast::ConfigError>(())
    /// ```
    pub fn last_known_good(&self) -> Option<&LastKnownGood> {
        self.0.stack.inner().inner().last_known_good()
    }

    /// The URIs that are [fetched again](ClientBuilder::prefetch) from time to time, in no particular order.
    pub fn prefetched_uris(&self) -> Vec<String> {
        self.0.stack.inner().uris()
    }

    /// The handles of every upstream that is known.
    pub fn upstreams(&self) -> Vec<UpstreamHandle> {
        self.per_upstream().upstreams().into_iter().map(|(_, handle)| handle).collect()
    }

    fn per_upstream(&self) -> &PerUpstreamService<ReqwestService, MakeUpstreamStack, StackKey> {
        self.0.stack.inner().inner().inner()
    }
}

impl Default for Client {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("stack", &self.0.stack).finish_non_exhaustive()
    }
}

impl Service<Call<reqwest::Request>> for Client {
    type Response = reqwest::Response;
    type Error = ClientError;
    type Future = ResponseFuture;

    // The stack of an upstream is polled ready by the call.
    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, call: Call<reqwest::Request>) -> ResponseFuture {
        self.execute(call)
    }
}

impl Service<reqwest::Request> for Client {
    type Response = reqwest::Response;
    type Error = ClientError;
    type Future = ResponseFuture;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: reqwest::Request) -> ResponseFuture {
        self.execute(request)
    }
}

/// The future of [`Client`].
///
/// Cancel safe: dropped, it gives back whatever it held.
#[must_use = "nothing is sent before it is polled"]
#[pin_project]
pub struct ResponseFuture(#[pin] State);

type StackFuture = <Stack as Service<Call<reqwest::Request>>>::Future;

// The small variants are short-lived, or rare.
#[allow(clippy::large_enum_variant)]
#[pin_project(project = StateProj)]
enum State {
    /// The call begins when it is first polled: until then no clock runs, and nothing is held for it.
    Fresh(Option<(Client, Call<reqwest::Request>)>),
    Called(#[pin] StackFuture),
    /// There is no request to send.
    Failed(Option<reqwest::Error>),
}

impl ResponseFuture {
    pub(super) const fn failed(error: reqwest::Error) -> Self {
        Self(State::Failed(Some(error)))
    }
}

impl Future for ResponseFuture {
    type Output = Result<reqwest::Response, ClientError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut state = self.project().0;
        loop {
            match state.as_mut().project() {
                StateProj::Fresh(call) => {
                    let (client, call) = call.take().expect("polled after it had panicked");
                    state.set(State::Called(client.call_stack(call)));
                }
                StateProj::Called(future) => {
                    return Poll::Ready(match ready!(future.poll(cx)) {
                        Ok(response) => Ok(into_reqwest(response)),
                        Err(error) => Err(error),
                    });
                }
                StateProj::Failed(error) => {
                    let error = error.take().expect("polled after it was ready");
                    return Poll::Ready(Err(Error::from_upstream(error)));
                }
            }
        }
    }
}

impl fmt::Debug for ResponseFuture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("client::ResponseFuture")
    }
}
