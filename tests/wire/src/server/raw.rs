//! Servers without hyper: fixed bytes on a socket, and addresses that do not answer.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::task::{Context, Waker};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::task::JoinSet;

use super::log::Log;
use crate::BoxError;

fn bound() -> Result<TcpSocket, BoxError> {
    let socket = TcpSocket::new_v4()?;
    socket.bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))?;
    Ok(socket)
}

/// A server that answers every request without a body by the same bytes.
#[derive(Debug)]
pub(crate) struct RawServer {
    address: SocketAddr,
    pub(crate) log: Arc<Log>,
    _accepting: JoinSet<()>,
}

impl RawServer {
    /// With `close`, an answer ends its connection.
    pub(crate) fn start(answer: &'static str, close: bool) -> Result<Self, BoxError> {
        let listener = bound()?.listen(128)?;
        let address = listener.local_addr()?;
        let log = Arc::<Log>::default();
        let shared = Arc::clone(&log);
        let mut accepting = JoinSet::new();
        accepting.spawn(async move {
            let mut serving = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let open = shared.connect();
                serving.spawn(async move {
                    let _open = open;
                    let _ = serve(stream, answer, close).await;
                });
            }
        });
        Ok(Self { address, log, _accepting: accepting })
    }

    pub(crate) const fn address(&self) -> SocketAddr {
        self.address
    }
}

async fn serve(mut stream: TcpStream, answer: &str, close: bool) -> std::io::Result<()> {
    let mut head = Vec::new();
    loop {
        head.clear();
        while !head.windows(4).any(|window| window == b"\r\n\r\n") {
            if stream.read_buf(&mut head).await? == 0 {
                return Ok(());
            }
        }
        stream.write_all(answer.as_bytes()).await?;
        if close {
            return stream.shutdown().await;
        }
    }
}

/// An address that refuses connections. The socket reserves the port.
#[derive(Debug)]
pub(crate) struct Absent(TcpSocket);

impl Absent {
    pub(crate) fn new() -> Result<Self, BoxError> {
        Ok(Self(bound()?))
    }

    pub(crate) fn address(&self) -> Result<SocketAddr, BoxError> {
        Ok(self.0.local_addr()?)
    }
}

/// An address that accepts connections and sends no byte.
#[derive(Debug)]
pub(crate) struct Silent(TcpListener);

impl Silent {
    pub(crate) fn new() -> Result<Self, BoxError> {
        Ok(Self(bound()?.listen(128)?))
    }

    pub(crate) fn address(&self) -> Result<SocketAddr, BoxError> {
        Ok(self.0.local_addr()?)
    }
}

/// An address whose queue of connections is full, so that a connect does not end.
pub(crate) struct Full {
    listener: TcpListener,
    _waiting: Vec<std::pin::Pin<Box<dyn Future<Output = std::io::Result<TcpStream>> + Send>>>,
}

impl Full {
    pub(crate) fn new() -> Result<Self, BoxError> {
        const MORE_THAN_THE_QUEUE: usize = 4;
        let listener = bound()?.listen(0)?;
        let address = listener.local_addr()?;
        let mut waiting = Vec::new();
        for _ in 0..MORE_THAN_THE_QUEUE {
            let mut connect: std::pin::Pin<Box<dyn Future<Output = _> + Send>> =
                Box::pin(TcpSocket::new_v4()?.connect(address));
            // The first poll starts the handshake. A connection that is made at once must be kept.
            let _ = connect.as_mut().poll(&mut Context::from_waker(Waker::noop()));
            waiting.push(connect);
        }
        Ok(Self { listener, _waiting: waiting })
    }

    pub(crate) fn address(&self) -> Result<SocketAddr, BoxError> {
        Ok(self.listener.local_addr()?)
    }
}
