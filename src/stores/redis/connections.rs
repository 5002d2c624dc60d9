//! The connections to Redis: when they are made, and when one is given up.

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

/// What Redis is asked. It may be sent twice.
pub(super) struct Command(pub(super) Cmd);

/// It has no time but that of the store.
impl HasCallOptions for Command {}

/// A few connections, each shared by many operations. They take turns.
#[derive(Clone)]
pub(super) struct Connections(Arc<ConnectionPool>);

struct ConnectionPool {
    client: Client,
    slots: Box<[ConnectionSlot]>,
    turn: AtomicUsize,
}

impl Connections {
    /// Connects nowhere yet.
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
        // A connection that was cut since it was last used shows it only when it is used.
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

/// Whether Redis itself said so: there is nothing wrong with the connection.
pub(super) fn is_answer(error: &RedisError) -> bool {
    matches!(error.kind(), ErrorKind::Server(_) | ErrorKind::Extension)
}

// ===== ConnectionSlot =====

/// A connection, or the attempt to make one, which all who wait for it drive and whose end they all see.
type Connecting = Shared<Pin<Box<dyn Future<Output = Result<MultiplexedConnection, RedisError>> + Send>>>;

/// A slot for a connection, empty until somebody needs it.
#[derive(Default)]
struct ConnectionSlot(Mutex<Option<Connecting>>);

impl ConnectionSlot {
    /// The connection of this slot, for one operation. If there is none, this begins to connect: one attempt at a time, however
    /// many operations wait.
    fn lease(&self, client: &Client) -> ConnectionLease<'_> {
        let connecting = self.get().get_or_insert_with(|| connect(client.clone())).clone();
        ConnectionLease { slot: self, connecting, is_fine: false }
    }

    fn get(&self) -> MutexGuard<'_, Option<Connecting>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn connect(client: Client) -> Connecting {
    // One clock runs for the whole of an operation, above.
    let config = AsyncConnectionConfig::new().set_connection_timeout(None).set_response_timeout(None);
    let connecting = async move { client.get_multiplexed_async_connection_with_config(&config).await };
    connecting.boxed().shared()
}

/// A connection in use by one operation.
///
/// If that does not come to an answer, because it failed, ran out of time or was dropped, the slot is emptied: the peer
/// may be gone without a word, and TCP takes minutes to notice. Whoever else waits for an answer over this connection
/// still gets it.
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
            // It was the primary once. The next connection may lead to the one that is now.
            Err(error) if error.kind() == ErrorKind::Server(ServerErrorKind::ReadOnly) => false,
            Err(error) => is_answer(error),
        };
        result
    }
}

impl Drop for ConnectionLease<'_> {
    fn drop(&mut self) {
        if !self.is_fine {
            // Unless there is another one by now.
            self.slot.get().take_if(|it| it.ptr_eq(&self.connecting));
        }
    }
}
