//! A pool of connections to one target, as a reqwest client has it.
//!
//! Over HTTP/1, a request takes the idle connection that was used last, or opens a new one. The connection is idle
//! again when the head has arrived, because the bodies of these scenarios arrive with their heads. A request that is
//! dropped or fails closes its connection. Over HTTP/2, all requests share one connection until its replica stops;
//! a dropped request closes nothing.

use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use steadfast::Error;
use tokio::time::{Instant, sleep, sleep_until};
use tower::Service;

use super::{Protocol, Target};
use crate::upstream::{Upstream, UpstreamFuture, UpstreamRequest, UpstreamResult};

/// The time until a connection is established or refused.
const CONNECT_TIME: Duration = Duration::from_millis(1);

/// The connections of one client to one target. A clone is another handle to the same connections.
#[derive(Debug, Clone)]
pub struct Pool(Arc<PoolInner>);

#[derive(Debug)]
struct PoolInner {
    upstream: Upstream,
    target: Target,
    protocol: Protocol,
    /// Over HTTP/1 the idle connections, the last used at the end. Over HTTP/2 the shared connection.
    connections: Mutex<Vec<Connection>>,
}

/// A connection to a replica. It is open as long as the replica listens.
#[derive(Debug, Clone, Copy)]
struct Connection {
    replica: usize,
    /// The time at which the connection is established.
    ready_at: Instant,
}

impl Pool {
    pub fn new(upstream: Upstream, target: Target, protocol: Protocol) -> Self {
        Self(Arc::new(PoolInner { upstream, target, protocol, connections: Mutex::default() }))
    }

    async fn send(self, request: UpstreamRequest) -> UpstreamResult {
        let PoolInner { upstream, protocol, .. } = &*self.0;
        let Some(connection) = self.0.open_connection().or_else(|| self.0.connect()) else {
            sleep(CONNECT_TIME).await;
            return Err(upstream.refuse(&request));
        };
        sleep_until(connection.ready_at).await;
        let mut response = upstream.send(connection.replica, &request).await?;
        if *protocol == Protocol::Http1 {
            self.0.keep(connection);
        }
        *response.version_mut() = protocol.version();
        Ok(response)
    }
}

impl PoolInner {
    /// Takes an idle connection over HTTP/1, or shares the connection over HTTP/2.
    fn open_connection(&self) -> Option<Connection> {
        let mut connections = self.connections.lock().unwrap_or_else(PoisonError::into_inner);
        while let Some(connection) = connections.pop() {
            if self.upstream.listens(connection.replica) {
                if self.protocol == Protocol::Http2 {
                    connections.push(connection);
                }
                return Some(connection);
            }
        }
        None
    }

    /// Opens a connection. `None` if it is refused.
    fn connect(&self) -> Option<Connection> {
        let replica = match self.target {
            Target::Any => self.upstream.any_listening()?,
            Target::Replica(replica) => self.upstream.listens(replica).then_some(replica)?,
        };
        let connection = Connection { replica, ready_at: Instant::now() + CONNECT_TIME };
        if self.protocol == Protocol::Http2 {
            self.keep(connection);
        }
        Some(connection)
    }

    fn keep(&self, connection: Connection) {
        self.connections.lock().unwrap_or_else(PoisonError::into_inner).push(connection);
    }
}

impl Service<UpstreamRequest> for Pool {
    type Response = http::Response<crate::body::AnswerBody>;
    type Error = Error<std::io::Error>;
    type Future = UpstreamFuture;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: UpstreamRequest) -> Self::Future {
        Box::pin(self.clone().send(request))
    }
}
