//! The endpoints of the client over real sockets: each address of a name is an endpoint of its own.
//!
//! The instances of an upstream listen on one port of several loopback addresses. macOS has one such address only, so
//! the tests do not run there. No test waits for a time: each repeats calls until a condition holds.
#![cfg(all(feature = "reqwest", not(target_os = "macos")))]

#[path = "../server/mod.rs"]
mod server;

#[cfg(feature = "cookies")]
mod cookies;
mod discovered;
mod faults;
mod hidden;
mod lanes;
mod lifetime;
mod origins;
mod redirects;
mod refreshed;
mod settings;

use std::collections::HashMap;
use std::future::ready;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicU8, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::future::join_all;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use steadfast::{Client, ClientBuilder};

use server::{Reply, Server};

/// The name of the upstream. Only [`Names`] knows it.
const NAME: &str = "sku.test";

/// A condition must hold after so many calls. A call takes less than a millisecond, and the longest wait is that for
/// several refreshes of 100 ms.
const MAX_CALLS: usize = 50_000;

/// The number of calls that are made at the same time.
const BURST: usize = 16;

// ===== Names =====

/// A resolver whose answers a test sets. Other names are unknown.
#[derive(Debug, Default)]
struct Names {
    answers: Mutex<HashMap<&'static str, Vec<IpAddr>>>,
    look_ups: Mutex<HashMap<String, usize>>,
}

impl Names {
    fn set(&self, name: &'static str, answer: impl IntoIterator<Item = IpAddr>) {
        self.answers.lock().unwrap().insert(name, answer.into_iter().collect());
    }

    /// Fails for the name from now on.
    fn fail(&self, name: &str) {
        self.answers.lock().unwrap().remove(name);
    }

    fn look_ups(&self, name: &str) -> usize {
        self.look_ups.lock().unwrap().get(name).copied().unwrap_or_default()
    }
}

impl Resolve for Names {
    fn resolve(&self, name: Name) -> Resolving {
        let name = name.as_str().trim_end_matches('.');
        *self.look_ups.lock().unwrap().entry(name.to_owned()).or_default() += 1;
        let answer = self.answers.lock().unwrap().get(name).cloned();
        // The URL has the port.
        let answer = answer.map(|answer| answer.into_iter().map(|address| SocketAddr::new(address, 0)));
        Box::pin(ready(answer.map(|answer| Box::new(answer) as Addrs).ok_or_else(|| "no such name".into())))
    }
}

// ===== Upstream =====

/// An upstream: instances on one port of several addresses. An instance answers with its number.
#[derive(Debug)]
struct Upstream {
    name: &'static str,
    servers: Vec<Server>,
    names: Arc<Names>,
}

impl Upstream {
    /// An upstream that is called [`NAME`].
    fn of(instances: usize) -> Self {
        Self::named(NAME, instances, &Arc::default())
    }

    fn named(name: &'static str, instances: usize, names: &Arc<Names>) -> Self {
        let addresses = fresh_addresses(instances);
        let mut upstream = Self { name, servers: bind(&addresses), names: Arc::clone(names) };
        upstream.servers.iter_mut().for_each(Server::listen);
        upstream.restore();
        names.set(name, upstream.addresses());
        upstream
    }

    /// The instances listen on another port of the addresses of `other`, under the same name.
    fn beside(other: &Self) -> Self {
        let mut upstream =
            Self { name: other.name, servers: bind(&other.addresses()), names: Arc::clone(&other.names) };
        upstream.servers.iter_mut().for_each(Server::listen);
        upstream.restore();
        upstream
    }

    /// Lets each instance answer with its number.
    fn restore(&self) {
        for (number, server) in self.servers.iter().enumerate() {
            server.replies([Reply::ok(number.to_string())]);
        }
    }

    fn addresses(&self) -> Vec<IpAddr> {
        self.servers.iter().map(|server| server.address().ip()).collect()
    }

    /// The addresses of these instances, in the form of [`known`].
    fn endpoints(&self, numbers: impl IntoIterator<Item = usize>) -> Vec<Option<SocketAddr>> {
        let mut endpoints: Vec<_> =
            numbers.into_iter().map(|number| Some(self.servers[number].address())).collect();
        endpoints.sort_unstable();
        endpoints
    }

    fn all_endpoints(&self) -> Vec<Option<SocketAddr>> {
        self.endpoints(0..self.servers.len())
    }

