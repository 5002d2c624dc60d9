//! The network between the processes and the replicas of an upstream.
//!
//! Behind a balancer of layer 7, each attempt reaches a random replica, and no process has connections to replicas.
//! In all other networks, a connection leads to one replica, and a process has pools of connections: one pool for
//! most policies, and one for each endpoint or lane of a client that chooses among endpoints.

mod look_ups;
mod pool;
#[cfg(test)]
mod tests;

use std::fmt;

use http::Version;
use steadfast::endpoints::{Endpoints, EndpointsService, fixed};

pub use self::look_ups::{LookUps, REFRESH_ADDRESSES};
pub use self::pool::Pool;
use crate::upstream::Upstream;

/// The way from a process to the replicas of an upstream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Network {
    /// Each attempt reaches a random replica, as behind a balancer of layer 7.
    Layer7,
    /// The upstream's name has an address for each replica.
    Name(Protocol),
    /// The upstream has one address, a balancer of layer 4: each new connection leads to a random replica.
    Balancer(Protocol),
}

/// The protocol of the connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// A connection carries one request at a time.
    Http1,
    /// A connection carries all requests of its pool.
    Http2,
}

/// The target of a pool's connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Target {
    /// A random replica that accepts the connection: the balancer, or the first address of a name that connects.
    Any,
    /// The replica at this address.
    Replica(usize),
}

/// The most lanes of a balancer's address.
pub const MAX_LANES: usize = 64;

impl Network {
    pub const ALL: [Self; 5] = [
        Self::Layer7,
        Self::Name(Protocol::Http1),
        Self::Name(Protocol::Http2),
        Self::Balancer(Protocol::Http1),
        Self::Balancer(Protocol::Http2),
    ];

    pub const fn title(self) -> &'static str {
        match self {
            Self::Layer7 => "layer 7",
            Self::Name(Protocol::Http1) => "name, HTTP/1",
            Self::Name(Protocol::Http2) => "name, HTTP/2",
            Self::Balancer(Protocol::Http1) => "balancer, HTTP/1",
            Self::Balancer(Protocol::Http2) => "balancer, HTTP/2",
        }
    }

    /// The end of the names of scenarios in this network.
    pub(crate) const fn suffix(self) -> &'static str {
        match self {
            Self::Layer7 => "",
            Self::Name(Protocol::Http1) => "-name-h1",
            Self::Name(Protocol::Http2) => "-name-h2",
            Self::Balancer(Protocol::Http1) => "-balancer-h1",
            Self::Balancer(Protocol::Http2) => "-balancer-h2",
        }
    }
}

/// The endpoints of an upstream as in `steadfast::Client`: the addresses of its name, or the lanes of its balancer.
pub(crate) fn endpoints(upstream: &Upstream, network: Network, seed: u64) -> EndpointsService<Target, Pool> {
    let builder = Endpoints::builder().max_lanes(MAX_LANES).seed(seed);
    let pools = |protocol| {
        let upstream = upstream.clone();
        move |target: &Target| Pool::new(upstream.clone(), *target, protocol)
    };
    let endpoints = match network {
        Network::Name(protocol) => builder.build(LookUps::new(upstream.clone(), seed), pools(protocol)),
        Network::Balancer(protocol) => builder.build(fixed([Target::Any]), pools(protocol)),
        Network::Layer7 => unreachable!("no process has connections to replicas"),
    };
    EndpointsService::new(endpoints.expect("valid"))
}

impl Protocol {
    const fn version(self) -> Version {
        match self {
            Self::Http1 => Version::HTTP_11,
            Self::Http2 => Version::HTTP_2,
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any => f.write_str("any replica"),
            Self::Replica(replica) => write!(f, "replica {replica}"),
        }
    }
}
