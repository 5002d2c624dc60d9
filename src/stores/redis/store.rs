//! The Redis store and its operations. The store is built from two layers, the timeout and the circuit breaker, so
//! this module imports layers.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use ::redis::{ErrorKind, RedisError, Value};
use bytes::Bytes;
use tower::{Layer, Service};

use super::classify::RedisClassifier;
use super::config::{RedisStoreBuilder, default_circuit};
use super::connections::{Command, Connections};
use crate::circuit_breaker::{CircuitBreaker, CircuitBreakerLayer, CircuitBreakerService};
use crate::config_error::MAX_DURATION;
use crate::last_known_good::Store;
use crate::timeout::{TimeoutLayer, TimeoutService};
use crate::{BoxError, ConfigError, Error, NonHttp};

/// A [`Store`] in Redis, or in a server with the same protocol. All replicas of a service share the store, so a new
/// replica has the entries of the others.
///
/// A clone is another handle to the same connections and the same circuit breaker. Creating a store does not connect,
/// so a service can start while Redis is down. The first operation connects, and so does the next operation after
/// Redis was restarted, killed or cut off. A store needs a tokio runtime with I/O and time enabled.
///
/// An operation is one round trip: `GET`, or `SET` with an expiry. Operations share a few multiplexed
/// [`connections`](RedisStoreBuilder::connections) and end within the store's own
/// [`timeout`](RedisStoreBuilder::timeout). When Redis is unreachable, the store's own circuit opens and refuses
/// operations at once. Most errors that Redis sends, such as a lack of memory, fail the operation but are
/// no failures for the circuit. A failed login is one, and so are the errors of a server that can serve no command
/// now (`LOADING`, `CLUSTERDOWN`, `MASTERDOWN`).
///
/// A connection that does not answer in time is not used again. The next operations share one attempt to establish a
/// new connection. If a connection was cut since its last use, the operation is repeated once on a new connection.
///
/// The store spawns no tasks. For each connection, the redis crate spawns a task that writes commands and reads
/// answers. The task ends when the last handle is dropped and the last operation has ended.
///
/// Defaults: the key prefix `steadfast:`, 2 connections, a timeout of 100 ms.
///
/// ```no_run
/// use std::time::Duration;
/// use bytes::Bytes;
/// use steadfast::last_known_good::Store;
/// use steadfast::stores::RedisStore;
///
/// # async fn example() -> Result<(), steadfast::BoxError> {
/// let store = RedisStore::builder("redis://:secret@redis.internal:6379/0").prefix("sku:").build()?;
/// store.put("items/42", Bytes::from("the last good answer"), Duration::from_secs(3600)).await?;
/// assert!(store.get("items/42").await?.is_some());
/// println!("Redis: {:?}", store.circuit_breaker().state());
/// # Ok(())
/// # }
/// ```
///
/// # Errors
///
/// Both operations fail with an [`Error`]`<redis::RedisError>`: a refusal by the circuit breaker, a timeout, or an
/// error of the redis crate.
///
/// # Cancel safety
///
/// An operation can be dropped at any point. A dropped `put` takes place completely or not at all. The connection of
/// a dropped operation is not used again, as after a timeout.
///
/// # TLS
///
/// TLS is off by default. For `rediss://`, add a dependency on the version of `redis` that this crate uses, with the
/// feature `tokio-rustls-comp` or `tokio-native-tls-comp`, as the documentation of `redis` describes. Without one of
/// these features, `build` rejects a `rediss://` URL.
///
/// # Limits
///
/// A store uses a single server: clusters and sentinels need a proxy in front of them. A large value delays the
/// answers behind it on the same connection.
#[derive(Clone)]
pub struct RedisStore {
    service: CircuitBreakerService<TimeoutService<Connections>, RedisClassifier, NonHttp>,
    circuit_breaker: CircuitBreaker,
    prefix: Arc<str>,
}

impl RedisStore {
    /// Returns a builder with the defaults, for the server at `redis://[[user]:password@]host[:port][/database]` or
    /// `unix:///path`.
    ///
    /// Special characters in user and password must be percent-encoded.
    pub fn builder(url: impl Into<String>) -> RedisStoreBuilder {
        RedisStoreBuilder::new(url.into())
    }

    /// Returns the store's circuit breaker, so that a service can inspect or watch it, or force it open while Redis
    /// is moved.
    pub fn circuit_breaker(&self) -> &CircuitBreaker {
        &self.circuit_breaker
    }

    fn command(&self, name: &str, key: &str) -> ::redis::Cmd {
        let mut command = ::redis::cmd(name);
        command.arg(format!("{}{key}", self.prefix));
        command
    }

    async fn ask(&self, command: ::redis::Cmd) -> Result<Value, Error<RedisError>> {
        // The service is always ready, so `poll_ready` is not called.
        self.service.clone().call(Command(command)).await
    }
}

impl RedisStoreBuilder {
    /// Builds the store without connecting. Redis need not be up.
    ///
    /// # Errors
    ///
    /// Fails if a number is out of range or the URL is invalid. Of the URL, the error shows at most the scheme.
    pub fn build(self) -> Result<RedisStore, ConfigError> {
        let client = self.validate()?;
        let circuit_breaker =
            self.circuit_breaker.unwrap_or_else(|| default_circuit(self.timeout)).build()?;
        let connections = Connections::new(client, self.connections);
        let service = TimeoutLayer::new(self.timeout).layer(connections);
        let breaker =
            CircuitBreakerLayer::new(circuit_breaker.clone()).classifier(RedisClassifier).non_http();
        Ok(RedisStore { service: breaker.layer(service), circuit_breaker, prefix: Arc::from(self.prefix) })
    }
}

impl Store for RedisStore {
    /// Returns the value of `key`, or `None` if the key is absent or holds another type than a string.
    async fn get(&self, key: &str) -> Result<Option<Bytes>, BoxError> {
        match self.ask(self.command("GET", key)).await {
            Ok(Value::BulkString(value)) => Ok(Some(Bytes::from(value))),
            Ok(Value::Nil) => Ok(None),
            Ok(_) => Err(not_a_string().into()),
            Err(error) if is_of_wrong_type(&error) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Stores `value` under `key` for `keep_for`, clamped to the range from a millisecond to a year. Replaces a value
    /// of any type.
    async fn put(&self, key: &str, value: Bytes, keep_for: Duration) -> Result<(), BoxError> {
        let keep_for = keep_for.clamp(Duration::from_millis(1), MAX_DURATION);
        let mut command = self.command("SET", key);
        command.arg(&*value).arg("PX").arg(keep_for.as_millis());
        self.ask(command).await?;
        Ok(())
    }
}

fn is_of_wrong_type(error: &Error<RedisError>) -> bool {
    error.inner().is_some_and(|error| error.code() == Some("WRONGTYPE"))
}

fn not_a_string() -> Error<RedisError> {
    Error::from_upstream(RedisError::from((
        ErrorKind::UnexpectedReturnType,
        "GET returned a value that is not a string",
    )))
}

impl fmt::Debug for RedisStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisStore")
            .field("prefix", &self.prefix)
            .field("service", &self.service)
            .finish_non_exhaustive()
    }
}
