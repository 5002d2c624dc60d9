//! The settings of the reqwest client that a [`ClientBuilder`](super::ClientBuilder) builds.

use std::collections::HashMap;
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use http::HeaderMap;
use http::header::USER_AGENT;
use reqwest::dns::Resolve;
use reqwest::redirect::Policy;

use super::client_factory::{ClientFactory, MakeBuilder, default_builder};
#[cfg(feature = "cookies")]
use super::cookie_store::CookieStore;
use super::discovery::Resolver;
use super::origin::OriginName;
use super::request_defaults::RequestDefaults;
use super::reqwest_service::ReqwestService;
#[cfg(feature = "rustls")]
use super::shared_tls::shared_tls;
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
    /// The addresses of names that the user has set. The keys are in lower case.
    pub(super) lists: HashMap<String, Arc<[IpAddr]>>,
    pub(super) resolver: Option<Arc<dyn Resolve>>,
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
    Make(MakeBuilder),
    /// The user's client.
    Client(reqwest::Client),
}

impl TransportSettings {
    /// Builds the reqwest client. `attempt` is the longest time of an attempt; `None` if unlimited.
    pub(super) fn build(mut self, attempt: Option<Duration>) -> Result<Transport, ConfigError> {
        let (make, has_hidden_settings): (MakeBuilder, bool) = match std::mem::take(&mut self.source) {
            Source::Client(client) => return self.wrap(client),
            Source::Make(make) => (make, true),
            Source::Defaults => (Arc::new(default_builder), false),
        };
        self.check(attempt)?;
        let defaults = RequestDefaults {
            headers: self.default_headers.clone(),
            #[cfg(feature = "cookies")]
            cookies: self.cookies.clone(),
        };
        let resolver = Resolver::new(self.lists, self.resolver);
        // A user's function or a proxy can hide the addresses that reqwest connects to.
        let is_confirmed = !has_hidden_settings
            && self.proxies.is_empty()
            && (self.no_proxy || !environment_may_set_proxy());
        let builder = make();
        let builder_debug = has_hidden_settings.then(|| format!("{builder:?}"));
        let factory = ClientFactory {
            make,
            builder_debug,
            default_headers: self.default_headers,
            connect_timeout: self.connect_timeout.or(attempt.map(|attempt| attempt / 2)),
            redirect: Arc::new(self.redirect.take().unwrap_or_default()),
            proxies: self.proxies,
            no_proxy: self.no_proxy,
            resolver: resolver.clone(),
            #[cfg(feature = "rustls")]
            shared_tls: (!has_hidden_settings && self.root_certificates.is_empty())
                .then(shared_tls)
                .flatten(),
            #[cfg(feature = "rustls")]
            root_certificates: self.root_certificates,
            #[cfg(feature = "cookies")]
            cookies: self.cookies,
        };
        let client = factory.client_from(builder, None).map_err(|error| {
            ConfigError::new("client.reqwest_builder", &error, "one that reqwest can build")
                .with_source(error)
        })?;
        let service = factory.wrap(client.clone());
        // Each client of such a function may have cookies of its own, so there can be only one client.
        let factory = (!factory.has_hidden_cookies()).then(|| Arc::new(factory));
        Ok(Transport { client, service, defaults, factory, resolver, is_confirmed })
    }

    /// True if the user has given a finished client.
    pub(super) const fn is_handed_in(&self) -> bool {
        matches!(self.source, Source::Client(_))
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
            ("client.resolve_to_addrs", !self.lists.is_empty()),
            ("client.dns_resolver", self.resolver.is_some()),
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
        Ok(Transport {
            client,
            service,
            defaults: RequestDefaults::default(),
            factory: None,
            resolver: Resolver::default(),
            is_confirmed: false,
        })
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
        if let Some((name, _)) = self.lists.iter().find(|(_, addresses)| addresses.is_empty()) {
            let allowed = "a list of at least one address";
            return Err(ConfigError::new(
                "client.resolve_to_addrs",
                format_args!("empty for {name}"),
                allowed,
            ));
        }
        if let Some(name) = self.lists.keys().find(|name| !is_host_name(name)) {
            return Err(ConfigError::new(
                "client.resolve_to_addrs",
                name,
                "the host name of a URL, without scheme or port",
            ));
        }
        if self.is_watched {
            let without = format_args!("set without client.reqwest_client");
            let allowed = "replaced by client.redirect";
            return Err(ConfigError::new("client.with_watched_redirects", without, allowed));
        }
        Ok(())
    }
}

/// True if reqwest asks a resolver for the name, once it stands in a URL.
fn is_host_name(name: &str) -> bool {
    let url = reqwest::Url::parse(&format!("http://{name}/"));
    let origin = url.map(|url| OriginName::of(&url));
    origin.is_ok_and(|origin| origin.host == name && origin.is_resolved())
}

/// True if the environment may set a proxy. reqwest reads these variables. On macOS and Windows it can also read the
/// settings of the system.
fn environment_may_set_proxy() -> bool {
    const VARIABLES: [&str; 6] =
        ["http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"];
    let is_set = |name| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    cfg!(any(target_os = "macos", target_os = "windows")) || VARIABLES.into_iter().any(is_set)
}

/// The built reqwest client, its service, and the request parts that the client adds before the layers.
pub(super) struct Transport {
    pub(super) client: reqwest::Client,
    pub(super) service: ReqwestService,
    pub(super) defaults: RequestDefaults,
    /// Makes further clients; `None` if the client was handed in, or if the cookies of the clients would differ.
    pub(super) factory: Option<Arc<ClientFactory>>,
    pub(super) resolver: Resolver,
    /// True if the addresses of the resolver are those that reqwest connects to.
    pub(super) is_confirmed: bool,
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
