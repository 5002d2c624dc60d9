//! The replicas and their name.

use std::cmp::Reverse;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;

use super::names::{HOST, Names};
use super::records::{Records, Request};
use super::replica::{Behaviour, Kill, Replica};
use super::scenario::Window;
use crate::BoxError;

/// Replicas at one port of several addresses, and the name that stands for them.
#[derive(Debug)]
pub(super) struct Stage {
    replicas: Vec<Replica>,
    port: u16,
    names: Arc<Names>,
    records: Arc<Records>,
}

impl Stage {
    /// Starts the replicas. The name has no addresses yet.
    pub(super) fn open(replicas: usize, delay: Duration) -> Result<Self, BoxError> {
        let port = free_port(replicas)?;
        let records = Arc::<Records>::default();
        let mut replicas: Vec<Replica> = (0..replicas)
            .map(|number| {
                Replica::new(number, SocketAddr::new(address(number), port), delay, Arc::clone(&records))
            })
            .collect();
        replicas.iter_mut().try_for_each(Replica::start)?;
        Ok(Self { replicas, port, names: Arc::default(), records })
    }

    pub(super) fn url(&self) -> String {
        format!("http://{HOST}:{}/", self.port)
    }

    pub(super) fn names(&self) -> &Arc<Names> {
        &self.names
    }

    /// Makes the name stand for the first replicas.
    pub(super) fn name_first(&self, replicas: usize) {
        self.names.set((0..replicas).map(address).collect());
    }

    /// Changes the answers of some replicas.
    pub(super) fn behave(&self, replicas: &[usize], behaviour: Behaviour) {
        for &number in replicas {
            self.replicas[number].behave(behaviour);
        }
    }

    /// The replicas, in the order of their requests in the window, most requests first.
    pub(super) fn busiest_first(&self, window: Window) -> Vec<usize> {
        let mut received = vec![0; self.len()];
        for request in self.requests().iter().filter(|request| window.contains(request.received)) {
            received[request.replica] += 1;
        }
        let mut numbers: Vec<usize> = (0..self.len()).collect();
        numbers.sort_by_key(|&number| Reverse(received[number]));
        numbers
    }

    pub(super) fn len(&self) -> usize {
        self.replicas.len()
    }

    pub(super) fn replica(&mut self, number: usize) -> &mut Replica {
        &mut self.replicas[number]
    }

    /// Kills some replicas at the same time.
    pub(super) async fn kill(&mut self, numbers: &[usize]) -> Vec<Kill> {
        let replicas = self.replicas.iter_mut().enumerate();
        let killed = replicas.filter(|(number, _)| numbers.contains(number));
        join_all(killed.map(|(_, replica)| replica.kill())).await
    }

    /// The numbers of all replicas.
    pub(super) fn all(&self) -> Vec<usize> {
        (0..self.len()).collect()
    }

    pub(super) fn start_all(&mut self) -> Result<(), BoxError> {
        self.replicas.iter_mut().try_for_each(Replica::start)
    }

    pub(super) fn requests(&self) -> Vec<Request> {
        self.records.all()
    }
}

fn address(number: usize) -> IpAddr {
    let last = u8::try_from(number + 1).expect("a few replicas");
    IpAddr::V4(Ipv4Addr::new(127, 0, 77, last))
}

/// A port that is free at the address of each replica.
fn free_port(replicas: usize) -> Result<u16, BoxError> {
    const TRIES: usize = 100;
    for _ in 0..TRIES {
        let first = TcpListener::bind((address(0), 0))?;
        let port = first.local_addr()?.port();
        if (1..replicas).all(|number| TcpListener::bind((address(number), port)).is_ok()) {
            return Ok(port);
        }
    }
    Err("no port is free at every address".into())
}
