//! The directory of the replicas in service: a name, or a balancer.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use crate::balancer::Balancer;
use crate::names::{HOST, Names};
use crate::subject::Arrangement;

pub struct Directory {
    /// The resolver of the clients.
    names: Arc<Names>,
    balancer: Option<Balancer>,
    /// The port of the URL.
    port: u16,
}

impl Directory {
    pub fn open(arrangement: Arrangement, replicas: Vec<SocketAddr>, seed: u64) -> io::Result<Self> {
        let names = Arc::<Names>::default();
        let port = replicas[0].port();
        let directory = match arrangement {
            Arrangement::Name => Self { names, balancer: None, port },
            Arrangement::Balancer => {
                let listen = (Ipv4Addr::LOCALHOST, 0).into();
                let balancer = Balancer::start(listen, replicas.clone(), seed)?;
                let address = balancer.address();
                names.set(vec![address.ip()]);
                Self { names, port: address.port(), balancer: Some(balancer) }
            }
        };
        directory.set(replicas);
        Ok(directory)
    }

    /// Replaces the replicas that clients find from now on. Open connections stay.
    pub fn set(&self, replicas: Vec<SocketAddr>) {
        match &self.balancer {
            Some(balancer) => balancer.set_replicas(replicas),
            None => self.names.set(replicas.iter().map(SocketAddr::ip).collect()),
        }
    }

    pub fn names(&self) -> Arc<Names> {
        Arc::clone(&self.names)
    }

    /// The URL of the upstream, without a path.
    pub fn url(&self) -> String {
        format!("http://{HOST}:{}", self.port)
    }
}
