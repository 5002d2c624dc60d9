//! The two clients, built from the same closure and used through the same functions.
//!
//! Only this module names steadfast's API for building a client.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use http::header::USER_AGENT;
use http::{HeaderMap, HeaderValue};
use reqwest::redirect::Policy;
use reqwest::{Certificate, ClientBuilder, IntoUrl, Method, Proxy, RequestBuilder, Response};

use crate::BoxError;

/// Makes the builder of the reqwest client, which is the whole client or the bottom of steadfast's stack.
pub(crate) type Make = Arc<dyn Fn() -> ClientBuilder + Send + Sync>;

/// The client of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Which {
    Bare,
    Steadfast,
}

/// Whether redirects are followed.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) enum Redirects {
    /// reqwest's default: at most ten.
    #[default]
    Default,
    None,
    AtMost(usize),
}

impl Redirects {
    fn policy(self) -> Policy {
        match self {
            Self::Default => Policy::default(),
            Self::None => Policy::none(),
            Self::AtMost(most) => Policy::limited(most),
        }
    }
}

/// A setting that the builders of both clients have by the same name.
#[derive(Debug, Clone)]
pub(crate) enum Setting {
    UserAgent(&'static str),
    DefaultHeaders(HeaderMap),
    CookieStore,
    ConnectTimeout(Duration),
    RootCertificate(Certificate),
    Proxy(Proxy),
    NoProxy,
}

/// Makes the settings on a builder of either kind.
macro_rules! set {
    ($builder:expr, $settings:expr) => {
        $settings.iter().cloned().fold($builder, |builder, setting| match setting {
            Setting::UserAgent(value) => builder.user_agent(value),
            Setting::DefaultHeaders(headers) => builder.default_headers(headers),
            Setting::CookieStore => builder.cookie_store(true),
            Setting::ConnectTimeout(timeout) => builder.connect_timeout(timeout),
            Setting::RootCertificate(certificate) => builder.add_root_certificate(certificate),
            Setting::Proxy(proxy) => builder.proxy(proxy),
            Setting::NoProxy => builder.no_proxy(),
        })
    };
}

/// A client of either kind.
#[derive(Debug, Clone)]
pub(crate) enum Client {
    Bare(reqwest::Client),
    Steadfast(steadfast::Client),
}

/// A call that ended without a response.
#[derive(Debug)]
pub(crate) enum Failure {
    Bare(reqwest::Error),
    Steadfast(steadfast::Error<reqwest::Error>),
}

impl Client {
    /// Builds the client, with default settings of steadfast.
    pub(crate) fn new(which: Which, make: &Make, redirects: Redirects) -> Result<Self, BoxError> {
        Self::with_settings(which, make, redirects, &[])
    }

    /// Builds the client, with settings that are made on its own builder.
    pub(crate) fn with_settings(
        which: Which,
        make: &Make,
        redirects: Redirects,
        settings: &[Setting],
    ) -> Result<Self, BoxError> {
        Ok(match which {
            Which::Bare => Self::Bare(set!(make(), settings).redirect(redirects.policy()).build()?),
            Which::Steadfast => {
                let make = Arc::clone(make);
                let builder = steadfast::Client::builder().reqwest_builder(move || make());
                Self::Steadfast(set!(builder, settings).redirect(redirects.policy()).build()?)
            }
        })
    }

    /// Sends a request that `change` completes.
    pub(crate) async fn send(
        &self,
        method: Method,
        url: impl IntoUrl,
        change: impl FnOnce(RequestBuilder) -> RequestBuilder,
    ) -> Result<Response, Failure> {
        match self {
            Self::Bare(client) => change(client.request(method, url)).send().await.map_err(Failure::Bare),
            Self::Steadfast(client) => {
                client.request(method, url).with(change).send().await.map_err(Failure::Steadfast)
            }
        }
    }

    /// Sends a GET without additions.
    pub(crate) async fn get(&self, url: impl IntoUrl) -> Result<Response, Failure> {
        self.send(Method::GET, url, |request| request).await
    }

    /// Sends a request that was built beforehand.
    pub(crate) async fn execute(&self, request: reqwest::Request) -> Result<Response, Failure> {
        match self {
            Self::Bare(client) => client.execute(request).await.map_err(Failure::Bare),
            Self::Steadfast(client) => client.execute(request).await.map_err(Failure::Steadfast),
        }
    }
}

/// Calls every shorthand that the request builders of both clients have.
macro_rules! shorthands {
    ($client:expr, $url:expr, $failure:expr) => {{
        let (client, url) = ($client, $url);
        let pairs = [("q", "a value")];
        let headers = HeaderMap::from_iter([(USER_AGENT, HeaderValue::from_static("shorthand"))]);
        let post = client.post(url).json(&pairs).timeout(Duration::from_secs(5)).bearer_auth("token");
        vec![
            ("get", client.get(url).query(&pairs).header("x-one", "1").send().await.map_err($failure)),
            ("head", client.head(url).headers(headers).send().await.map_err($failure)),
            ("post", post.send().await.map_err($failure)),
            ("put", client.put(url).form(&pairs).send().await.map_err($failure)),
            ("patch", client.patch(url).body("body").send().await.map_err($failure)),
            ("delete", client.delete(url).basic_auth("user", Some("secret")).send().await.map_err($failure)),
        ]
    }};
}

impl Client {
    /// Calls through the methods that the client and its request builder share by name with reqwest's.
    pub(crate) async fn shorthands(&self, url: &str) -> Vec<(&'static str, Result<Response, Failure>)> {
        match self {
            Self::Bare(client) => shorthands!(client, url, Failure::Bare),
            Self::Steadfast(client) => shorthands!(client, url, Failure::Steadfast),
        }
    }
}

/// Calls the method of this name on the error of either client.
macro_rules! ask {
    ($failure:expr, $predicate:ident) => {
        match $failure {
            Failure::Bare(error) => error.$predicate(),
            Failure::Steadfast(error) => error.$predicate(),
        }
    };
}

impl Failure {
    pub(crate) fn is_timeout(&self) -> bool {
        ask!(self, is_timeout)
    }

    pub(crate) fn is_connect(&self) -> bool {
        ask!(self, is_connect)
    }

    pub(crate) fn url(&self) -> Option<&reqwest::Url> {
        ask!(self, url)
    }

    /// True if steadfast refused the call before anything was sent.
    pub(crate) fn is_refusal(&self) -> bool {
        matches!(self, Self::Steadfast(error) if error.is_refusal())
    }
}

/// Prints the predicates that hold, such as `error (timeout, connect)`.
impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let predicates = [
            ("timeout", self.is_timeout()),
            ("connect", self.is_connect()),
            ("redirect", ask!(self, is_redirect)),
            ("builder", ask!(self, is_builder)),
            ("request", ask!(self, is_request)),
            ("status", ask!(self, is_status)),
            ("body", ask!(self, is_body)),
            ("decode", ask!(self, is_decode)),
            ("upgrade", ask!(self, is_upgrade)),
            ("dns", ask!(self, is_dns)),
            ("refused by steadfast", self.is_refusal()),
        ];
        let held: Vec<&str> = predicates.iter().filter(|(_, holds)| *holds).map(|(name, _)| *name).collect();
        if held.is_empty() { f.write_str("error") } else { write!(f, "error ({})", held.join(", ")) }
    }
}
