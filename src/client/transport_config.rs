//! The methods of the builder that set up the reqwest client.

use std::sync::Arc;
use std::time::Duration;

use http::header::USER_AGENT;
use http::{HeaderMap, HeaderValue};
use reqwest::redirect::Policy;

use super::config::ClientBuilder;
#[cfg(feature = "cookies")]
use super::cookie_store::CookieStore;
use super::transport::Source;

impl ClientBuilder {
    /// Sets the function that makes the builder of the reqwest client: TLS, pools, DNS, HTTP/2. Default:
    /// `reqwest::Client::builder`, with keep-alive pings on HTTP/2 connections.
    ///
    /// The settings of this builder are applied to the result of `make`, and override it. A redirect policy and a
    /// connect timeout that `make` sets are always replaced: set these two with [`redirect`](Self::redirect) and
    /// [`connect_timeout`](Self::connect_timeout). reqwest's own retries are switched off. The layers do not see
    /// headers and cookies that `make` sets: set [`default_headers`](Self::default_headers) and cookies on this
    /// builder. `make` also decides on keep-alive pings; reqwest's builder sends none by default.
    ///
    /// `make` is called again for each [endpoint](crate::endpoints) and each lane, and whenever one of them gets new
    /// connections. So `make` should be quick. If it sets a cookie store, each client could have cookies of its own. So
    /// all calls then share one client without endpoints and lanes, unless
    #[cfg_attr(feature = "cookies", doc = "[`cookie_store`](Self::cookie_store)")]
    #[cfg_attr(not(feature = "cookies"), doc = "`cookie_store`")]
    /// is set on this builder.
    ///
    /// ```
    /// let client = steadfast::Client::builder()
    ///     .reqwest_builder(|| reqwest::Client::builder().pool_max_idle_per_host(4))
    ///     .build()?;
    /// # Ok::<(), steadfast::ConfigError>(())
    /// ```
    pub fn reqwest_builder(
        mut self,
        make: impl Fn() -> reqwest::ClientBuilder + Send + Sync + 'static,
    ) -> Self {
        self.transport.source = Source::Make(Arc::new(make));
        self
    }

    /// Uses `client` as it is. Prefer [`reqwest_builder`](Self::reqwest_builder), because a finished client hides its
    /// settings:
    ///
    /// - The client retries some protocol errors by itself, unless it was built with
    ///   `.retry(reqwest::retry::never())`.
    /// - Unless the redirects are [watched](Self::with_watched_redirects), a POST is not retried after a failed
    ///   connection, and faults of a redirect's target count against the host that redirected.
    /// - An upstream has one [endpoint](crate::endpoints): a retry may meet the instance that has just failed.
    /// - The layers do not see the client's default headers and cookies.
    /// - The client's connections have the timeouts and pings that it was built with.
    pub fn reqwest_client(mut self, client: reqwest::Client) -> Self {
        self.transport.source = Source::Client(client);
        self
    }

    /// Declares that the redirect policy of the given [client](Self::reqwest_client) comes from
    /// [`watch_redirects`](crate::watch_redirects), or follows no redirects.
    ///
    /// Without the declaration, a POST is not retried after a failed connection. The connection may be to the target
    /// of a redirect, after the redirecting host has processed the POST. A reqwest client that this builder builds
    /// needs no declaration.
    pub fn with_watched_redirects(mut self) -> Self {
        self.transport.is_watched = true;
        self
    }

    /// Sets the `User-Agent` of requests that have none. Default: none.
    pub fn user_agent<V>(mut self, value: V) -> Self
    where
        V: TryInto<HeaderValue, Error: Into<http::Error>>,
    {
        match value.try_into() {
            Ok(value) => drop(self.transport.default_headers.insert(USER_AGENT, value)),
            Err(error) => self.transport.user_agent_error = Some(error.into()),
        }
        self
    }

    /// Adds headers to requests that have no headers of these names. The layers see the added headers. Of several
    /// values for a name, the last one counts. Default: none.
    // The signature is that of reqwest.
    #[allow(clippy::needless_pass_by_value)]
    pub fn default_headers(mut self, headers: HeaderMap) -> Self {
        for (name, value) in &headers {
            self.transport.default_headers.insert(name, value.clone());
        }
        self
    }

    /// Sets the time to establish a connection, TLS included: 1 ms to the time of an attempt. Default: half the time
    /// of an attempt.
    ///
    /// A connection that is not established in time has sent nothing, so even a POST is retried. reqwest has no
    /// connect timeout for a single call. If the call's own timeout leaves less time for an attempt, the attempt is
    /// cut during the connect. Its error is a timeout of the attempt, and nothing was sent either.
    pub fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.transport.connect_timeout = Some(timeout);
        self
    }

    /// Sets which redirects are followed. Default: up to ten, as reqwest does.
    ///
    /// ```
    /// let client = steadfast::Client::builder().redirect(reqwest::redirect::Policy::none()).build()?;
    /// # Ok::<(), steadfast::ConfigError>(())
    /// ```
    pub fn redirect(mut self, policy: Policy) -> Self {
        self.transport.redirect = Some(policy);
        self
    }

    /// Adds a proxy. Default: the proxies that the environment names, if reqwest's feature `system-proxy` is on.
    pub fn proxy(mut self, proxy: reqwest::Proxy) -> Self {
        self.transport.proxies.push(proxy);
        self
    }

    /// Ignores the proxies that the environment names or that [`reqwest_builder`](Self::reqwest_builder) sets, and
    /// removes the proxies that were added before.
    pub fn no_proxy(mut self) -> Self {
        self.transport.proxies.clear();
        self.transport.no_proxy = true;
        self
    }

    /// Trusts the certificates that `certificate` has signed, in addition to the system's.
    #[cfg(feature = "rustls")]
    pub fn add_root_certificate(mut self, certificate: reqwest::Certificate) -> Self {
        self.transport.root_certificates.push(certificate);
        self
    }

    /// If `enable` is true, keeps the cookies of responses in memory and adds them to requests. The layers see these
    /// cookies. Default: no cookies.
    #[cfg(feature = "cookies")]
    pub fn cookie_store(mut self, enable: bool) -> Self {
        let jar = || CookieStore(Arc::new(reqwest::cookie::Jar::default()));
        self.transport.cookies = enable.then(jar);
        self
    }

    /// Keeps the cookies of responses in `store` and adds them to requests. The layers see these cookies.
    #[cfg(feature = "cookies")]
    pub fn cookie_provider<C: reqwest::cookie::CookieStore + 'static>(mut self, store: Arc<C>) -> Self {
        self.transport.cookies = Some(CookieStore(store));
        self
    }
}
