//! The connections to Redis, which are established on demand and given up after an operation without an answer.
//!
//! An operation must end within its timeout even if Redis hangs, and the store must reconnect when Redis is back. The
//! redis crate's `ConnectionManager` does not fit: it retries in tasks of its own, with a backoff unknown to the
//! circuit breaker, and lets operations wait for the retries. Here, an operation fails if its connect attempt fails,
//! and the circuit breaker decides when the next attempt is made.
//!
//! # Implementation
//!
//! A fixed number of slots hold the connections, and operations use the slots round-robin. Each slot holds one
//! multiplexed connection or none. An operation that finds its slot empty starts a connect attempt. Operations that
//! arrive meanwhile share the attempt, which is one future that only the waiting operations poll.
//!
//! A slot is emptied when an operation on its connection ends without an answer or with `READONLY`. Otherwise a
//! connection to a dead peer would be used until TCP gives up, which takes minutes. Emptying the slot does not cut
//! off other operations on the same connection.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use ::redis::aio::MultiplexedConnection;
use ::redis::{AsyncConnectionConfig, Client, Cmd, ErrorKind, RedisError, ServerErrorKind, Value};
use futures_util::future::{FutureExt, Shared};
use tower::Service;

use crate::{Error, HasCallOptions};

/// A command to Redis. Commands must be idempotent, because a command may be sent twice.
pub(super) struct Command(pub(super) Cmd);

/// A command has no deadline of its own; the store's timeout applies.
impl HasCallOptions for Command {}

/// A few multiplexed connections, used round-robin.
#[derive(Clone)]
pub(super) struct Connections(Arc<ConnectionPool>);

struct ConnectionPool {
    client: Client,
    slots: Box<[ConnectionSlot]>,
    turn: AtomicUsize,
}

impl Connections {
    /// Creates empty slots, without connecting.
    pub(super) fn new(client: Client, count: usize) -> Self {
        let slots = (0..count).map(|_| ConnectionSlot::default()).collect();
        Self(Arc::new(ConnectionPool { client, slots, turn: AtomicUsize::new(0) }))
    }
}

impl Service<Command> for Connections {
    type Response = Value;
    type Error = Error<RedisError>;
    type Future = Pin<Box<dyn Future<Output = Result<Value, Error<RedisError>>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, Command(command): Command) -> Self::Future {
        let inner = Arc::clone(&self.0);
        Box::pin(async move { inner.ask(&command).await.map_err(Error::from_upstream) })
    }
}

impl ConnectionPool {
    async fn ask(&self, command: &Cmd) -> Result<Value, RedisError> {
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        let slot = &self.slots[turn % self.slots.len()];
        let lease = slot.lease(&self.client);
        // A connection that was cut since its last use fails only now. Repeat the command once in this case.
        let may_be_cut = lease.is_connected();
        match lease.ask(command).await {
            Err(error) if may_be_cut && !is_answer(&error) => slot.lease(&self.client).ask(command).await,
            result => result,
        }
    }
}

impl fmt::Debug for Connections {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connections").field("slots", &self.0.slots.len()).finish_non_exhaustive()
    }
}

/// True if the error is an answer of Redis, which shows that the connection works.
pub(super) fn is_answer(error: &RedisError) -> bool {
    matches!(error.kind(), ErrorKind::Server(_) | ErrorKind::Extension)
}

// ===== ConnectionSlot =====

/// A connect attempt or, once it has succeeded, the connection. All waiting operations poll the attempt and share its
/// result.
type Connecting = Shared<Pin<Box<dyn Future<Output = Result<MultiplexedConnection, RedisError>> + Send>>>;

/// A slot for a connection, empty until the first use.
#[derive(Default)]
struct ConnectionSlot(Mutex<Option<Connecting>>);

impl ConnectionSlot {
    /// Returns the connection of this slot for one operation. An empty slot starts a connect attempt; further
    /// operations share the attempt.
    fn lease(&self, client: &Client) -> ConnectionLease<'_> {
        let connecting = self.get().get_or_insert_with(|| connect(client.clone())).clone();
        ConnectionLease { slot: self, connecting, is_fine: false }
    }

    fn get(&self) -> MutexGuard<'_, Option<Connecting>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn connect(client: Client) -> Connecting {
    // No timeouts here: the timeout layer above bounds the whole operation.
    let config = AsyncConnectionConfig::new().set_connection_timeout(None).set_response_timeout(None);
    let connecting = async move { client.get_multiplexed_async_connection_with_config(&config).await };
    connecting.boxed().shared()
}

/// A connection in use by one operation. If the operation ends without an answer or with `READONLY`, the drop of the
/// lease empties the slot.
struct ConnectionLease<'a> {
    slot: &'a ConnectionSlot,
    connecting: Connecting,
    is_fine: bool,
}

impl ConnectionLease<'_> {
    fn is_connected(&self) -> bool {
        matches!(self.connecting.peek(), Some(Ok(_)))
    }

    async fn ask(mut self, command: &Cmd) -> Result<Value, RedisError> {
        let mut connection = self.connecting.clone().await?;
        let result = command.query_async(&mut connection).await;
        self.is_fine = match &result {
            Ok(_) => true,
            // The server has become a replica. A new connection may reach the current primary.
            Err(error) if error.kind() == ErrorKind::Server(ServerErrorKind::ReadOnly) => false,
            Err(error) => is_answer(error),
        };
        result
    }
}

impl Drop for ConnectionLease<'_> {
    fn drop(&mut self) {
        if !self.is_fine {
            // The slot may already hold a newer connection, which stays.
            self.slot.get().take_if(|it| it.ptr_eq(&self.connecting));
        }
    }
}
