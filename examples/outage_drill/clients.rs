//! The two clients, and how a caller judges their answers.

use std::time::Duration;

use steadfast::bulkhead::Bulkhead;
use steadfast::last_known_good::LastKnownGood;
use steadfast::retry::RetryBudget;
use steadfast::{ResponseExt as _, UpstreamHandle};

use crate::server;

/// The timeout of a call, the same for both clients.
pub const CALL_TIMEOUT: Duration = Duration::from_secs(2);

/// One of the two clients.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    Bare,
    Steadfast,
}

pub const SIDES: [Side; 2] = [Side::Bare, Side::Steadfast];

impl Side {
    pub fn name(self) -> &'static str {
        match self {
            Self::Bare => "bare",
            Self::Steadfast => "steadfast",
        }
    }
}

/// The result of a call, as its caller sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// The right content, from the server.
    Fresh,
    /// The right content, in a stale response.
    Stale,
    /// An error, a status other than 2xx, or wrong content.
    Failed,
}

pub const ANSWERS: [Answer; 3] = [Answer::Fresh, Answer::Stale, Answer::Failed];

/// reqwest with a timeout. Its own retries are off, so that a call is one attempt.
pub fn bare() -> reqwest::Result<reqwest::Client> {
    reqwest::Client::builder()
        .timeout(CALL_TIMEOUT)
        .retry(reqwest::retry::never())
        .no_proxy() // the calls go to loopback, whatever proxy the environment names
        .build()
}

/// steadfast with the same timeout, a last-known-good cache, and defaults for every other setting.
pub fn steadfast() -> Result<steadfast::Client, steadfast::ConfigError> {
    steadfast::Client::builder()
        .total_timeout(CALL_TIMEOUT)
        .last_known_good(LastKnownGood::builder())
        .no_proxy()
        .build()
}

#[derive(Clone)]
pub enum Client {
    Bare(reqwest::Client),
    Steadfast(steadfast::Client),
}

impl Client {
    /// Gets an item and reads the whole body.
    pub async fn call(&self, url: &str, item: u32) -> Answer {
        let response = match self {
            Self::Bare(http) => http.get(url).send().await.ok(),
            Self::Steadfast(http) => http.get(url).send().await.ok(),
        };
        let Some(response) = response.filter(|response| response.status().is_success()) else {
            return Answer::Failed;
        };
        let stale = response.stale().is_some();
        match response.bytes().await {
            Ok(body) if body == server::item(item) => {
                if stale {
                    Answer::Stale
                } else {
                    Answer::Fresh
                }
            }
            _ => Answer::Failed,
        }
    }
}

/// The number of attempts made for `calls` completed calls: one per call plus the retries, less the attempts that the
/// circuit or the bulkhead refused.
pub fn attempts(upstream: &UpstreamHandle, calls: u64) -> u64 {
    let retries = upstream.retry_budget().map_or(0, RetryBudget::retries);
    let refused = upstream.circuit_breaker().map_or(0, |circuit| circuit.snapshot().refused)
        + upstream.bulkhead().map_or(0, Bulkhead::refused);
    (calls + retries).saturating_sub(refused)
}