    fn port(&self) -> u16 {
        self.servers[0].address().port()
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}:{}{path}", self.name, self.port())
    }

    /// The number of requests that each instance has received.
    fn requests(&self) -> Vec<usize> {
        self.servers.iter().map(Server::requests).collect()
    }

    fn connections(&self) -> usize {
        self.servers.iter().map(Server::connections).sum()
    }

    /// A builder of a client that resolves with the upstream's [`Names`].
    fn builder(&self) -> ClientBuilder {
        Client::builder().no_proxy().dns_resolver(Arc::clone(&self.names))
    }

    fn client(&self) -> Client {
        self.builder().build().unwrap()
    }

    /// Makes calls until these are the endpoints.
    async fn has_endpoints(&self, client: &Client, expected: &[Option<SocketAddr>]) {
        let url = self.url("/");
        call_until(client, &url, || known(client, &url) == expected).await;
    }

    /// Makes calls until each address is an endpoint.
    async fn is_discovered(&self, client: &Client) {
        self.has_endpoints(client, &self.all_endpoints()).await;
    }

    /// Makes calls until each of these instances has received a further request.
    async fn reaches(&self, client: &Client, numbers: impl IntoIterator<Item = usize>) {
        let before = self.requests();
        let numbers: Vec<_> = numbers.into_iter().collect();
        let is_reached = || numbers.iter().all(|&number| self.servers[number].requests() > before[number]);
        self.burst_until(client, is_reached).await;
    }

    /// Makes GETs, several at a time, until the condition holds. Calls in flight make an endpoint expensive, so each
    /// endpoint gets some. Each call must be answered with 200.
    async fn burst_until(&self, client: &Client, mut holds: impl FnMut() -> bool) {
        let url = self.url("/");
        for _ in 0..MAX_CALLS / BURST {
            if holds() {
                return;
            }
            join_all((0..BURST).map(|_| get(client, &url))).await;
        }
        panic!("the condition does not hold: {:?}, {:?}", known(client, &url), self.requests());
    }
}

/// Returns addresses of loopback that no other test uses.
fn fresh_addresses(count: usize) -> Vec<IpAddr> {
    static SUBNET: AtomicU8 = AtomicU8::new(0);
    let subnet = SUBNET.fetch_add(1, Relaxed);
    let host = (1..=255).take(count);
    host.map(|host| IpAddr::from([127, 0, subnet, host])).collect()
}

/// Binds servers to one port of all addresses. They do not listen yet.
fn bind(addresses: &[IpAddr]) -> Vec<Server> {
    // A port that is free on the first address can be in use on another one.
    for _ in 0..100 {
        let first = Server::absent_at(SocketAddr::new(addresses[0], 0)).unwrap();
        let port = first.address().port();
        let others =
            addresses[1..].iter().map(|address| Server::absent_at(SocketAddr::new(*address, port)).ok());
        let servers: Option<Vec<_>> = std::iter::once(Some(first)).chain(others).collect();
        if let Some(servers) = servers {
            return servers;
        }
    }
    panic!("no port is free on all of {addresses:?}");
}

// ===== Calls =====

/// The addresses of the endpoints of `url`, sorted.
fn known(client: &Client, url: &str) -> Vec<Option<SocketAddr>> {
    let endpoints = client.upstream_at(url).unwrap().endpoints();
    let mut known: Vec<_> = endpoints.iter().map(|endpoint| *endpoint.address()).collect();
    known.sort_unstable();
    known
}

/// Makes a GET, which must be answered with 200. Returns the body.
async fn get(client: &Client, url: &str) -> String {
    let response = client.get(url).send().await.unwrap_or_else(|error| panic!("{url}: {error:#}"));
    assert_eq!(response.status(), 200, "{url}");
    response.text().await.unwrap()
}

/// Makes GETs until the condition holds. Each must be answered with 200.
async fn call_until(client: &Client, url: &str, mut holds: impl FnMut() -> bool) {
    for _ in 0..MAX_CALLS {
        if holds() {
            return;
        }
        get(client, url).await;
    }
    panic!("the condition does not hold after {MAX_CALLS} calls of {url}: {:?}", known(client, url));
}

/// Lets the other tasks run until the condition holds.
async fn yield_until(mut holds: impl FnMut() -> bool) {
    for _ in 0..MAX_CALLS {
        if holds() {
            return;
        }
        tokio::task::yield_now().await;
    }
    panic!("the condition does not hold");
}
