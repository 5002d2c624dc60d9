//! The client: a handle to a shared stack of layers.

use std::fmt;
use std::sync::Arc;

use http_body::Body as _;
use reqwest::IntoUrl;

use super::config::ClientBuilder;
use super::request_defaults::RequestDefaults;
use super::stack::{MakeUpstreamStack, Stack, StackFuture, StackKey, UpstreamHandle};
use super::transport::Transport;
use crate::last_known_good::LastKnownGood;
use crate::per_upstream::PerUpstreamService;
use crate::{Call, ConfigError, HasCallOptions as _};

/// An HTTP client that keeps a service useful while its upstreams fail.
///
/// An upstream that hangs or fails can take its callers down, too: calls pile up, and retries multiply the load. A
/// `Client` is used like a `reqwest::Client` and returns `reqwest::Response`s, but bounds these effects. Each call
/// has a deadline. Each upstream has a circuit breaker, a bulkhead, an attempt timeout, buffering of small bodies,
/// and retries with a budget. If [enabled](ClientBuilder::last_known_good), a stale response replaces a failure.
///
/// Clones are cheap and share all state. A `Client` is also a [`tower::Service`] of `reqwest::Request` and of
/// [`Call`].
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
#[doc(alias = "resilient client")]
#[derive(Clone)]
pub struct Client(Arc<ClientInner>);

struct ClientInner {
    http: reqwest::Client,
    defaults: RequestDefaults,
    stack: Stack,
}

impl Client {
    /// Creates a client with the defaults of [`ClientBuilder`].
    ///
    /// # Panics
    ///
    /// Panics where `reqwest::Client::new` does, for example if the TLS backend cannot be initialized.
    /// [`ClientBuilder::build`] returns an error instead.
    pub fn new() -> Self {
        Self::builder().build().expect("the defaults are valid")
    }

    /// Returns a builder with the defaults.
    pub fn builder() -> ClientBuilder {
        ClientBuilder::new()
    }

    pub(super) fn http(&self) -> &reqwest::Client {
        &self.0.http
    }

    pub(super) fn call_stack(&self, mut call: Call<reqwest::Request>) -> StackFuture {
        // Move the timeout to the options of the call: reqwest would apply the request's timeout to each attempt. Ask
        // first, because `timeout_mut` allocates the extensions of a request that has none.
        if call.request().timeout().is_some() {
            let timeout = call.request_mut().timeout_mut().take();
            let timeout_of_call = call.options().get_timeout();
            if let Some(timeout) = timeout_of_call.or(timeout) {
                call = call.timeout(timeout);
            }
        }
        if call.options().get_body_length().is_none() {
            let body_length = call.request().body().and_then(|body| body.size_hint().exact());
            if let Some(length) = body_length {
                call = call.body_length(length);
            }
        }
        self.0.defaults.apply(&mut call);
        let stack = &self.0.stack;
        stack.send(call, |call| {
            stack.inner().send(call, |cached, call| cached.send(call, PerUpstreamService::send))
        })
    }

    /// Returns the handle of the upstream that a GET of `url` goes to, and creates the state of the upstream if
    /// necessary.
    ///
    /// Layers outside the client can share the circuit breaker or the budget in the handle.
    ///
    /// # Errors
    ///
    /// Fails if `url` is not a valid URL.
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
        let mut call = Call::new(self.0.http.get(url).build()?);
        self.0.defaults.apply(&mut call);
        Ok(self.per_upstream().handles(&call))
    }

    /// Returns the last-known-good cache; `None` if the client was built without
    /// [one](ClientBuilder::last_known_good).
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

    /// Returns the URIs that are [fetched again](ClientBuilder::prefetch) from time to time, in no particular order.
    pub fn prefetched_uris(&self) -> Vec<String> {
        self.0.stack.inner().uris()
    }

    /// Returns the handles of all known upstreams.
    pub fn upstreams(&self) -> Vec<UpstreamHandle> {
        self.per_upstream().upstreams().into_iter().map(|(_, handle)| handle).collect()
    }

    fn per_upstream(&self) -> &PerUpstreamService<(), MakeUpstreamStack, StackKey> {
        self.0.stack.inner().inner().inner()
    }
}

impl ClientBuilder {
    /// Builds the client.
    ///
    /// # Errors
    ///
    /// Fails if a setting is out of range, if two settings contradict each other, or if reqwest cannot build its
    /// client.
    pub fn build(self) -> Result<Client, ConfigError> {
        let (Transport { client: http, defaults, .. }, stack) = self.into_stack()?;
        Ok(Client(Arc::new(ClientInner { http, defaults, stack })))
    }
}

/// Puts the default layers around `client`, as [`ClientBuilder::reqwest_client`] does. Each upstream has one
/// endpoint.
impl From<reqwest::Client> for Client {
    fn from(client: reqwest::Client) -> Self {
        Self::builder().reqwest_client(client).build().expect("the defaults are valid")
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
