//! The settings of the reqwest client that a [`ClientBuilder`](super::ClientBuilder) builds.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use http::HeaderMap;
use http::header::USER_AGENT;
use reqwest::redirect::Policy;

use super::connecting::WatchConnecting;
#[cfg(feature = "cookies")]
use super::cookie_store::CookieStore;
use super::request_defaults::RequestDefaults;
use super::reqwest_service::{ReqwestService, watch_shared};
use crate::ConfigError;
use crate::config_error::MAX_DURATION;

/// The settings of the reqwest client.
#[derive(Default)]
pub(super) struct TransportSettings {
    pub(super) source: Source,
    /// True if the user has declared the redirects of the given client as watched.
    pub(super) is_watched: bool,
    pub(super) default_headers: HeaderMap,
    pub(super) user_agent_error: Option<http::Error>,
    pub(super) connect_timeout: Option<Duration>,
    pub(super) redirect: Option<Policy>,
    pub(super) proxies: Vec<reqwest::Proxy>,
    pub(super) no_proxy: bool,
    #[cfg(feature = "rustls")]
    pub(super) root_certificates: Vec<reqwest::Certificate>,
    #[cfg(feature = "cookies")]
    pub(super) cookies: Option<CookieStore>,
}

/// The origin of the reqwest client.
#[derive(Default)]
pub(super) enum Source {
    #[default]
    Defaults,
    /// The user's function that makes a reqwest builder.
    Make(Arc<dyn Fn() -> reqwest::ClientBuilder + Send + Sync>),
    /// The user's client.
    Client(reqwest::Client),
}

/// The interval and the timeout of the pings on an HTTP/2 connection with open streams.
#[cfg(feature = "http2")]
const PING: Duration = Duration::from_secs(5);

impl TransportSettings {
    /// Builds the reqwest client. `attempt` is the longest time of an attempt; `None` if unlimited.
    pub(super) fn build(mut self, attempt: Option<Duration>) -> Result<Transport, ConfigError> {
        let make = match std::mem::take(&mut self.source) {
            Source::Client(client) => return self.wrap(client),
            Source::Make(make) => make,
            Source::Defaults => Arc::new(with_pings),
        };
        self.check(attempt)?;
        let policy = Arc::new(self.redirect.take().unwrap_or_default());
        let client = self.reqwest_builder(&*make, attempt, &policy).build().map_err(|error| {
            ConfigError::new("client.reqwest_builder", &error, "one that reqwest can build")
                .with_source(error)
        })?;
        let defaults = RequestDefaults {
            headers: self.default_headers,
            #[cfg(feature = "cookies")]
            cookies: self.cookies.clone(),
        };
        let service = ReqwestService::with_watched_redirects(client.clone());
        #[cfg(feature = "cookies")]
        let service = service.with_cookies(self.cookies);
        Ok(Transport { client, service, defaults })
    }

    /// Uses the user's client as it is. Settings that would be ignored are refused.
    fn wrap(self, client: reqwest::Client) -> Result<Transport, ConfigError> {
        let ignored = [
            ("client.user_agent", self.default_headers.contains_key(USER_AGENT)),
            ("client.default_headers", !self.default_headers.is_empty()),
            ("client.connect_timeout", self.connect_timeout.is_some()),
            ("client.redirect", self.redirect.is_some()),
            ("client.proxy", !self.proxies.is_empty()),
            ("client.no_proxy", self.no_proxy),
            #[cfg(feature = "rustls")]
            ("client.add_root_certificate", !self.root_certificates.is_empty()),
            #[cfg(feature = "cookies")]
            ("client.cookie_store", self.cookies.is_some()),
        ];
        if let Some((field, _)) = ignored.into_iter().find(|(_, is_set)| *is_set) {
            let beside = format_args!("set beside client.reqwest_client");
            return Err(ConfigError::new(field, beside, "set on the reqwest client itself"));
        }
        let service = if self.is_watched {
            ReqwestService::with_watched_redirects(client.clone())
        } else {
            ReqwestService::new(client.clone())
        };
        Ok(Transport { client, service, defaults: RequestDefaults::default() })
    }

    /// Makes a reqwest builder. May be called several times.
    fn reqwest_builder(
        &self,
        make: &(dyn Fn() -> reqwest::ClientBuilder + Send + Sync),
        attempt: Option<Duration>,
        policy: &Arc<Policy>,
    ) -> reqwest::ClientBuilder {
        let mut builder = make().default_headers(self.default_headers.clone());
        if let Some(timeout) = self.connect_timeout.or(attempt.map(|attempt| attempt / 2)) {
            builder = builder.connect_timeout(timeout);
        }
        if self.no_proxy {
            builder = builder.no_proxy();
        }
        for proxy in &self.proxies {
            builder = builder.proxy(proxy.clone());
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
        builder.redirect(watch_shared(Arc::clone(policy))).retry(reqwest::retry::never())
    }

    fn check(&mut self, attempt: Option<Duration>) -> Result<(), ConfigError> {
        if let Some(error) = self.user_agent_error.take() {
            let text = format_args!("not a header value");
            let allowed = "a value of visible ASCII characters";
            return Err(ConfigError::new("client.user_agent", text, allowed).with_source(error));
        }
        if let Some(timeout) = self.connect_timeout {
            let longest = attempt.unwrap_or(MAX_DURATION);
            ConfigError::check("client.connect_timeout", timeout, Duration::from_millis(1)..=longest)
                .map_err(|error| error.bounded_by("the time of an attempt"))?;
        }
        if self.is_watched {
            let without = format_args!("set without client.reqwest_client");
            let allowed = "replaced by client.redirect";
            return Err(ConfigError::new("client.with_watched_redirects", without, allowed));
        }
        Ok(())
    }
}

/// Makes the default builder. Its client pings HTTP/2 connections with open streams, so that a dead connection is
/// noticed.
fn with_pings() -> reqwest::ClientBuilder {
    let builder = reqwest::Client::builder();
    #[cfg(feature = "http2")]
    let builder = builder.http2_keep_alive_interval(PING).http2_keep_alive_timeout(PING);
    builder
}

/// The built reqwest client, its service, and the request parts that the client adds before the layers.
pub(super) struct Transport {
    pub(super) client: reqwest::Client,
    pub(super) service: ReqwestService,
    pub(super) defaults: RequestDefaults,
}

/// Shows no values of headers and no proxies, because they can hold credentials.
impl fmt::Debug for TransportSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TransportSettings")
            .field("default_headers", &self.default_headers.keys().collect::<Vec<_>>())
            .field("connect_timeout", &self.connect_timeout)
            .field("proxies", &self.proxies.len())
            .finish_non_exhaustive()
    }
}
