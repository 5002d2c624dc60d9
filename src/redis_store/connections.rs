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
pub(super) struct Connections(Arc<Inner>);

struct Inner {
    client: Client,
    places: Box<[Place]>,
    turn: AtomicUsize,
}

impl Connections {
    /// Connects nowhere yet.
    pub(super) fn new(client: Client, count: usize) -> Self {
        let places = (0..count).map(|_| Place::default()).collect();
        Self(Arc::new(Inner { client, places, turn: AtomicUsize::new(0) }))
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

impl Inner {
    async fn ask(&self, command: &Cmd) -> Result<Value, RedisError> {
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        let place = &self.places[turn % self.places.len()];
        let line = place.line(&self.client);
        // A connection that was cut since it was last used shows it only when it is used.
        let may_be_cut = line.is_connected();
        match line.ask(command).await {
            Err(error) if may_be_cut && !is_answer(&error) => place.line(&self.client).ask(command).await,
            result => result,
        }
    }
}

impl fmt::Debug for Connections {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connections").field("places", &self.0.places.len()).finish_non_exhaustive()
    }
}

/// Whether Redis itself said so: there is nothing wrong with the connection.
pub(super) fn is_answer(error: &RedisError) -> bool {
    matches!(error.kind(), ErrorKind::Server(_) | ErrorKind::Extension)
}

// ===== Place =====

/// A connection, or the attempt to make one, which all who wait for it drive and whose end they all see.
type Connecting = Shared<Pin<Box<dyn Future<Output = Result<MultiplexedConnection, RedisError>> + Send>>>;

/// A place for a connection, empty until somebody needs it.
#[derive(Default)]
struct Place(Mutex<Option<Connecting>>);

impl Place {
    /// The connection of this place, for one operation. If there is none, this begins to connect: one attempt at a time, however
    /// many operations wait.
    fn line(&self, client: &Client) -> Line<'_> {
        let connecting = self.get().get_or_insert_with(|| connect(client.clone())).clone();
        Line { place: self, connecting, is_fine: false }
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
/// If that does not come to an answer, because it failed, ran out of time or was dropped, the place is emptied: the peer
/// may be gone without a word, and TCP takes minutes to notice. Whoever else waits for an answer over this connection
/// still gets it.
struct Line<'a> {
    place: &'a Place,
    connecting: Connecting,
    is_fine: bool,
}

impl Line<'_> {
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

impl Drop for Line<'_> {
    fn drop(&mut self) {
        if !self.is_fine {
            // Unless there is another one by now.
            self.place.get().take_if(|it| it.ptr_eq(&self.connecting));
        }
    }
}
