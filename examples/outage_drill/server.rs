//! A real HTTP server on loopback that behaves as it is told.

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

/// How many items there are: `GET /items/0`, `GET /items/1` …
pub const ITEMS: u32 = 20;

/// What `GET /items/N` answers.
pub fn item(id: u32) -> String {
    let stock = id * 7919 % 100;
    format!(r#"{{"id":{id},"name":"item number {id}","description":"{}","stock":{stock}}}"#, ".".repeat(200))
}

/// A server at an address that it keeps, whether it listens there or not.
pub struct Server {
    address: SocketAddr,
    stage: Arc<Stage>,
    port: Port,
}

/// What the connections share.
struct Stage {
    behaviour: watch::Sender<Behaviour>,
    arrivals: Mutex<Vec<Instant>>,
    chance: Mutex<SmallRng>,
}

enum Port {
    /// Gives back the address, no longer listening, when it is told to refuse.
    Listening(JoinHandle<io::Result<TcpSocket>>),
    /// Bound, so that nobody else takes it, and refused by the kernel, since nobody listens.
    Reserved(TcpSocket),
    /// Between the two.
    Changing,
}

impl Server {
    pub fn start(seed: u64) -> io::Result<Self> {
        let socket = bind((Ipv4Addr::LOCALHOST, 0).into())?;
        let stage = Stage {
            behaviour: watch::Sender::new(Behaviour::Healthy),
            arrivals: Mutex::default(),
            chance: Mutex::new(SmallRng::seed_from_u64(seed)),
        };
        let address = socket.local_addr()?;
        Ok(Self { address, stage: Arc::new(stage), port: Port::Reserved(socket) })
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Behaves like this from now on. Calls that hang are cut off by the change.
    pub async fn play(&mut self, behaviour: Behaviour) -> io::Result<()> {
        self.stage.behaviour.send_replace(behaviour);
        self.port = match std::mem::replace(&mut self.port, Port::Changing) {
            Port::Listening(task) if behaviour == Behaviour::Refusing => Port::Reserved(task.await??),
            Port::Reserved(socket) if behaviour != Behaviour::Refusing => {
                let listener = socket.listen(1024)?;
                Port::Listening(tokio::spawn(serve(listener, self.address, Arc::clone(&self.stage))))
            }
            port => port,
        };
        Ok(())
    }

    /// When each request arrived so far.
    pub fn arrivals(&self) -> Vec<Instant> {
        self.stage.arrivals.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

fn bind(address: SocketAddr) -> io::Result<TcpSocket> {
    let socket = TcpSocket::new_v4()?;
    // Without it the port is not to be had again while old connections time out.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    Ok(socket)
}

/// Serves until it is told to refuse; then drops every connection and stops listening.
async fn serve(listener: TcpListener, address: SocketAddr, stage: Arc<Stage>) -> io::Result<TcpSocket> {
    let mut behaviour = stage.behaviour.subscribe();
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                let Ok((stream, _)) = accepted else { continue };
                let stage = Arc::clone(&stage);
                connections.spawn(async move {
                    let service = service_fn(|request| stage.answer(request));
                    // How a connection ends is the client's to judge.
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

// ===== impl Stage =====

type Body = BoxBody<Bytes, io::Error>;

impl Stage {
    /// An error closes the connection.
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

/// Promises the whole, and breaks off in the middle.
fn half(content: String) -> Response<Body> {
    let length = content.len();
    let first = Bytes::from(content).slice(..length / 2);
    let body = stream::iter([Ok(Frame::data(first))]).chain(stream::once(async {
        // What has been written is sent while this waits; a body that fails at once takes it along.
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
    async fn a_server_that_is_unavailable_says_for_how_long() {
        let (_server, _http, unavailable) = ask(Behaviour::Unavailable { percent: 100 }).await;
        let unavailable = unavailable.unwrap();
        assert_eq!(
            (unavailable.status(), &unavailable.headers()[RETRY_AFTER]),
            (StatusCode::SERVICE_UNAVAILABLE, &1.into())
        );
    }
}
