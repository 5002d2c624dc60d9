//! The two clients, and what a caller makes of their answers.

use std::time::Duration;

use steadfast::bulkhead::Bulkhead;
use steadfast::last_known_good::LastKnownGood;
use steadfast::retry::RetryBudget;
use steadfast::{ResponseExt as _, UpstreamHandle};

use crate::server;

/// How long a caller waits for an answer, through either client.
pub const PATIENCE: Duration = Duration::from_secs(2);

/// Which client.
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

/// What a call brought its caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// The right content, from the server.
    Fresh,
    /// The right content, from the last time that the server gave it.
    Stale,
    /// An error, a status other than 2xx, or wrong content.
    Failed,
}

pub const ANSWERS: [Answer; 3] = [Answer::Fresh, Answer::Stale, Answer::Failed];

/// reqwest with a timeout, and no retries of its own, so that a call is one attempt.
pub fn bare() -> reqwest::Result<reqwest::Client> {
    reqwest::Client::builder()
        .timeout(PATIENCE)
        .retry(reqwest::retry::never())
        .no_proxy() // to loopback there is no proxy, whatever the environment says
        .build()
}

/// steadfast with the same time for a call, a cache of last known good answers, and its defaults for everything else.
pub fn steadfast() -> Result<steadfast::Client, steadfast::ConfigError> {
    steadfast::Client::builder()
        .total_timeout(PATIENCE)
        .last_known_good(LastKnownGood::builder())
        .reqwest_builder(reqwest::Client::builder().no_proxy())
        .build()
}

#[derive(Clone)]
pub enum Client {
    Bare(reqwest::Client),
    Steadfast(steadfast::Client),
}

impl Client {
    /// Asks for an item, and reads the answer whole.
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

/// How many attempts an upstream has had once `calls` of them are over: each call is one and each retry another,
/// unless the circuit or the bulkhead refused it.
pub fn attempts(upstream: &UpstreamHandle, calls: u64) -> u64 {
    let retries = upstream.retry_budget().map_or(0, RetryBudget::retries);
    let refused = upstream.circuit_breaker().map_or(0, |circuit| circuit.snapshot().refused)
        + upstream.bulkhead().map_or(0, Bulkhead::refused);
    (calls + retries).saturating_sub(refused)
}
