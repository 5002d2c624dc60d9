//! A replica: a real HTTP server on loopback that fails, hangs, slows down, stops and starts on command.
//!
//! A started replica is a process: a listener and connections, which all hold a receiver of its orders. The process
//! has ended when no receiver is left.

use std::io;
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::Full;
use hyper::{body::Incoming, service::service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use rand::{RngExt as _, SeedableRng as _, rngs::SmallRng};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout};

/// The number of items: `GET /items/0`, `GET /items/1` …
pub const ITEMS: u32 = 20;

/// The time in milliseconds that a healthy replica takes for an answer.
pub const SERVICE_MS: RangeInclusive<u64> = 20..=50;

/// A slow replica takes this many times as long.
pub const SLOWNESS: u32 = 10;

/// A replica that is asked to stop ends after this time, with requests in flight or without.
const MAX_STOP: Duration = Duration::from_secs(1);

/// The body of `GET /items/N`.
pub fn item(id: u32) -> String {
    format!(r#"{{"id":{id},"name":"item number {id}","description":"{}"}}"#, ".".repeat(200))
}

/// How a replica treats a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Behaviour {
    Healthy,
    /// Answers 503 at once.
    Failing,
    /// Reads the request and never answers.
    Hanging,
    Slow,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Order {
    Serve,
    /// Ends when the requests in flight are answered.
    Finish,
    Die,
}

/// The arrivals at a replica.
#[derive(Debug, Clone, Default)]
pub struct Arrivals {
    pub connections: Vec<Instant>,
    pub requests: Vec<Instant>,
}

pub struct Replica {
    address: SocketAddr,
    site: Arc<Site>,
    process: Option<watch::Sender<Order>>,
}

/// The part of a replica that outlives its process.
struct Site {
    behaviour: watch::Sender<Behaviour>,
    arrivals: Mutex<Arrivals>,
    chance: Mutex<SmallRng>,
}

// ===== impl Replica =====

impl Replica {
    pub fn new(address: SocketAddr, seed: u64) -> Self {
        let site = Site {
            behaviour: watch::Sender::new(Behaviour::Healthy),
            arrivals: Mutex::default(),
            chance: Mutex::new(SmallRng::seed_from_u64(seed)),
        };
        Self { address, site: Arc::new(site), process: None }
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Listens, on the same address each time.
    pub fn start(&mut self) -> io::Result<()> {
        let listener = listen(self.address)?;
        let (sender, orders) = watch::channel(Order::Serve);
        tokio::spawn(accept(listener, Arc::clone(&self.site), orders));
        self.process = Some(sender);
        Ok(())
    }

    /// Changes the behaviour. The change aborts hanging requests.
    pub fn behave(&self, behaviour: Behaviour) {
        self.site.behaviour.send_replace(behaviour);
    }

    /// Stops listening, lets the requests in flight finish, and returns when the connections are closed.
    pub async fn stop(&mut self) {
        let Some(process) = self.process.take() else { return };
        process.send_replace(Order::Finish);
        if timeout(MAX_STOP, process.closed()).await.is_err() {
            process.send_replace(Order::Die);
            process.closed().await;
        }
    }

    pub fn arrivals(&self) -> Arrivals {
        self.site.arrivals().clone()
    }

    /// The number of requests that have arrived since this time.
    pub fn requests_since(&self, time: Instant) -> usize {
        self.site.arrivals().requests.iter().rev().take_while(|arrival| **arrival >= time).count()
    }
}

fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = TcpSocket::new_v4()?;
    // Connections of the previous process may be in TIME_WAIT.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(1024)
}

// ===== impl Site =====

impl Site {
    fn arrivals(&self) -> MutexGuard<'_, Arrivals> {
        self.arrivals.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Answers a request. An error closes the connection.
    async fn answer(&self, request: Request<Incoming>) -> io::Result<Response<Full<Bytes>>> {
        self.arrivals().requests.push(Instant::now());
        let Some(id) = request.uri().path().strip_prefix("/items/").and_then(|id| id.parse().ok()) else {
            return Ok(respond(StatusCode::NOT_FOUND, String::new()));
        };
        let behaviour = *self.behaviour.borrow();
        match behaviour {
            Behaviour::Healthy => sleep(self.service_time()).await,
            Behaviour::Slow => sleep(self.service_time() * SLOWNESS).await,
            Behaviour::Failing => return Ok(respond(StatusCode::SERVICE_UNAVAILABLE, String::new())),
            Behaviour::Hanging => {
                let _ = self.behaviour.subscribe().wait_for(|it| *it != Behaviour::Hanging).await;
                return Err(io::ErrorKind::ConnectionAborted.into());
            }
        }
        Ok(respond(StatusCode::OK, item(id)))
    }

    fn service_time(&self) -> Duration {
        let mut chance = self.chance.lock().unwrap_or_else(PoisonError::into_inner);
        Duration::from_millis(chance.random_range(SERVICE_MS))
    }
}

fn respond(status: StatusCode, body: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::from(body));
    *response.status_mut() = status;
    response
}

