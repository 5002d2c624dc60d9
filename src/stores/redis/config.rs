//! What a store in Redis is configured with.

use std::fmt;
use std::time::Duration;

use ::redis::Client;

use crate::ConfigError;
use crate::circuit_breaker::{CircuitBreaker, CircuitBreakerBuilder};
use crate::config_error::MAX_DURATION;

/// Configures a [`RedisStore`](super::RedisStore).
#[derive(Clone)]
pub struct RedisStoreBuilder {
    pub(super) url: String,
    pub(super) prefix: String,
    pub(super) connections: usize,
    pub(super) timeout: Duration,
    pub(super) circuit: Option<CircuitBreakerBuilder>,
}

impl RedisStoreBuilder {
    /// The client of the URL, if every number is in its range.
    pub(super) fn validate(&self) -> Result<Client, ConfigError> {
        ConfigError::check("redis_store.connections", self.connections, 1..=100)?;
        ConfigError::check("redis_store.timeout", self.timeout, Duration::from_millis(1)..=MAX_DURATION)?;
        client(&self.url)
    }

    pub(super) fn new(url: String) -> Self {
        Self {
            url,
            prefix: "steadfast:".to_owned(),
            connections: 2,
            timeout: Duration::from_millis(100),
            circuit: None,
        }
    }

    /// What each key in Redis begins with, so that services can share a server. All replicas of a service have the same.
    /// Default: `steadfast:`.
    pub fn prefix(mut self, prefix: impl Into<String>) -> Self {
        self.prefix = prefix.into();
        self
    }

    /// How many connections there are at most: 1 to 100. Default: 2.
    ///
    /// They are multiplexed: an operation does not have one to itself, but writes its command behind those of others and
    /// waits for its turn among the answers. So a few serve thousands of operations at a time, and more of them only keep
    /// large values from delaying small ones.
    pub fn connections(mut self, connections: usize) -> Self {
        self.connections = connections;
        self
    }

    /// How long an operation may take, with the connecting that it may have to do: 1 ms to a year. Default: 100 ms.
    ///
    /// It has to be enough for name lookup, TCP, TLS and login together, or there will never be a connection.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// The circuit that keeps operations from waiting for a Redis that is down. Default: called `redis`, it trips on 3
    /// failures in a row and lets one probe through after 1 s, then after 2 s and 4 s; an operation that is dropped counts
    /// as a failure if it had run for half the timeout.
    pub fn circuit(mut self, circuit: CircuitBreakerBuilder) -> Self {
        self.circuit = Some(circuit);
        self
    }
}

impl fmt::Debug for RedisStoreBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisStoreBuilder")
            .field("url", &scheme_alone(&self.url))
            .field("prefix", &self.prefix)
            .field("connections", &self.connections)
            .field("timeout", &self.timeout)
            .field("circuit", &self.circuit)
            .finish()
    }
}

pub(super) fn default_circuit(timeout: Duration) -> CircuitBreakerBuilder {
    CircuitBreaker::builder()
        .name("redis")
        .consecutive_failures(3, Duration::ZERO)
        .probes(1)
        .abandoned_after(timeout / 2)
}

fn client(url: &str) -> Result<Client, ConfigError> {
    const ALLOWED: &str = "redis://[[user]:password@]host[:port][/database], unix:///path, \
                           or rediss:// with a TLS feature of the redis crate";
    Client::open(url)
        .map_err(|error| ConfigError::new("redis_store.url", scheme_alone(url), ALLOWED).with_source(error))
}

/// All that is shown of a URL: where it is malformed, any other part of it can be the password.
fn scheme_alone(url: &str) -> String {
    ::redis::parse_redis_url(url).map_or_else(|| "…".to_owned(), |url| format!("{}://…", url.scheme()))
}
