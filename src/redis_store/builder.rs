//! What a store in Redis is configured with.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use ::redis::{Client, ErrorKind, RedisError, ServerErrorKind, Value};
use tower::Layer;

use super::RedisStore;
use super::connections::{Command, Connections, is_answer};
use crate::circuit_breaker::{CircuitBreaker, CircuitBreakerBuilder, CircuitBreakerLayer};
use crate::config_error::MAX_DURATION;
use crate::timeout::TimeoutLayer;
use crate::{Classify, ConfigError, Error, Judge, Outcome};

/// Configures a [`RedisStore`].
#[derive(Clone)]
pub struct RedisStoreBuilder {
    url: String,
    prefix: String,
    connections: usize,
    timeout: Duration,
    circuit: Option<CircuitBreakerBuilder>,
}

impl RedisStoreBuilder {
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

    /// The store, not connected yet: Redis need not be up.
    ///
    /// # Errors
    ///
    /// If a number is out of its range, or the URL is not understood. What the error shows of a URL is its scheme.
    pub fn build(self) -> Result<RedisStore, ConfigError> {
        ConfigError::check("redis_store.connections", self.connections, 1..=100)?;
        ConfigError::check("redis_store.timeout", self.timeout, Duration::from_millis(1)..=MAX_DURATION)?;
        let client = client(&self.url)?;
        let circuit = self.circuit.unwrap_or_else(|| default_circuit(self.timeout)).build()?;

        let connections = Connections::new(client, self.connections);
        let service = TimeoutLayer::new(self.timeout).layer(connections);
        let breaker = CircuitBreakerLayer::new(circuit.clone()).classifier(RedisClassifier).non_http();
        Ok(RedisStore { service: breaker.layer(service), circuit, prefix: Arc::from(self.prefix) })
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

fn default_circuit(timeout: Duration) -> CircuitBreakerBuilder {
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

/// Whether Redis can be talked to, and has its data. One that is full, say, can still be read.
#[derive(Debug, Clone, Copy)]
pub(super) struct RedisClassifier;

impl Classify<Command, Value, RedisError> for RedisClassifier {
    type Judge = Self;

    fn judge(&self, _command: &Command) -> Self {
        *self
    }
}

impl Judge<Value, RedisError> for RedisClassifier {
    fn classify(&self, result: Result<&Value, &Error<RedisError>>) -> Outcome {
        match result.map_err(Error::inner) {
            Ok(_) => Outcome::Success,
            Err(Some(error)) if is_answer(error) && !is_down(error) => Outcome::Success,
            Err(_) => Outcome::Failure,
        }
    }
}

/// Whether Redis says that it can do nothing now.
fn is_down(error: &RedisError) -> bool {
    use ServerErrorKind::{BusyLoading, ClusterDown, MasterDown};
    matches!(error.kind(), ErrorKind::Server(BusyLoading | ClusterDown | MasterDown))
}
