//! A real HTTP server on loopback with a scripted behaviour.

use std::convert::Infallible;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use http::header::{CONTENT_LENGTH, RETRY_AFTER};
use http::{Request, Response, StatusCode};
use http_body::Frame;
use http_body_util::{BodyExt as _, Full, StreamBody, combinators::BoxBody};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use rand::{RngExt as _, SeedableRng as _, rngs::SmallRng};
use tokio::net::{TcpListener, TcpSocket};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::Instant;

use crate::script::Behaviour;

/// The number of items: `GET /items/0`, `GET /items/1` …
pub const ITEMS: u32 = 20;

/// The body of `GET /items/N`.
pub fn item(id: u32) -> String {
    let stock = id * 7919 % 100;
    format!(r#"{{"id":{id},"name":"item number {id}","description":"{}","stock":{stock}}}"#, ".".repeat(200))
}

/// A server that keeps its address even while it does not listen.
pub struct Server {
    address: SocketAddr,
    state: Arc<ServerState>,
    port: Port,
}

/// The state shared by all connections.
struct ServerState {
    behaviour: watch::Sender<Behaviour>,
    arrivals: Mutex<Vec<Instant>>,
    chance: Mutex<SmallRng>,
}

enum Port {
    /// The serving task. It returns a bound socket that does not listen when the behaviour becomes `Refusing`.
    Listening(JoinHandle<io::Result<TcpSocket>>),
    /// Bound, so that no other process takes the port, but not listening, so that the kernel refuses connections.
    Reserved(TcpSocket),
    /// The transient state during a change.
    Changing,
}

impl Server {
    pub fn start(seed: u64) -> io::Result<Self> {
        let socket = bind((Ipv4Addr::LOCALHOST, 0).into())?;
        let state = ServerState {
            behaviour: watch::Sender::new(Behaviour::Healthy),
            arrivals: Mutex::default(),
            chance: Mutex::new(SmallRng::seed_from_u64(seed)),
        };
        let address = socket.local_addr()?;
        Ok(Self { address, state: Arc::new(state), port: Port::Reserved(socket) })
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Changes the behaviour. Hanging requests are aborted by the change.
    pub async fn play(&mut self, behaviour: Behaviour) -> io::Result<()> {
        self.state.behaviour.send_replace(behaviour);
        self.port = match std::mem::replace(&mut self.port, Port::Changing) {
            Port::Listening(task) if behaviour == Behaviour::Refusing => Port::Reserved(task.await??),
            Port::Reserved(socket) if behaviour != Behaviour::Refusing => {
                let listener = socket.listen(1024)?;
                Port::Listening(tokio::spawn(serve(listener, self.address, Arc::clone(&self.state))))
            }
            port => port,
        };
        Ok(())
    }

    /// The arrival times of the requests so far.
    pub fn arrivals(&self) -> Vec<Instant> {
        self.state.arrivals.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

fn bind(address: SocketAddr) -> io::Result<TcpSocket> {
    let socket = TcpSocket::new_v4()?;
    // Without this option, the port cannot be bound again while old connections are in TIME_WAIT.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    Ok(socket)
}

/// Serves until the behaviour becomes `Refusing`. Then drops every connection and returns a bound socket.
async fn serve(listener: TcpListener, address: SocketAddr, state: Arc<ServerState>) -> io::Result<TcpSocket> {
    let mut behaviour = state.behaviour.subscribe();
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                let Ok((stream, _)) = accepted else { continue };
                let state = Arc::clone(&state);
                connections.spawn(async move {
                    let service = service_fn(|request| state.answer(request));
                    // Errors of a connection are the client's to judge.
                    let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
                });
            }
            Some(_) = connections.join_next() => {}
            _ = behaviour.wait_for(|it| *it == Behaviour::Refusing) => break,
        }
    }
    drop(listener);
    connections.shutdown().await;
    bind(address)
}

// ===== impl ServerState =====

type Body = BoxBody<Bytes, io::Error>;

impl ServerState {
    /// Answers a request. An error closes the connection.
    async fn answer(&self, request: Request<Incoming>) -> io::Result<Response<Body>> {
        self.arrivals.lock().unwrap_or_else(PoisonError::into_inner).push(Instant::now());
        let Some(id) = request.uri().path().strip_prefix("/items/").and_then(|id| id.parse().ok()) else {
            return Ok(empty(StatusCode::NOT_FOUND));
        };
        let behaviour = *self.behaviour.borrow();
        match behaviour {
            Behaviour::Unavailable { percent } if self.happens(percent) => {
                let mut response = empty(StatusCode::SERVICE_UNAVAILABLE);
                response.headers_mut().insert(RETRY_AFTER, 1.into());
                return Ok(response);
            }
            Behaviour::CuttingShort { percent } if self.happens(percent) => return Ok(half(item(id))),
            Behaviour::Slow(delay) => tokio::time::sleep(delay).await,
            Behaviour::Hanging | Behaviour::Refusing => {
                let _ = self.behaviour.subscribe().wait_for(|it| *it != behaviour).await;
                return Err(io::ErrorKind::ConnectionAborted.into());
            }
            Behaviour::Healthy | Behaviour::Unavailable { .. } | Behaviour::CuttingShort { .. } => {}
        }
        Ok(Response::new(whole(item(id))))
    }

    fn happens(&self, percent: u32) -> bool {
        self.chance.lock().unwrap_or_else(PoisonError::into_inner).random_ratio(percent, 100)
    }
}

fn whole(content: String) -> Body {
    Full::from(content).map_err(|never: Infallible| match never {}).boxed()
}

fn empty(status: StatusCode) -> Response<Body> {
    let mut response = Response::new(whole(String::new()));
    *response.status_mut() = status;
    response
}

/// A response that announces the whole content and fails after half of it.
fn half(content: String) -> Response<Body> {
    let length = content.len();
    let first = Bytes::from(content).slice(..length / 2);
    let body = stream::iter([Ok(Frame::data(first))]).chain(stream::once(async {
        // The pause lets hyper send the written half: a body that fails at once would discard it.
        tokio::time::sleep(Duration::from_millis(1)).await;
        Err(io::ErrorKind::ConnectionAborted.into())
    }));
    let mut response = Response::new(BoxBody::new(StreamBody::new(body)));
    response.headers_mut().insert(CONTENT_LENGTH, length.into());
    response
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clients;

    /// What a bare client gets for item 7 from a server that was healthy, for it to have a connection, and then
    /// behaves like this.
    async fn ask(behaviour: Behaviour) -> (Server, reqwest::Client, reqwest::Result<reqwest::Response>) {
        let (mut server, http) = (Server::start(1).unwrap(), clients::bare().unwrap());
        server.play(Behaviour::Healthy).await.unwrap();
        let url = format!("http://{}/items/7", server.address());
        assert_eq!(http.get(&url).send().await.unwrap().text().await.unwrap(), item(7));
        server.play(behaviour).await.unwrap();
        let result = http.get(url).send().await;
        (server, http, result)
    }

    #[tokio::test]
    async fn a_server_that_refuses_comes_back_at_its_address() {
        let (mut server, http, refused) = ask(Behaviour::Refusing).await;
        assert!(refused.unwrap_err().is_connect());
        server.play(Behaviour::Healthy).await.unwrap();
        let url = format!("http://{}/items/7", server.address());
        assert_eq!(http.get(url).send().await.unwrap().text().await.unwrap(), item(7));
        assert_eq!(server.arrivals().len(), 2);
    }

    #[tokio::test]
    async fn a_body_that_is_cut_short_follows_a_good_head() {
        let (_server, _http, cut) = ask(Behaviour::CuttingShort { percent: 100 }).await;
        let mut cut = cut.unwrap();
        assert_eq!((cut.status(), cut.content_length()), (StatusCode::OK, Some(item(7).len() as u64)));
        assert_eq!(cut.chunk().await.unwrap().unwrap().len(), item(7).len() / 2);
        assert!(cut.chunk().await.is_err());
    }

    #[tokio::test]
    async fn an_unavailable_server_sends_retry_after() {
        let (_server, _http, unavailable) = ask(Behaviour::Unavailable { percent: 100 }).await;
        let unavailable = unavailable.unwrap();
        assert_eq!(
            (unavailable.status(), &unavailable.headers()[RETRY_AFTER]),
            (StatusCode::SERVICE_UNAVAILABLE, &1.into())
        );
    }
}
