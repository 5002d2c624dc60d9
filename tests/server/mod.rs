//! A scriptable HTTP/1.1 server on loopback, which answers, breaks off, resets, stalls or is absent.

// Each test file uses only a part of this module.
#![allow(dead_code)]

use std::collections::VecDeque;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, Weak};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;

/// The server's reaction to one request.
#[derive(Debug, Clone)]
pub(crate) enum Reply {
    /// Writes the bytes, and keeps the connection.
    Answer(Vec<u8>),
    /// Writes the bytes, and closes the connection. Without bytes, no answer begins.
    Close(Vec<u8>),
    /// Resets the connection.
    Reset,
    /// Writes the first bytes, waits until the gate is opened, and writes the second bytes.
    Gate(Vec<u8>, Arc<Notify>, Vec<u8>),
    /// Writes the bytes, and stalls until the client closes the connection.
    Stall(Vec<u8>),
}

impl Reply {
    /// An answer with a body of a stated length.
    pub(crate) fn status(status: u16, headers: &[(&str, &str)], body: impl AsRef<[u8]>) -> Self {
        Self::Answer(message(status, headers, body.as_ref().len(), body.as_ref()))
    }

    /// 200 with a body of a stated length.
    pub(crate) fn ok(body: impl AsRef<[u8]>) -> Self {
        Self::status(200, &[], body)
    }

    /// 503 without a body.
    pub(crate) fn unavailable() -> Self {
        Self::status(503, &[], "")
    }

    /// An answer with a body in chunks, without a stated length.
    pub(crate) fn chunked(status: u16, chunks: &[&[u8]]) -> Self {
        let mut bytes = chunked_head(status);
        bytes.extend(chunks.iter().flat_map(|data| chunk(data)));
        bytes.extend_from_slice(b"0\r\n\r\n");
        Self::Answer(bytes)
    }

    /// A body that is shorter than its stated length, and then the end of the connection.
    pub(crate) fn cut_short(body: &str, stated: usize) -> Self {
        Self::Close(message(200, &[], stated, body.as_bytes()))
    }

    /// No answer, ever.
    pub(crate) fn never() -> Self {
        Self::Stall(Vec::new())
    }

    /// The connection closed before any answer.
    pub(crate) fn closed() -> Self {
        Self::Close(Vec::new())
    }
}

/// An answer on the wire: a head that states the length `stated`, and the body.
pub(crate) fn message(status: u16, headers: &[(&str, &str)], stated: usize, body: &[u8]) -> Vec<u8> {
    let mut head = format!("HTTP/1.1 {status} Status\r\ncontent-length: {stated}\r\n");
    head.extend(headers.iter().flat_map(|(name, value)| [*name, ": ", *value, "\r\n"]));
    head.push_str("\r\n");
    [head.as_bytes(), body].concat()
}

/// The head of a body in chunks.
pub(crate) fn chunked_head(status: u16) -> Vec<u8> {
    format!("HTTP/1.1 {status} Status\r\ntransfer-encoding: chunked\r\n\r\n").into_bytes()
}

/// A chunk on the wire.
pub(crate) fn chunk(data: &[u8]) -> Vec<u8> {
    [format!("{:x}\r\n", data.len()).as_bytes(), data, b"\r\n"].concat()
}

/// A request as it arrived.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Received {
    pub(crate) method: String,
    pub(crate) target: String,
    pub(crate) version: String,
    /// The names are in lower case.
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Received {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(it, _)| it == name).map(|(_, value)| value.as_str())
    }

    pub(crate) fn body(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }
}

/// The server. Ends when dropped, with all its connections.
#[derive(Debug)]
pub(crate) struct Server {
    address: SocketAddr,
    shared: Arc<Shared>,
    accepting: JoinSet<()>,
    /// Holds the port while the server does not listen, so that connects are refused and no other test takes the
    /// port.
    reserved: Option<TcpSocket>,
}

#[derive(Debug, Default)]
struct Shared {
    /// The replies to come. The last reply is repeated.
    script: Mutex<VecDeque<Reply>>,
    received: Mutex<Vec<Received>>,
    serving: Mutex<JoinSet<()>>,
    connections: Mutex<usize>,
    requests: watch::Sender<usize>,
}

impl Server {
    /// A server that replies by this script; the last reply is repeated.
    pub(crate) fn new(script: impl IntoIterator<Item = Reply>) -> Self {
        let mut server = Self::absent();
        server.replies(script);
        server.listen();
        server
    }

    /// A server that does not listen, so that its port refuses connections.
    pub(crate) fn absent() -> Self {
        Self::absent_at(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).unwrap()
    }

    /// The same at this address. Fails if the address is in use.
    pub(crate) fn absent_at(address: SocketAddr) -> io::Result<Self> {
        let reserved = reserve(address)?;
        Ok(Self {
            address: reserved.local_addr()?,
            shared: Arc::default(),
            accepting: JoinSet::new(),
            reserved: Some(reserved),
        })
    }

    /// Replies by this script from now on.
    pub(crate) fn replies(&self, script: impl IntoIterator<Item = Reply>) {
        *lock(&self.shared.script) = script.into_iter().collect();
    }

