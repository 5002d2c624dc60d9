//! The faulty server: a listener on loopback, the script of its faults, and the count of what arrived.
//!
//! Every fault of an exchange follows a request that was read whole, so that the row does not depend on what the
//! kernel had delivered. HTTP/2 is written frame by frame, because a server library allows only few of the faults.

mod http1;
mod http2;

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::Notify;
use tokio::task::JoinSet;

use super::case::{Protocol, Times};
use super::clients::untrusted_acceptor;
use super::fault::Fault;

/// The body of a healthy answer.
const GOOD_BODY: &[u8] = b"good";
/// The part of a faulty body that arrives, and the length that its head states.
const PART: &[u8] = b"hello";
const STATED: usize = 10;
/// The length of a body that arrives byte by byte.
const TRICKLED: usize = 300;
const OVERSIZED: usize = 1 << 20;
/// The times of a slow head, body or upload. They exceed the time of an attempt, but not that of the call.
const SLOW_HEAD: Duration = Duration::from_millis(670);
const SLOW_BODY: Duration = Duration::from_secs(1);
const SLOW_UPLOAD: Duration = Duration::from_millis(800);
/// The pieces of a slow body or upload.
const PIECES: u32 = 10;
/// The receive buffer of a server that reads slowly.
const SMALL_BUFFER: u32 = 64 << 10;

/// The server. Ends when dropped, with all its connections.
#[derive(Debug)]
pub(crate) struct Server {
    host: String,
    script: Arc<Script>,
    _serving: JoinSet<()>,
    /// Keeps the ports of servers that do not listen.
    _reserved: Vec<TcpSocket>,
    /// Keeps the connections that fill the backlog.
    _backlog: Option<(TcpListener, Vec<TcpStream>)>,
}

/// The faults to come, and the requests that arrived.
#[derive(Debug)]
pub(crate) struct Script {
    fault: Fault,
    times: Times,
    protocol: Protocol,
    /// An address that refuses connections.
    refusing: SocketAddr,
    /// The faults so far.
    faults: AtomicUsize,
    connections: AtomicUsize,
    pub(crate) requests: Requests,
    /// Notified when the client has closed the idle connection.
    pub(crate) idle_closed: Notify,
}

/// The requests that a server has seen.
#[derive(Debug, Default)]
pub(crate) struct Requests {
    /// Complete heads.
    heads: AtomicUsize,
    /// Requests whose body arrived whole, too.
    whole: AtomicUsize,
    /// Requests that the server has declared as not processed.
    not_processed: AtomicUsize,
}

/// A reading of [`Requests`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Count {
    pub(crate) heads: usize,
    pub(crate) whole: usize,
    pub(crate) not_processed: usize,
}

impl Server {
    pub(crate) async fn start(fault: Fault, times: Times, protocol: Protocol) -> io::Result<Self> {
        let (socket, refusing) = (bind()?, bind()?);
        let script = Arc::new(Script {
            fault,
            times,
            protocol,
            refusing: refusing.local_addr()?,
            faults: AtomicUsize::new(0),
            connections: AtomicUsize::new(0),
            requests: Requests::default(),
            idle_closed: Notify::new(),
        });
        if fault == Fault::SlowUpload {
            socket.set_recv_buffer_size(SMALL_BUFFER)?;
        }
        let address = socket.local_addr()?;
        let mut server = Self {
            host: if fault == Fault::NoSuchName { "name.invalid".to_owned() } else { address.to_string() },
            script,
            _serving: JoinSet::new(),
            _reserved: vec![refusing],
            _backlog: None,
        };
        match fault {
            Fault::Refused | Fault::NoSuchName => server._reserved.push(socket),
            Fault::ConnectHangs => server._backlog = Some(fill_backlog(socket.listen(1)?, address).await?),
            _ => {
                let listener = socket.listen(1024)?;
                server._serving.spawn(accept(listener, Arc::clone(&server.script)));
            }
        }
        Ok(server)
    }

    /// The URL of an item, with credentials and a query that no text may show.
    pub(crate) fn url(&self) -> String {
        let scheme = if self.script.fault.is_tls() { "https" } else { "http" };
        format!("{scheme}://user:secret@{}/items?token=secret", self.host)
    }

    pub(crate) fn script(&self) -> &Script {
        &self.script
    }
}

/// Takes a port of loopback.
fn bind() -> io::Result<TcpSocket> {
    let socket = TcpSocket::new_v4()?;
    socket.set_reuseaddr(true)?;
    socket.bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))?;
    Ok(socket)
}

