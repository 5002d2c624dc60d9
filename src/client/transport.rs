//! The settings of the reqwest client that a [`ClientBuilder`](super::ClientBuilder) builds.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use http::header::USER_AGENT;
use http::{HeaderMap, HeaderValue};
use reqwest::redirect::Policy;

use super::request_defaults::RequestDefaults;
use super::reqwest_service::{ReqwestService, watch_shared};
use crate::ConfigError;
use crate::config_error::MAX_DURATION;

/// The settings of the reqwest client.
#[derive(Debug, Default)]
pub(super) struct TransportSettings {
    pub(super) source: Source,
    /// True if the user has declared the redirects of the given client as watched.
    pub(super) is_watched: bool,
    pub(super) user_agent: Option<Result<HeaderValue, http::Error>>,
    pub(super) default_headers: HeaderMap,
    pub(super) connect_timeout: Option<Duration>,
    pub(super) redirect: Option<Policy>,
    pub(super) proxies: Vec<reqwest::Proxy>,
    pub(super) no_proxy: bool,
    #[cfg(feature = "rustls")]
    pub(super) root_certificates: Vec<reqwest::Certificate>,
    #[cfg(feature = "cookies")]
    pub(super) cookies: Option<CookieProvider>,
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

/// A cookie store that the layers can read.
#[cfg(feature = "cookies")]
#[derive(Clone)]
pub(super) struct CookieProvider {
    pub(super) set_on: Arc<dyn Fn(reqwest::ClientBuilder) -> reqwest::ClientBuilder + Send + Sync>,
    pub(super) store: Arc<dyn reqwest::cookie::CookieStore>,
}

#[cfg(feature = "cookies")]
impl CookieProvider {
    pub(super) fn new<C: reqwest::cookie::CookieStore + 'static>(store: Arc<C>) -> Self {
        let shared = Arc::clone(&store);
        Self { set_on: Arc::new(move |builder| builder.cookie_provider(Arc::clone(&shared))), store }
    }
}

/// The interval and the timeout of the pings on an HTTP/2 connection with open streams.
#[cfg(feature = "http2")]
const PING: Duration = Duration::from_secs(5);

impl TransportSettings {
    /// Builds the reqwest client. `attempt` is the longest time of an attempt; `None` if unlimited.
    pub(super) fn build(mut self, attempt: Option<Duration>) -> Result<Transport, ConfigError> {
        self.check(attempt)?;
        if let Source::Client(client) = self.source {
            let service = if self.is_watched {
                ReqwestService::with_watched_redirects(client.clone())
            } else {
                ReqwestService::new(client.clone())
            };
            return Ok(Transport { client, service, defaults: RequestDefaults::default() });
        }
        if let Some(user_agent) = self.user_agent.take() {
            let user_agent = user_agent.map_err(|error| {
                ConfigError::new("client.user_agent", &error, "a valid header value").with_source(error)
            })?;
            self.default_headers.insert(USER_AGENT, user_agent);
        }
        let policy = Arc::new(self.redirect.take().unwrap_or_default());
        let builder = self.reqwest_builder(attempt, &policy);
        let client = builder.build().map_err(|error| {
            ConfigError::new("client.reqwest_builder", &error, "one that reqwest can build")
                .with_source(error)
        })?;
        let defaults = RequestDefaults {
            headers: self.default_headers,
            #[cfg(feature = "cookies")]
            cookies: self.cookies.map(|cookies| cookies.store),
        };
        let service = ReqwestService::with_watched_redirects(client.clone());
        Ok(Transport { client, service, defaults })
    }

    /// Makes a reqwest builder. May be called several times.
    fn reqwest_builder(&self, attempt: Option<Duration>, policy: &Arc<Policy>) -> reqwest::ClientBuilder {
        let mut builder = match &self.source {
            Source::Make(make) => make(),
            Source::Defaults | Source::Client(_) => with_defaults(reqwest::Client::builder(), attempt),
        };
        builder = builder.default_headers(self.default_headers.clone());
        if let Some(timeout) = self.connect_timeout {
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
            builder = (cookies.set_on)(builder);
        }
        builder.redirect(watch_shared(Arc::clone(policy))).retry(reqwest::retry::never())
    }

    fn check(&self, attempt: Option<Duration>) -> Result<(), ConfigError> {
        if let Some(timeout) = self.connect_timeout {
            let longest = attempt.unwrap_or(MAX_DURATION);
            ConfigError::check("client.connect_timeout", timeout, Duration::from_millis(1)..=longest)
                .map_err(|error| error.bounded_by("the time of an attempt"))?;
        }
        if !matches!(self.source, Source::Client(_)) {
            let misplaced = self.is_watched.then(|| {
                let without = format_args!("set without client.reqwest_client");
                ConfigError::new("client.with_watched_redirects", without, "replaced by client.redirect")
            });
            return misplaced.map_or(Ok(()), Err);
        }
        let ignored = [
            ("client.user_agent", self.user_agent.is_some()),
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
        match ignored.into_iter().find(|(_, is_set)| *is_set) {
            Some((field, _)) => {
                let beside = format_args!("set beside client.reqwest_client");
                Err(ConfigError::new(field, beside, "set on the reqwest client itself"))
            }
            None => Ok(()),
        }
    }
}

/// Sets the defaults of a reqwest client that is built without the user's function.
fn with_defaults(builder: reqwest::ClientBuilder, attempt: Option<Duration>) -> reqwest::ClientBuilder {
    #[cfg(feature = "http2")]
    let builder = builder.http2_keep_alive_interval(PING).http2_keep_alive_timeout(PING);
    match attempt {
        Some(attempt) => builder.connect_timeout(attempt / 2),
        None => builder,
    }
}

/// The built reqwest client, and the request parts that it adds.
pub(super) struct Transport {
    pub(super) client: reqwest::Client,
    pub(super) service: ReqwestService,
    pub(super) defaults: RequestDefaults,
}

impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Defaults => "Defaults",
            Self::Make(_) => "Make",
            Self::Client(_) => "Client",
        })
    }
}

#[cfg(feature = "cookies")]
impl fmt::Debug for CookieProvider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CookieProvider")
    }
}
