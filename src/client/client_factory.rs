//! Makes the reqwest clients of a client: one that resolves names itself, and one for each pinned endpoint.
//!
//! All of them have the same settings, and share the cookie store.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderMap, Version};
use reqwest::redirect::Policy;

use super::connecting::WatchConnecting;
#[cfg(feature = "cookies")]
use super::cookie_store::CookieStore;
use super::discovery::Resolver;
use super::pins::{PinResolver, Pins};
use super::reqwest_service::{ReqwestService, watch_shared};

/// The function that makes a reqwest builder.
pub(super) type MakeBuilder = Arc<dyn Fn() -> reqwest::ClientBuilder + Send + Sync>;

/// The settings of the reqwest clients.
pub(super) struct ClientFactory {
    pub(super) make: MakeBuilder,
    /// The text of the user's builder, which shows the names that the builder pins, and the protocol. reqwest has no
    /// getters for them.
    pub(super) builder_debug: Option<String>,
    pub(super) default_headers: HeaderMap,
    pub(super) connect_timeout: Option<Duration>,
    pub(super) redirect: Arc<Policy>,
    pub(super) proxies: Vec<reqwest::Proxy>,
    pub(super) no_proxy: bool,
    pub(super) resolver: Resolver,
    #[cfg(feature = "rustls")]
    pub(super) root_certificates: Vec<reqwest::Certificate>,
    /// `None` if each reqwest client makes a TLS configuration of its own.
    #[cfg(feature = "rustls")]
    pub(super) shared_tls: Option<rustls::ClientConfig>,
    #[cfg(feature = "cookies")]
    pub(super) cookies: Option<CookieStore>,
}

/// The interval and the timeout of the pings on an HTTP/2 connection with open streams.
#[cfg(feature = "http2")]
const PING: Duration = Duration::from_secs(5);

/// The pin of a client: the host, and the address of its endpoint.
#[derive(Clone, Copy)]
pub(super) struct Pin<'a> {
    pub(super) host: &'a str,
    pub(super) address: SocketAddr,
    pub(super) pins: &'a Arc<Pins>,
}

impl Pin<'_> {
    fn resolver(self, other_hosts: Resolver) -> PinResolver {
        let (host, pins) = (self.host.to_owned(), Arc::clone(self.pins));
        PinResolver { host, address: self.address, pins, other_hosts }
    }
}

impl ClientFactory {
    /// Builds a client, pinned to an address of a host if one is given.
    pub(super) fn client(&self, pin: Option<Pin<'_>>) -> reqwest::Result<reqwest::Client> {
        self.client_from((self.make)(), pin)
    }

    /// Builds a client from the builder that the user's function has returned.
    pub(super) fn client_from(
        &self,
        builder: reqwest::ClientBuilder,
        pin: Option<Pin<'_>>,
    ) -> reqwest::Result<reqwest::Client> {
        let mut builder = builder.default_headers(self.default_headers.clone());
        if let Some(timeout) = self.connect_timeout {
            builder = builder.connect_timeout(timeout);
        }
        if self.no_proxy {
            builder = builder.no_proxy();
        }
        for proxy in &self.proxies {
            builder = builder.proxy(proxy.clone());
        }
        // Without a port, reqwest uses the port of the URL.
        let without_port = |address: &IpAddr| SocketAddr::new(*address, 0);
        for (name, addresses) in self.resolver.lists() {
            let addresses: Vec<_> = addresses.iter().map(without_port).collect();
            builder = builder.resolve_to_addrs(name, &addresses);
        }
        // The user's function may set a resolver, which the hosts of redirects need. So the pin then goes into the
        // list of one host, not into a resolver. That list is fixed when the client is made.
        let replaces_resolver = self.resolver.is_custom() || self.builder_debug.is_none();
        builder = match pin {
            Some(pin) if replaces_resolver && !self.resolver.has_list(pin.host) => {
                builder.dns_resolver(Arc::new(pin.resolver(self.resolver.clone())))
            }
            Some(pin) => builder.resolve_to_addrs(pin.host, &pin.pins.addresses_for(pin.address)),
            None if self.resolver.is_custom() => builder.dns_resolver(Arc::new(self.resolver.clone())),
            None => builder,
        };
        #[cfg(feature = "rustls")]
        if let Some(tls) = &self.shared_tls {
            builder = builder.tls_backend_preconfigured(tls.clone());
        }
        #[cfg(feature = "rustls")]
        for certificate in &self.root_certificates {
            builder = builder.add_root_certificate(certificate.clone());
        }
        #[cfg(feature = "cookies")]
        if let Some(cookies) = &self.cookies {
            builder = builder.cookie_provider(Arc::new(cookies.clone()));
        }
        builder = builder.connector_layer(WatchConnecting);
        builder.redirect(watch_shared(Arc::clone(&self.redirect))).retry(reqwest::retry::never()).build()
    }

    /// True if the user's function has pinned the host to addresses of its own, which a pin of ours would replace.
    pub(super) fn pins(&self, host: &str) -> bool {
        let pinned = self.builder_debug.as_ref().and_then(|text| text.split_once("dns_overrides"));
        pinned.is_some_and(|(_, names)| names.contains(&format!("{host:?}: [")))
    }

    /// True if the user's function sets a cookie store that this builder does not replace.
    pub(super) fn has_hidden_cookies(&self) -> bool {
        #[cfg(feature = "cookies")]
        if self.cookies.is_some() {
            return false;
        }
        self.has_set("cookie_store: true")
    }

    /// True if the text of the user's builder has this setting.
    fn has_set(&self, setting: &str) -> bool {
        self.builder_debug.as_ref().is_some_and(|text| text.contains(setting))
    }

    /// Returns the protocol of the first request to a server; `None` if the TLS handshake decides.
    pub(super) fn protocol(&self, is_encrypted: bool) -> Option<Version> {
        if self.has_set("http2_prior_knowledge: true") {
            Some(Version::HTTP_2)
        } else if is_encrypted && cfg!(feature = "http2") && !self.has_set("http1_only: true") {
            None
        } else {
            Some(Version::HTTP_11)
        }
    }

    /// Makes the service of a client that this factory has built.
    #[cfg_attr(not(feature = "cookies"), allow(clippy::unused_self))]
    pub(super) fn wrap(&self, client: reqwest::Client) -> ReqwestService {
        let service = ReqwestService::with_watched_redirects(client);
        #[cfg(feature = "cookies")]
        let service = service.with_cookies(self.cookies.clone());
        service
    }

    pub(super) fn service(&self, pin: Option<Pin<'_>>) -> reqwest::Result<ReqwestService> {
        Ok(self.wrap(self.client(pin)?))
    }
}

/// Makes the default builder. Its client pings HTTP/2 connections with open streams, so that a dead connection is
/// noticed.
pub(super) fn default_builder() -> reqwest::ClientBuilder {
    let builder = reqwest::Client::builder();
    #[cfg(feature = "http2")]
    let builder = builder.http2_keep_alive_interval(PING).http2_keep_alive_timeout(PING);
    builder
}