/// Fills the queue of a listener that accepts nothing, until a further connect hangs.
async fn fill_backlog(
    listener: TcpListener,
    address: SocketAddr,
) -> io::Result<(TcpListener, Vec<TcpStream>)> {
    let mut streams = Vec::new();
    // A connect on loopback takes microseconds, unless the queue is full.
    let limit = Duration::from_millis(300);
    while let Ok(stream) = tokio::time::timeout(limit, TcpStream::connect(address)).await {
        streams.push(stream?);
    }
    Ok((listener, streams))
}

async fn accept(listener: TcpListener, script: Arc<Script>) {
    let mut serving = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        let script = Arc::clone(&script);
        serving.spawn(async move {
            // The client may break a connection at any time.
            let _ = serve(stream, &script).await;
        });
    }
}

/// Serves a connection, and closes or resets it.
async fn serve(mut stream: TcpStream, script: &Script) -> io::Result<()> {
    let number = script.connections.fetch_add(1, Ordering::Relaxed);
    stream.set_nodelay(true)?;
    if script.fault.is_of_connection(script.protocol) && script.next().is_some() {
        return break_connection(stream, script.fault).await;
    }
    match script.protocol {
        Protocol::Http1 => http1::serve(&mut stream, script, number == 0).await?,
        Protocol::Http2 => http2::serve(&mut stream, script, number == 0).await?,
    }
    if stream.linger()? == Some(Duration::ZERO) {
        return Ok(()); // reset when dropped
    }
    // Dropping a socket with unread bytes would reset the connection.
    stream.shutdown().await?;
    drain(&mut stream).await
}

async fn break_connection(mut stream: TcpStream, fault: Fault) -> io::Result<()> {
    match fault {
        Fault::ResetAtOnce => reset_unread(stream).await,
        Fault::Garbage => {
            stream.write_all(&[b'?'; 64]).await?;
            drain(&mut stream).await
        }
        Fault::PlainServer => {
            stream.readable().await?;
            stream.write_all(b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n").await?;
            drain(&mut stream).await
        }
        Fault::UntrustedCertificate => {
            let mut stream = untrusted_acceptor().accept(stream).await?;
            stream.read(&mut [0; 64]).await.map(drop)
        }
        _ => Ok(()),
    }
}

/// Resets the connection as soon as the first bytes have arrived.
async fn reset_unread(stream: TcpStream) -> io::Result<()> {
    stream.readable().await?;
    stream.set_zero_linger()
}

/// Waits until the client closes the connection.
async fn drain(stream: &mut TcpStream) -> io::Result<()> {
    let mut buffer = [0; 1024];
    while stream.read(&mut buffer).await? > 0 {}
    Ok(())
}

// ===== impl Script =====

impl Script {
    /// The fault of the next occasion; `None` if the server is healthy.
    fn next(&self) -> Option<Fault> {
        let earlier = self.faults.fetch_add(1, Ordering::Relaxed);
        (self.times == Times::Always || earlier == 0).then_some(self.fault)
    }

    /// The fault of the next exchange.
    fn next_exchange(&self) -> Option<Fault> {
        if self.fault.is_of_connection(self.protocol) || self.fault.is_of_reuse() {
            return None;
        }
        self.next()
    }
}

// ===== impl Requests =====

impl Requests {
    fn head(&self) {
        self.heads.fetch_add(1, Ordering::Relaxed);
    }

    fn whole(&self) {
        self.whole.fetch_add(1, Ordering::Relaxed);
    }

    fn not_processed(&self) {
        self.not_processed.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn count(&self) -> Count {
        Count {
            heads: self.heads.load(Ordering::Relaxed),
            whole: self.whole.load(Ordering::Relaxed),
            not_processed: self.not_processed.load(Ordering::Relaxed),
        }
    }
}

impl Count {
    /// The requests that arrived after an earlier reading.
    pub(crate) const fn since(self, earlier: Self) -> Self {
        Self {
            heads: self.heads - earlier.heads,
            whole: self.whole - earlier.whole,
            not_processed: self.not_processed - earlier.not_processed,
        }
    }

    /// The requests that the server may have processed.
    pub(crate) const fn processed(self) -> usize {
        self.whole - self.not_processed
    }
}

impl std::fmt::Display for Count {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.heads)?;
        match (self.heads - self.whole, self.not_processed) {
            (0, 0) => Ok(()),
            (0, refused) => write!(f, " ({refused} not processed)"),
            (cut, 0) => write!(f, " ({cut} without the whole body)"),
            (cut, refused) => write!(f, " ({refused} not processed, {cut} without the whole body)"),
        }
    }
}
