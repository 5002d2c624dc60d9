//! The builder of a Redis store, with validation.

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
    pub(super) circuit_breaker: Option<CircuitBreakerBuilder>,
}

impl RedisStoreBuilder {
    pub(super) fn new(url: String) -> Self {
        Self {
            url,
            prefix: "steadfast:".to_owned(),
            connections: 2,
            timeout: Duration::from_millis(100),
            circuit_breaker: None,
        }
    }

    /// Sets the prefix of each key in Redis, so that several services can share a server. Replicas of a service need
    /// equal prefixes. Default: `steadfast:`.
    pub fn prefix(mut self, prefix: impl Into<String>) -> Self {
        self.prefix = prefix.into();
        self
    }

    /// Sets the maximum number of connections: 1 to 100. Default: 2.
    ///
    /// Connections are multiplexed: several operations share a connection, and answers arrive in the order of the
    /// commands. A few connections serve thousands of concurrent operations. The only benefit of more connections is
    /// that large values delay small ones less.
    pub fn connections(mut self, connections: usize) -> Self {
        self.connections = connections;
        self
    }

    /// Sets the time limit of an operation, including the time to connect: 1 ms to a year. Default: 100 ms.
    ///
    /// The limit must suffice for DNS lookup, TCP, TLS and login together. Otherwise no connection is ever
    /// established.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Sets the circuit breaker, which refuses operations while Redis is down.
    ///
    /// Default: a circuit breaker with the name `redis`. After 3 consecutive failures, its circuit opens for at most
    /// 1 s, and then lets one probe through. If the probe fails, the circuit opens for at most 2 s, and after each
    /// further failed probe for at most 4 s. A dropped operation counts as a failure if it ran for at least half the
    /// timeout.
    pub fn circuit_breaker(mut self, circuit_breaker: CircuitBreakerBuilder) -> Self {
        self.circuit_breaker = Some(circuit_breaker);
        self
    }

    /// Returns a client for the URL, if all settings are valid.
    pub(super) fn validate(&self) -> Result<Client, ConfigError> {
        ConfigError::check("redis_store.connections", self.connections, 1..=100)?;
        ConfigError::check("redis_store.timeout", self.timeout, Duration::from_millis(1)..=MAX_DURATION)?;
        client(&self.url)
    }
}

impl fmt::Debug for RedisStoreBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisStoreBuilder")
            .field("url", &scheme_alone(&self.url))
            .field("prefix", &self.prefix)
            .field("connections", &self.connections)
            .field("timeout", &self.timeout)
            .field("circuit_breaker", &self.circuit_breaker)
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

/// Returns the scheme of a URL, or `…` for a malformed URL. The other parts are not shown, because they can contain
/// the password.
fn scheme_alone(url: &str) -> String {
    ::redis::parse_redis_url(url).map_or_else(|| "…".to_owned(), |url| format!("{}://…", url.scheme()))
}
