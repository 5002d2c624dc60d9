//! A balancer of layer 4 on loopback, as kube-proxy is for a `ClusterIP`: many instances behind one address.
//!
//! The balancer chooses a replica at random for each connection. It then copies bytes in both directions, and knows
//! nothing of the requests in them.
//!
//! - The end of a direction is passed on as the end of that direction. A reset is passed on as a reset.
//! - A frozen connection reads what the client sends, and throws it away. It learns only in this way that the client
//!   has closed the connection.

use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::Notify;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::sleep;

/// A balancer by connection: each connection goes to one replica, whatever it carries.
///
/// Dropping the balancer closes the listener and every connection.
#[derive(Debug)]
pub struct Balancer {
    address: SocketAddr,
    shared: Arc<Shared>,
    accepting: JoinHandle<()>,
}

#[derive(Debug)]
struct Shared(Mutex<State>);

#[derive(Debug)]
struct State {
    replicas: Vec<SocketAddr>,
    chance: Chance,
    open: Vec<Arc<Wire>>,
    opened: u64,
    most_open: usize,
}

/// An open connection.
#[derive(Debug, Default)]
struct Wire {
    forwarded: AtomicU64,
    /// Notified once, if at all.
    freeze: Notify,
}

/// `SplitMix64`.
#[derive(Debug)]
struct Chance(u64);

// ===== impl Balancer =====

impl Balancer {
    /// Listens, and spawns the task that accepts. Must be called within a Tokio runtime.
    pub fn start(listen: SocketAddr, replicas: Vec<SocketAddr>, seed: u64) -> io::Result<Self> {
        let socket = if listen.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
        // Connections of a previous balancer may be in TIME_WAIT.
        socket.set_reuseaddr(true)?;
        socket.bind(listen)?;
        let listener = socket.listen(1024)?;
        let address = listener.local_addr()?;
        let state = State { replicas, chance: Chance(seed), open: Vec::new(), opened: 0, most_open: 0 };
        let shared = Arc::new(Shared(Mutex::new(state)));
        let accepting = tokio::spawn(accept(listener, Arc::clone(&shared)));
        Ok(Self { address, shared, accepting })
    }

    /// The address that clients connect to.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Replaces the replicas of new connections. Open connections stay where they are.
    pub fn set_replicas(&self, replicas: Vec<SocketAddr>) {
        self.shared.state().replicas = replicas;
    }

    /// The number of connections accepted so far.
    pub fn opened(&self) -> u64 {
        self.shared.state().opened
    }

    /// The number of connections that are open now.
    pub fn open(&self) -> usize {
        self.shared.state().open.len()
    }

    /// The largest number of connections that were open at a time, since the start or the last reset.
    pub fn most_open(&self) -> usize {
        self.shared.state().most_open
    }

    /// Begins a new maximum, at the number of connections that are open now.
    pub fn reset_most_open(&self) {
        let mut state = self.shared.state();
        state.most_open = state.open.len();
    }

    /// Freezes the open connection that has forwarded the most bytes: it stays open, and forwards nothing any more.
    pub fn freeze_busiest(&self) {
        let state = self.shared.state();
        if let Some(wire) = state.open.iter().max_by_key(|wire| wire.forwarded.load(Ordering::Relaxed)) {
            wire.freeze.notify_one();
            // The next freeze takes another connection.
            wire.forwarded.store(0, Ordering::Relaxed);
        }
    }
}

impl Drop for Balancer {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

// ===== impl Shared =====

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn open(&self) -> Arc<Wire> {
        let wire = Arc::<Wire>::default();
        let mut state = self.state();
        state.open.push(Arc::clone(&wire));
        state.opened += 1;
        state.most_open = state.most_open.max(state.open.len());
        wire
    }

    fn close(&self, wire: &Arc<Wire>) {
        self.state().open.retain(|open| !Arc::ptr_eq(open, wire));
    }

    /// All replicas, in random order.
    fn shuffled(&self) -> Vec<SocketAddr> {
        let mut state = self.state();
        let mut replicas = state.replicas.clone();
        for last in (1..replicas.len()).rev() {
            replicas.swap(last, state.chance.below(last + 1));
        }
        replicas
    }
}

// ===== impl Chance =====

impl Chance {
    #[allow(clippy::cast_possible_truncation)] // A remainder fits the type of its divisor.
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.0;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((bits ^ (bits >> 31)) % limit as u64) as usize
    }
}

// ===== connections =====