    /// Accepts connections on the server's port, also after [`stop`](Self::stop).
    pub(crate) fn listen(&mut self) {
        let socket = self.reserved.take().expect("it does not listen yet");
        let listener = socket.listen(1024).unwrap();
        self.accepting.spawn(accept(listener, Arc::clone(&self.shared)));
    }

    /// Closes every connection, and refuses new connections.
    pub(crate) async fn stop(&mut self) {
        self.accepting.shutdown().await;
        let mut serving = std::mem::take(&mut *lock(&self.shared.serving));
        serving.shutdown().await;
        self.reserved = Some(reserve(self.address).unwrap());
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    pub(crate) fn connections(&self) -> usize {
        *lock(&self.shared.connections)
    }

    pub(crate) fn requests(&self) -> usize {
        *self.shared.requests.borrow()
    }

    /// Waits until so many requests have arrived.
    pub(crate) async fn has_received(&self, requests: usize) {
        self.shared.requests.subscribe().wait_for(|count| *count >= requests).await.unwrap();
    }

    pub(crate) fn received(&self) -> Vec<Received> {
        lock(&self.shared.received).clone()
    }

    /// The last request.
    pub(crate) fn last(&self) -> Received {
        self.received().pop().expect("a request")
    }
}

fn reserve(address: SocketAddr) -> io::Result<TcpSocket> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    Ok(socket)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap()
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    while let Ok((stream, _)) = listener.accept().await {
        *lock(&shared.connections) += 1;
        let connection = Arc::downgrade(&shared);
        lock(&shared.serving).spawn(async move {
            // The client may break a connection at any time.
            let _ = serve(stream, &connection).await;
        });
    }
}

async fn serve(mut stream: TcpStream, shared: &Weak<Shared>) -> io::Result<()> {
    let mut buffer = Vec::new();
    while let Some(request) = receive(&mut stream, &mut buffer).await? {
        let Some(shared) = shared.upgrade() else { return Ok(()) };
        lock(&shared.received).push(request);
        let reply = {
            let mut script = lock(&shared.script);
            if script.len() > 1 { script.pop_front() } else { script.front().cloned() }
        };
        shared.requests.send_modify(|count| *count += 1);
        drop(shared);
        match reply.expect("a script has a reply") {
            Reply::Answer(bytes) => stream.write_all(&bytes).await?,
            Reply::Close(bytes) => {
                stream.write_all(&bytes).await?;
                return stream.shutdown().await;
            }
            Reply::Reset => return stream.set_zero_linger(),
            Reply::Gate(first, gate, second) => {
                stream.write_all(&first).await?;
                gate.notified().await;
                stream.write_all(&second).await?;
            }
            Reply::Stall(bytes) => {
                stream.write_all(&bytes).await?;
                // Wait until the client closes the connection.
                while stream.read(&mut [0; 64]).await? > 0 {}
                return Ok(());
            }
        }
    }
    Ok(())
}

/// The next request; `None` when the client has closed the connection.
async fn receive(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> io::Result<Option<Received>> {
    let Some(head_end) = read_until(stream, buffer, b"\r\n\r\n").await? else { return Ok(None) };
    let head: Vec<u8> = buffer.drain(..head_end).collect();
    let head = String::from_utf8(head).expect("a head in ASCII");
    let mut lines = head.split("\r\n");
    let mut first = lines.next().unwrap_or_default().split(' ').map(str::to_owned);
    let mut part = || first.next().unwrap_or_default();
    let mut request = Received {
        method: part(),
        target: part(),
        version: part(),
        headers: lines
            .filter_map(|line| line.split_once(": "))
            .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
            .collect(),
        body: Vec::new(),
    };
    if request.header("transfer-encoding") == Some("chunked") {
        loop {
            let Some(line_end) = read_until(stream, buffer, b"\r\n").await? else { return Ok(None) };
            let line: Vec<u8> = buffer.drain(..line_end).collect();
            let line = std::str::from_utf8(&line).expect("a length in ASCII");
            let length = usize::from_str_radix(line.trim(), 16).expect("a length in hex");
            read_exactly(stream, buffer, length + 2).await?;
            request.body.extend(buffer.drain(..length + 2).take(length));
            if length == 0 {
                break;
            }
        }
    } else if let Some(length) = request.header("content-length").map(|it| it.parse().unwrap()) {
        read_exactly(stream, buffer, length).await?;
        request.body = buffer.drain(..length).collect();
    }
    Ok(Some(request))
}

/// Reads until the buffer contains `end`, and returns the position after `end`. `None` at the end of the connection.
async fn read_until(stream: &mut TcpStream, buffer: &mut Vec<u8>, end: &[u8]) -> io::Result<Option<usize>> {
    loop {
        if let Some(at) = buffer.windows(end.len()).position(|window| window == end) {
            return Ok(Some(at + end.len()));
        }
        if stream.read_buf(buffer).await? == 0 {
            return Ok(None);
        }
    }
}

async fn read_exactly(stream: &mut TcpStream, buffer: &mut Vec<u8>, length: usize) -> io::Result<()> {
    while buffer.len() < length {
        if stream.read_buf(buffer).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
    Ok(())
}
