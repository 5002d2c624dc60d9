//! The replicas and the arrangement that makes them one upstream.

use std::cmp::Reverse;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::sync::Arc;

use futures_util::future::join_all;

use super::balancer::Balancer;
use super::names::{HOST, Names};
use super::records::{Records, Request};
use super::replica::{Behaviour, Kill, Replica};
use super::scenario::{Behind, Case};
use super::timeline::Window;
use crate::BoxError;

/// The address of the balancer.
const VIRTUAL: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 77, 100));

/// Replicas at one port of several addresses, and the name that stands for them, directly or through a balancer.
#[derive(Debug)]
pub(super) struct Stage {
    replicas: Vec<Replica>,
    port: u16,
    names: Arc<Names>,
    balancer: Option<Balancer>,
    records: Arc<Records>,
}

/// The connections of a scenario.
#[derive(Debug, Clone, Copy)]
pub(super) struct Connections {
    /// The largest number of connections that were open at a time.
    pub(super) most_open: usize,
    pub(super) opened: u64,
}

impl Stage {
    /// Starts the replicas, of which the first ones are named. `seed` is the chance of the balancer.
    pub(super) fn open(case: Case, seed: u64) -> Result<Self, BoxError> {
        let port = free_port(case.scenario.replicas())?;
        let records = Arc::<Records>::default();
        let replicas = (0..case.scenario.replicas()).map(|number| {
            Replica::new(number, SocketAddr::new(address(number), port), case.delay(), Arc::clone(&records))
        });
        let balancer = match case.behind {
            Behind::Name => None,
            Behind::Balancer => Some(Balancer::start(SocketAddr::new(VIRTUAL, port), Vec::new(), seed)?),
        };
        let mut stage = Self { replicas: replicas.collect(), port, names: Arc::default(), balancer, records };
        stage.start_all()?;
        stage.name_first(case.scenario.named());
        Ok(stage)
    }

    pub(super) fn url(&self) -> String {
        format!("http://{HOST}:{}/", self.port)
    }

    pub(super) fn names(&self) -> &Arc<Names> {
        &self.names
    }

    /// Makes the name, or the balancer, stand for the first replicas.
    pub(super) fn name_first(&self, replicas: usize) {
        let addresses = (0..replicas).map(address);
        match &self.balancer {
            None => self.names.set(addresses.collect()),
            Some(balancer) => {
                self.names.set(vec![VIRTUAL]);
                balancer.set_replicas(addresses.map(|address| SocketAddr::new(address, self.port)).collect());
            }
        }
    }

    /// Lets the busiest connection to the balancer die silently.
    pub(super) fn freeze_busiest(&self) {
        if let Some(balancer) = &self.balancer {
            balancer.freeze_busiest();
        }
    }

    /// The connections to the balancer, if there is one.
    pub(super) fn connections(&self) -> Option<Connections> {
        let balancer = self.balancer.as_ref()?;
        Some(Connections { most_open: balancer.most_open(), opened: balancer.opened() })
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

/// A port that is free at the address of each replica, and of the balancer.
fn free_port(replicas: usize) -> Result<u16, BoxError> {
    const TRIES: usize = 100;
    for _ in 0..TRIES {
        let first = TcpListener::bind((address(0), 0))?;
        let port = first.local_addr()?.port();
        let others = (1..replicas).map(address).chain([VIRTUAL]);
        if others.map(|other| TcpListener::bind((other, port))).all(|bound| bound.is_ok()) {
            return Ok(port);
        }
    }
    Err("no port is free at every address".into())
}