/// Accepts until the balancer is dropped. The set of connections ends with this task.
async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((client, _)) => drop(connections.spawn(serve(client, Arc::clone(&shared)))),
                // The process has no file descriptor left.
                Err(_) => sleep(Duration::from_millis(10)).await,
            },
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn serve(mut client: TcpStream, shared: Arc<Shared>) {
    let wire = shared.open();
    if let Some(replica) = connect(shared.shuffled()).await {
        let _ = client.set_nodelay(true);
        let _ = replica.set_nodelay(true);
        join(&mut client, replica, &wire).await;
    } else {
        let _ = client.set_zero_linger();
    }
    shared.close(&wire);
}

/// Forwards until the connection ends or freezes. A frozen connection ends when its client closes it.
async fn join(client: &mut TcpStream, mut replica: TcpStream, wire: &Wire) {
    let forwarded = tokio::select! {
        biased;
        () = wire.freeze.notified() => None,
        forwarded = forward(client, &mut replica, &wire.forwarded) => Some(forwarded),
    };
    match forwarded {
        Some(Ok(())) => {}
        Some(Err(_)) => {
            let _ = client.set_zero_linger();
            let _ = replica.set_zero_linger();
        }
        None => discard(client).await,
    }
}

/// Connects to the first replica that does not refuse.
async fn connect(replicas: Vec<SocketAddr>) -> Option<TcpStream> {
    for replica in replicas {
        if let Ok(stream) = TcpStream::connect(replica).await {
            return Some(stream);
        }
    }
    None
}

/// Copies both directions until both have ended. An error means that one side was reset.
async fn forward(client: &mut TcpStream, replica: &mut TcpStream, forwarded: &AtomicU64) -> io::Result<()> {
    let (from_client, to_client) = client.split();
    let (from_replica, to_replica) = replica.split();
    let requests = copy(from_client, to_replica, forwarded);
    let answers = copy(from_replica, to_client, forwarded);
    tokio::try_join!(requests, answers)?;
    Ok(())
}

async fn copy(mut from: ReadHalf<'_>, mut to: WriteHalf<'_>, forwarded: &AtomicU64) -> io::Result<()> {
    let mut buffer = vec![0; 16 * 1024];
    loop {
        let length = from.read(&mut buffer).await?;
        if length == 0 {
            return to.shutdown().await;
        }
        to.write_all(&buffer[..length]).await?;
        forwarded.fetch_add(length as u64, Ordering::Relaxed);
    }
}

/// Reads until the client closes.
async fn discard(client: &mut TcpStream) {
    let mut buffer = vec![0; 16 * 1024];
    while client.read(&mut buffer).await.is_ok_and(|length| length > 0) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A balancer, its replica, and a connection from a client to the replica.
    async fn connected() -> (Balancer, TcpListener, TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let replicas = vec![listener.local_addr().unwrap()];
        let balancer = Balancer::start(([127, 0, 0, 1], 0).into(), replicas, 1).unwrap();
        let client = TcpStream::connect(balancer.address()).await.unwrap();
        let (replica, _) = listener.accept().await.unwrap();
        (balancer, listener, client, replica)
    }

    async fn is_reset(mut client: TcpStream) -> bool {
        client.read_u8().await.is_err_and(|error| error.kind() == io::ErrorKind::ConnectionReset)
    }

    #[tokio::test]
    async fn each_direction_ends_alone() {
        let (balancer, _listener, mut client, mut replica) = connected().await;
        client.write_u8(1).await.unwrap();
        client.shutdown().await.unwrap();
        assert_eq!(replica.read_to_end(&mut Vec::new()).await.unwrap(), 1);
        replica.write_u8(2).await.unwrap();
        assert_eq!((client.read_u8().await.unwrap(), balancer.open()), (2, 1));
        drop(replica);
        assert_eq!(client.read_to_end(&mut Vec::new()).await.unwrap(), 0);
    }

    #[tokio::test]
    async fn a_reset_and_a_refusal_reset_the_client() {
        let (balancer, listener, client, replica) = connected().await;
        replica.set_zero_linger().unwrap();
        drop(replica);
        assert!(is_reset(client).await);
        drop(listener);
        assert!(is_reset(TcpStream::connect(balancer.address()).await.unwrap()).await);
        assert_eq!(balancer.opened(), 2);
    }

    #[tokio::test]
    async fn a_frozen_connection_forwards_nothing_and_stays_open() {
        let (balancer, _listener, mut client, mut replica) = connected().await;
        balancer.freeze_busiest();
        client.write_u8(1).await.unwrap();
        let silence = tokio::time::timeout(Duration::from_millis(50), replica.read_u8()).await;
        assert!(silence.is_err() && balancer.open() == 1);
        drop(client);
        assert!(replica.read_u8().await.is_err() && balancer.open() == 0);
    }
}
