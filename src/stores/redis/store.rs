//! A store in Redis, which all replicas of a service share. It stands above the layers, since it is guarded by two of them.

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

/// A [`Store`] in Redis, or in what speaks its protocol: shared by all replicas of a service, so that one that has just
/// been started, or has never asked, has an answer too.
///
/// A clone is another handle to the same connections and the same circuit. Making a store does not connect, so a service
/// can start while Redis is down; the first operation connects, and so does the next one after Redis was restarted,
/// killed or cut off. It needs a tokio runtime with I/O and time enabled.
///
/// An operation is one round trip (`GET`, or `SET` with its expiry) over one of a few
/// [multiplexed connections](RedisStoreBuilder::connections), and ends within the store's own
/// [`timeout`](RedisStoreBuilder::timeout). When Redis cannot be talked to, the store's own circuit opens, and operations
/// are refused at once; what Redis says no to, for want of memory or of a right, is an error and does not open it.
///
/// A connection over which an operation had no answer in time is not used again: those that come next share one
/// attempt to make another. An operation that finds its connection cut since it was last used tries once more on a new one.
///
/// The store spawns nothing, but the redis crate does: a task for each connection, which writes the commands, reads the
/// answers, and ends with the last handle and the operations that are under way.
///
/// Default: keys begin with `steadfast:`, 2 connections, 100 ms.
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
/// println!("Redis: {:?}", store.circuit().state());
/// # Ok(())
/// # }
/// ```
///
/// # Errors
///
/// Both operations fail with an [`Error`]`<redis::RedisError>`: a refusal by the circuit, a timeout, or what the redis crate
/// has to say.
///
/// # Cancel safety
///
/// An operation can be dropped at any point. A `put` that is dropped may or may not take place; it does not take place in
/// part. The connection is taken for hung, as after a timeout.
///
/// # TLS
///
/// There is none by default. For `rediss://`, depend on the `redis` crate of the same version with the feature
/// `tokio-rustls-comp` or `tokio-native-tls-comp`, as its documentation says. Without one of them, `build` refuses such
/// a URL.
///
/// # Limits
///
/// It talks to one server: clusters and sentinels need a proxy before them. The whole of a value is in one answer, which
/// those behind it on the connection wait for.
#[derive(Clone)]
pub struct RedisStore {
    service: CircuitBreakerService<TimeoutService<Connections>, RedisClassifier, NonHttp>,
    circuit: CircuitBreaker,
    prefix: Arc<str>,
}

impl RedisStore {
    /// A builder that starts from the defaults, for the server at
    /// `redis://[[user]:password@]host[:port][/database]`, or `unix:///path`.
    ///
    /// Special characters in user and password are percent-encoded.
    pub fn builder(url: impl Into<String>) -> RedisStoreBuilder {
        RedisStoreBuilder::new(url.into())
    }

    /// The store's circuit: to look at, to watch, to force open while Redis is moved.
    pub fn circuit(&self) -> &CircuitBreaker {
        &self.circuit
    }

    fn command(&self, name: &str, key: &str) -> ::redis::Cmd {
        let mut command = ::redis::cmd(name);
        command.arg(format!("{}{key}", self.prefix));
        command
    }

    async fn ask(&self, command: ::redis::Cmd) -> Result<Value, Error<RedisError>> {
        // It is always ready.
        self.service.clone().call(Command(command)).await
    }
}

impl RedisStoreBuilder {
    /// The store, not connected yet: Redis need not be up.
    ///
    /// # Errors
    ///
    /// If a number is out of its range, or the URL is not understood. What the error shows of a URL is its scheme.
    pub fn build(self) -> Result<RedisStore, ConfigError> {
        let client = self.validate()?;
        let circuit = self.circuit.unwrap_or_else(|| default_circuit(self.timeout)).build()?;
        let connections = Connections::new(client, self.connections);
        let service = TimeoutLayer::new(self.timeout).layer(connections);
        let breaker = CircuitBreakerLayer::new(circuit.clone()).classifier(RedisClassifier).non_http();
        Ok(RedisStore { service: breaker.layer(service), circuit, prefix: Arc::from(self.prefix) })
    }
}

impl Store for RedisStore {
    /// The value of `key`; `None` if it holds something else than a string.
    async fn get(&self, key: &str) -> Result<Option<Bytes>, BoxError> {
        match self.ask(self.command("GET", key)).await {
            Ok(Value::BulkString(value)) => Ok(Some(Bytes::from(value))),
            Ok(Value::Nil) => Ok(None),
            Ok(_) => Err(not_a_string().into()),
            Err(error) if is_of_wrong_type(&error) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Keeps `value` in place of whatever `key` holds, for at least a millisecond and at most a year.
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
        "GET was answered with something else than a string",
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
