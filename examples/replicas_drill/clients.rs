//! The two clients, and how a caller judges their answers.

use std::sync::Arc;
use std::time::Duration;

use steadfast::ResponseExt as _;

use crate::names::Names;
use crate::replica;
use crate::subject::Side;

/// The time limit of a call, the same for both clients.
pub const CALL_TIMEOUT: Duration = Duration::from_secs(2);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    Http1,
    Http2,
}

/// reqwest with a time limit.
fn bare(names: Arc<Names>, protocol: Protocol) -> reqwest::Result<reqwest::Client> {
    transport(protocol).dns_resolver(names).timeout(CALL_TIMEOUT).build()
}

/// steadfast with the same time limit, and defaults for every other setting.
fn steadfast(names: Arc<Names>, protocol: Protocol) -> Result<steadfast::Client, steadfast::ConfigError> {
    let builder = steadfast::Client::builder().dns_resolver(names).total_timeout(CALL_TIMEOUT).no_proxy();
    match protocol {
        Protocol::Http1 => builder.build(),
        Protocol::Http2 => builder.reqwest_builder(move || transport(protocol)).build(),
    }
}

fn transport(protocol: Protocol) -> reqwest::ClientBuilder {
    // The calls go to loopback, whatever proxy the environment names.
    let builder = reqwest::Client::builder().no_proxy();
    match protocol {
        Protocol::Http1 => builder.http1_only(),
        Protocol::Http2 => builder.http2_prior_knowledge(),
    }
}

/// The result of a call, as its caller sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Answer {
    /// The right content. Otherwise the call has failed: with an error, a status other than 2xx, or wrong content.
    pub fresh: bool,
    /// The attempts of the call, by the client's count.
    pub attempts: u32,
}

#[derive(Clone)]
pub enum Client {
    Bare(reqwest::Client),
    Steadfast(steadfast::Client),
}

impl Client {
    pub fn new(
        side: Side,
        names: Arc<Names>,
        protocol: Protocol,
    ) -> Result<Self, Box<dyn std::error::Error>> {
        Ok(match side {
            Side::Bare => Self::Bare(bare(names, protocol)?),
            Side::Steadfast => Self::Steadfast(steadfast(names, protocol)?),
        })
    }

    /// Gets an item and reads the whole body.
    pub async fn call(&self, url: &str, item: u32) -> Answer {
        let result = match self {
            Self::Bare(http) => http.get(url).send().await.map_err(|_| 1),
            Self::Steadfast(http) => http.get(url).send().await.map_err(|error| error.attempts()),
        };
        let response = match result {
            Ok(response) => response,
            Err(attempts) => return Answer { fresh: false, attempts },
        };
        let (succeeded, attempts) = (response.status().is_success(), response.attempts());
        let content = response.bytes().await.ok();
        let fresh = succeeded && content.is_some_and(|content| content == replica::item(item));
        Answer { fresh, attempts }
    }
}
