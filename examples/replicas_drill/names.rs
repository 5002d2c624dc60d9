//! The name of the replicas.

use std::future::ready;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use reqwest::dns::{Addrs, Name, Resolve, Resolving};

/// The name that [`Names`] knows.
pub const HOST: &str = "replicas.test";

/// Resolves [`HOST`]. As DNS servers do, each answer begins with the next address.
#[derive(Debug, Default)]
pub struct Names {
    addresses: Mutex<Vec<IpAddr>>,
    answers: AtomicUsize,
}

impl Names {
    pub fn set(&self, addresses: Vec<IpAddr>) {
        *self.addresses.lock().unwrap_or_else(PoisonError::into_inner) = addresses;
    }

    fn answer(&self) -> Addrs {
        let mut addresses = self.addresses.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let first = self.answers.fetch_add(1, Ordering::Relaxed) % addresses.len().max(1);
        addresses.rotate_left(first);
        // The URL has the port.
        Box::new(addresses.into_iter().map(|address| SocketAddr::new(address, 0)))
    }
}

impl Resolve for Names {
    fn resolve(&self, name: Name) -> Resolving {
        let answer = if name.as_str() == HOST { Ok(self.answer()) } else { Err("no such name".into()) };
        Box::pin(ready(answer))
    }
}