// ===== the process =====

async fn accept(listener: TcpListener, site: Arc<Site>, mut orders: watch::Receiver<Order>) {
    loop {
        tokio::select! {
            biased;
            _ = next(&mut orders) => return,
            accepted = listener.accept() => {
                if let Ok((stream, _)) = accepted {
                    site.arrivals().connections.push(Instant::now());
                    tokio::spawn(serve(stream, Arc::clone(&site), orders.clone()));
                }
            }
        }
    }
}

async fn serve(stream: TcpStream, site: Arc<Site>, mut orders: watch::Receiver<Order>) {
    let _ = stream.set_nodelay(true);
    let service = service_fn(move |request| {
        let site = Arc::clone(&site);
        async move { site.answer(request).await }
    });
    let builder = auto::Builder::new(TokioExecutor::new());
    let mut connection = pin!(builder.serve_connection(TokioIo::new(stream), service));
    loop {
        tokio::select! {
            biased;
            order = next(&mut orders) => match order {
                Order::Serve => {}
                Order::Finish => connection.as_mut().graceful_shutdown(),
                Order::Die => return,
            },
            // Errors of a connection are the client's to judge.
            _ = connection.as_mut() => return,
        }
    }
}

/// Waits for the next order. The process of a dropped replica dies.
async fn next(orders: &mut watch::Receiver<Order>) -> Order {
    match orders.changed().await {
        Ok(()) => *orders.borrow_and_update(),
        Err(_) => Order::Die,
    }
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, TcpListener};

    use super::*;

    async fn get(address: SocketAddr) -> reqwest::Result<StatusCode> {
        let http = reqwest::Client::builder().no_proxy().build()?;
        let response = http.get(format!("http://{address}/items/7")).send().await?;
        Ok(response.status())
    }

    fn started() -> Replica {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let mut replica = Replica::new(listener.local_addr().unwrap(), 1);
        drop(listener);
        replica.start().unwrap();
        replica
    }

    #[tokio::test]
    async fn a_replica_that_stops_finishes_its_requests_and_starts_again_at_its_address() {
        let mut replica = started();
        replica.behave(Behaviour::Slow);
        let asked = tokio::spawn(get(replica.address()));
        sleep(Duration::from_millis(100)).await;
        replica.stop().await;
        assert_eq!(asked.await.unwrap().unwrap(), StatusCode::OK);
        assert!(get(replica.address()).await.unwrap_err().is_connect());
        replica.start().unwrap();
        assert_eq!(get(replica.address()).await.unwrap(), StatusCode::OK);
        assert_eq!((replica.arrivals().connections.len(), replica.arrivals().requests.len()), (2, 2));
    }

    #[tokio::test]
    async fn a_request_hangs_until_the_behaviour_changes() {
        let replica = started();
        replica.behave(Behaviour::Hanging);
        let recover = async {
            sleep(Duration::from_millis(200)).await;
            replica.behave(Behaviour::Failing);
        };
        let before = Instant::now();
        let (hung, ()) = tokio::join!(get(replica.address()), recover);
        assert!(hung.is_err() && before.elapsed() >= Duration::from_millis(200));
        assert_eq!(get(replica.address()).await.unwrap(), StatusCode::SERVICE_UNAVAILABLE);
    }
}
