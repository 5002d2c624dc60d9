//! A replica: a server that breaks, stops and starts on command.
//!
//! A started replica is a process: a listener, connections and tasks, which all hold a receiver of its orders. The
//! process has ended when no receiver is left.

use std::future::pending;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::rt::Executor;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use hyper_util::server::conn::auto;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout};

use super::records::Records;
use super::stream::Stream;
use crate::BoxError;

/// The header with the id of the call. An answer repeats it.
pub(super) const ID: &str = "x-id";

/// The body of every answer with status 200.
pub(super) const BODY: &[u8] = b"fresh";

/// A process that is asked to stop is killed after this time.
const MAX_STOP: Duration = Duration::from_secs(2);

/// The answers of a replica.
#[derive(Debug, Clone, Copy)]
pub(super) enum Behaviour {
    /// 200 after the delay.
    Healthy,
    /// 200 after ten times the delay.
    Slow,
    /// 503 at once.
    Fail,
    /// 503 at once to every second request.
    HalfFail,
    /// The request is read, and never answered.
    Hang,
}

/// An order to a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Order {
    Serve,
    /// Ends when the requests in flight are answered.
    Finish,
    /// Ends at once, as by SIGKILL: connections are reset.
    Die,
}

/// The time that a kill took. Before it, every connection was open, and after it, none.
#[derive(Debug, Clone, Copy)]
pub(super) struct Kill {
    pub(super) replica: usize,
    pub(super) from: Instant,
    pub(super) until: Instant,
}

#[derive(Debug)]
struct Site {
    number: usize,
    delay: Duration,
    behaviour: Mutex<Behaviour>,
    /// The number of requests during [`Behaviour::HalfFail`].
    half_failing: AtomicU64,
    records: Arc<Records>,
}

#[derive(Debug)]
pub(super) struct Replica {
    address: SocketAddr,
    site: Arc<Site>,
    process: Option<watch::Sender<Order>>,
}

// ===== impl Replica =====

impl Replica {
    pub(super) fn new(number: usize, address: SocketAddr, delay: Duration, records: Arc<Records>) -> Self {
        let behaviour = Mutex::new(Behaviour::Healthy);
        let site = Site { number, delay, behaviour, half_failing: AtomicU64::new(0), records };
        Self { address, site: Arc::new(site), process: None }
    }

    /// Listens, on the same address each time.
    pub(super) fn start(&mut self) -> Result<(), BoxError> {
        let socket = TcpSocket::new_v4()?;
        // Connections of the previous process may be in TIME_WAIT.
        socket.set_reuseaddr(true)?;
        socket.bind(self.address)?;
        let (sender, orders) = watch::channel(Order::Serve);
        tokio::spawn(accept(socket.listen(1024)?, Arc::clone(&self.site), orders));
        self.process = Some(sender);
        Ok(())
    }

    pub(super) fn behave(&self, behaviour: Behaviour) {
        *self.site.behaviour.lock().expect("not poisoned") = behaviour;
    }

    /// Stops listening, lets the connections finish, and returns when they are closed.
    pub(super) async fn stop_gracefully(&mut self) {
        let Some(process) = self.process.take() else { return };
        process.send_replace(Order::Finish);
        if timeout(MAX_STOP, process.closed()).await.is_err() {
            process.send_replace(Order::Die);
            process.closed().await;
        }
    }

    /// Closes the listener and all connections at once.
    pub(super) async fn kill(&mut self) -> Kill {
        let from = Instant::now();
        if let Some(process) = self.process.take() {
            process.send_replace(Order::Die);
            process.closed().await;
        }
        Kill { replica: self.site.number, from, until: Instant::now() }
    }
}

// ===== impl Site =====

impl Site {
    async fn answer(&self, request: Request<Incoming>) -> Result<Response<Full<Bytes>>, hyper::Error> {
        let (head, body) = request.into_parts();
        let id = head.headers.get(ID).and_then(|id| id.to_str().ok()?.parse().ok()).unwrap_or(0);
        let entry = self.records.receive(self.number, id);
        body.collect().await?;
        let delay = match self.next_behaviour() {
            Behaviour::Healthy | Behaviour::HalfFail => self.delay,
            Behaviour::Slow => self.delay * 10,
            Behaviour::Hang => pending().await,
            Behaviour::Fail => {
                self.records.answer(entry);
                return Ok(respond(StatusCode::SERVICE_UNAVAILABLE, id, b""));
            }
        };
        if head.method == http::Method::POST {
            self.records.carry_out(entry);
        }
        sleep(delay).await;
        self.records.answer(entry);
        Ok(respond(StatusCode::OK, id, BODY))
    }

    /// The behaviour towards a request. Half a failure is a failure or none.
    fn next_behaviour(&self) -> Behaviour {
        let behaviour = *self.behaviour.lock().expect("not poisoned");
        match behaviour {
            Behaviour::HalfFail if self.half_failing.fetch_add(1, Ordering::Relaxed) % 2 == 0 => {
                Behaviour::Fail
            }
            behaviour => behaviour,
        }
    }
}

fn respond(status: StatusCode, id: u64, body: &'static [u8]) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from_static(body)));
    *response.status_mut() = status;
    response.headers_mut().insert(ID, id.into());
    response
}

// ===== the process =====

async fn accept(listener: TcpListener, site: Arc<Site>, mut orders: watch::Receiver<Order>) {
    loop {
        tokio::select! {
            biased;
            _ = next(&mut orders) => return,
            accepted = listener.accept() => {
                if let Ok((tcp, _)) = accepted {
                    tokio::spawn(serve(tcp, Arc::clone(&site), orders.clone()));
                }
            }
        }
    }
}

async fn serve(tcp: TcpStream, site: Arc<Site>, mut orders: watch::Receiver<Order>) {
    let service = service_fn(move |request| {
        let site = Arc::clone(&site);
        async move { site.answer(request).await }
    });
    let stream = TokioIo::new(Stream::new(tcp, orders.clone()));
    let builder = auto::Builder::new(Tasks(orders.clone()));
    let mut connection = pin!(builder.serve_connection(stream, service));
    loop {
        tokio::select! {
            biased;
            order = next(&mut orders) => match order {
                Order::Serve => {}
                Order::Finish => connection.as_mut().graceful_shutdown(),
                Order::Die => return,
            },
            // A client may break a connection at any time.
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

/// Spawns the tasks of HTTP/2 streams. The tasks end with their process.
#[derive(Debug, Clone)]
struct Tasks(watch::Receiver<Order>);

impl<F> Executor<F> for Tasks
where
    F: Future<Output = ()> + Send + 'static,
{
    fn execute(&self, task: F) {
        let mut orders = self.0.clone();
        tokio::spawn(async move {
            tokio::select! {
                biased;
                () = death(&mut orders) => {}
                () = task => {}
            }
        });
    }
}

async fn death(orders: &mut watch::Receiver<Order>) {
    let _ = orders.wait_for(|order| *order == Order::Die).await;
}
