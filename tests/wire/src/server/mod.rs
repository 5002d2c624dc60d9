//! The servers on loopback.
//!
//! A [`Server`] speaks HTTP/1 and HTTP/2, in plain text and over TLS, all on one port: the first byte of a connection
//! tells. So a host has one address for `http` and `https`, and URLs need no port.

mod hint;
mod log;
mod proxy;
mod raw;
mod site;
mod tls;

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;

use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpSocket, TcpStream, UnixListener};
use tokio::task::JoinSet;

pub(crate) use self::hint::HintServer;
pub(crate) use self::log::{Log, body, headers};
pub(crate) use self::raw::{Absent, Full, RawServer, Silent};
pub(crate) use self::tls::{acceptor, acceptor_of_http1, authority};
use crate::BoxError;

#[derive(Debug, Clone, Copy)]
enum Role {
    Site,
    Proxy { target: SocketAddr },
}

/// A server. Ends with all its connections when dropped.
#[derive(Debug)]
pub(crate) struct Server {
    address: SocketAddr,
    pub(crate) log: Arc<Log>,
    _accepting: JoinSet<()>,
}

impl Server {
    /// Listens on a free port of loopback.
    pub(crate) fn start() -> Result<Self, BoxError> {
        Self::start_as(Role::Site)
    }

    /// A proxy. Tunnels lead to `target`, whatever their destination.
    pub(crate) fn start_proxy(target: SocketAddr) -> Result<Self, BoxError> {
        Self::start_as(Role::Proxy { target })
    }

    fn start_as(role: Role) -> Result<Self, BoxError> {
        let listener = listen()?;
        let address = listener.local_addr()?;
        let log = Arc::<Log>::default();
        let mut accepting = JoinSet::new();
        accepting.spawn(accept(listener, role, Arc::clone(&log)));
        Ok(Self { address, log, _accepting: accepting })
    }

    /// Listens on a unix socket.
    pub(crate) fn start_unix(path: &Path) -> Result<Self, BoxError> {
        let listener = UnixListener::bind(path)?;
        let log = Arc::<Log>::default();
        let mut accepting = JoinSet::new();
        let shared = Arc::clone(&log);
        accepting.spawn(async move {
            let mut serving = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                serving.spawn(serve(stream, Role::Site, Arc::clone(&shared)));
            }
        });
        Ok(Self { address: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)), log, _accepting: accepting })
    }

    pub(crate) const fn address(&self) -> SocketAddr {
        self.address
    }
}

/// A listener with a queue for thousands of connections.
fn listen() -> Result<TcpListener, BoxError> {
    let socket = TcpSocket::new_v4()?;
    socket.bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))?;
    Ok(socket.listen(8192)?)
}

async fn accept(listener: TcpListener, role: Role, log: Arc<Log>) {
    let mut serving = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        serving.spawn(serve_tcp(stream, role, Arc::clone(&log)));
        while serving.try_join_next().is_some() {}
    }
}

async fn serve_tcp(stream: TcpStream, role: Role, log: Arc<Log>) {
    const TLS_HANDSHAKE: u8 = 0x16;
    let _ = stream.set_nodelay(true);
    let mut first = [0];
    if !matches!(stream.peek(&mut first).await, Ok(1)) {
        return;
    }
    if first != [TLS_HANDSHAKE] {
        return serve(stream, role, log).await;
    }
    if let Ok(stream) = tls::acceptor().accept(stream).await {
        serve(stream, role, log).await;
    }
}

/// Serves one connection.
async fn serve(stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static, role: Role, log: Arc<Log>) {
    let _open = log.connect();
    let service = service_fn(move |request| {
        let log = Arc::clone(&log);
        async move {
            let answer = match role {
                Role::Site => site::answer(request, log).await,
                Role::Proxy { target } => proxy::answer(request, log, target).await,
            };
            answer.map_err(std::io::Error::other)
        }
    });
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder.http2().max_concurrent_streams(10_000);
    // A client may break a connection at any time.
    let _ = builder.serve_connection_with_upgrades(TokioIo::new(stream), service).await;
}
