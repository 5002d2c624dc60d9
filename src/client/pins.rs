//! The addresses to which the endpoints of one origin are pinned.
//!
//! An origin begins with one endpoint, `Target::Unpinned`: a reqwest client that resolves the name itself, so the
//! first call waits for no look-up of ours. Once a look-up finds several addresses, each address becomes an endpoint
//! with a reqwest client that is pinned to it, and the first endpoint is removed.
//!
//! # Confirmation
//!
//! A reqwest builder from a user's function can hide a resolver, fixed addresses or a proxy, and so can the
//! environment. reqwest has no getters for them. A pinned client would then connect to wrong addresses. So the
//! addresses have to be confirmed: an answer must have come from one of them, over a connection that reqwest made
//! without a pin. Until then, the first endpoint serves every call.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::task::{Context, Poll};

use futures_core::Stream;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use super::discovery::{AddressChange, NameDiscovery, Resolver};
use crate::BoxError;
use crate::endpoints::Change;

/// The place to which an endpoint of the client sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Target {
    /// The address that reqwest chooses.
    Unpinned,
    /// One address.
    Address(SocketAddr),
}

/// The addresses of one origin, and the changes of its endpoints.
pub(super) struct Pins {
    /// The port of the origin. reqwest connects to this port, whatever the port of a pinned address.
    port: u16,
    changes: UnboundedSender<Change<Target>>,
    state: Mutex<PinState>,
    /// True while the address of an answer without a pin is of interest: several addresses wait for a confirmation,
    /// or the other family may have to be used.
    observes_unpinned: AtomicBool,
    /// The number of answers in a row that came over the other family of addresses.
    other_family: AtomicU32,
    discovery: OnceLock<Weak<NameDiscovery>>,
}

#[derive(Default)]
struct PinState {
    addresses: Vec<IpAddr>,
    is_confirmed: bool,
    /// True once the endpoints are pinned.
    is_pinned: bool,
}

/// The largest number of addresses of the same family to which a pinned client fails over if it cannot connect. One
/// of the other family follows.
const MAX_ALTERNATIVES: usize = 3;

/// The number of answers in a row over the other family after which that family is used.
const FAMILY_FAILS: u32 = 3;

impl Pins {
    /// `is_confirmed` is true if reqwest is known to connect to the resolver's addresses. Also returns the stream of
    /// the changes.
    pub(super) fn new(port: u16, is_confirmed: bool) -> (Arc<Self>, TargetChanges) {
        let (changes, receiver) = unbounded_channel();
        let pins = Self {
            port,
            changes,
            state: Mutex::new(PinState { is_confirmed, ..PinState::default() }),
            observes_unpinned: AtomicBool::new(false),
            other_family: AtomicU32::new(0),
            discovery: OnceLock::new(),
        };
        pins.send(Change::Insert(Target::Unpinned));
        (Arc::new(pins), TargetChanges(receiver))
    }

    /// Sets the discovery, for advice about failed connections.
    pub(super) fn set_discovery(&self, discovery: &Arc<NameDiscovery>) {
        let _ = self.discovery.set(Arc::downgrade(discovery));
    }

    fn lock(&self) -> MutexGuard<'_, PinState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn send(&self, change: Change<Target>) {
        // The receiver is gone if the endpoints are; then nobody needs the change.
        let _ = self.changes.send(change);
    }

    fn target(&self, address: IpAddr) -> Target {
        Target::Address(SocketAddr::new(address, self.port))
    }

    /// Takes over the changes that a look-up has found.
    pub(super) fn changed(&self, changes: Vec<AddressChange>) {
        let mut state = self.lock();
        for change in changes {
            match change {
                AddressChange::Added(address) => state.addresses.push(address),
                AddressChange::Removed(address) => state.addresses.retain(|known| *known != address),
            }
            if state.is_pinned {
                self.send(match change {
                    AddressChange::Added(address) => Change::Insert(self.target(address)),
                    AddressChange::Removed(address) => Change::Remove(self.target(address)),
                });
            }
        }
        self.pin(&mut state);
        let is_only = !state.is_pinned && state.addresses.len() == 1;
        drop(state);
        let has_other_family =
            is_only && self.discovery().is_some_and(|discovery| !discovery.other_family().is_empty());
        if has_other_family {
            self.observes_unpinned.store(true, Relaxed);
        }
    }

    /// Pins the endpoints to their addresses, once there are several that are confirmed. One address needs no pin.
    fn pin(&self, state: &mut PinState) {
        if state.is_pinned || state.addresses.len() < 2 {
            return;
        }
        self.observes_unpinned.store(!state.is_confirmed, Relaxed);
        if state.is_confirmed {
            state.is_pinned = true;
            state.addresses.iter().for_each(|address| self.send(Change::Insert(self.target(*address))));
            self.send(Change::Remove(Target::Unpinned));
        }
    }

    /// Records that an answer came from `remote`, over a connection without a pin.
    fn answered_unpinned(&self, remote: SocketAddr) {
        let address = remote.ip().to_canonical();
        let mut state = self.lock();
        if remote.port() == self.port && state.addresses.contains(&address) {
            state.is_confirmed = true;
            if state.addresses.len() == 1 {
                self.observes_unpinned.store(false, Relaxed);
            }
            self.pin(&mut state);
            return;
        }
        // The only address of the family in use cannot be reached, if an address of the other family has answered.
        let is_other_family = state.addresses.iter().all(|known| known.is_ipv4() != address.is_ipv4());
        drop(state);
        let discovery = self.discovery().filter(|_| is_other_family && remote.port() == self.port);
        if let Some(discovery) = discovery.filter(|discovery| discovery.other_family().contains(&address)) {
            discovery.switch_family(address);
        }
    }

    fn discovery(&self) -> Option<Arc<NameDiscovery>> {
        self.discovery.get()?.upgrade()
    }

    /// Returns the addresses for a client that is pinned to `address`: this one, and some to fail over to. reqwest
    /// tries those of the same family in this order, also for a request that cannot be sent twice, because nothing is
    /// sent before a connection is established. If this takes more than 300 ms, reqwest also tries the other family.
    pub(super) fn addresses_for(&self, address: SocketAddr) -> Vec<SocketAddr> {
        let known = self.lock().addresses.clone();
        let position =
            known.iter().position(|known| *known == address.ip()).map_or(0, |position| position + 1);
        let following = (0..known.len()).map(|step| known[(position + step) % known.len()]);
        let alternatives = following.filter(|other| *other != address.ip()).take(MAX_ALTERNATIVES);
        let of_other_family =
            self.discovery().and_then(|discovery| discovery.other_family().into_iter().next());
        // Without a port, reqwest uses that of the URL, which can be that of a redirect.
        let all = std::iter::once(address.ip()).chain(alternatives).chain(of_other_family);
        all.map(|address| SocketAddr::new(address, 0)).collect()
    }
}

impl fmt::Debug for Pins {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pins").field("addresses", &self.lock().addresses).finish_non_exhaustive()
    }
}

/// The pin of one reqwest client. Its service reports to which address a connection leads.
#[derive(Debug)]
pub(super) struct AddressObserver {
    pub(super) pins: Arc<Pins>,
    /// `None` for the endpoint without a pin.
    pub(super) address: Option<SocketAddr>,
}

impl AddressObserver {
    /// Records the address that has answered. Returns true if another address of the same family has answered: then
    /// no connection to the pinned address could be established. An answer over the other family proves nothing,
    /// because reqwest also tries that family after 300 ms.
    #[inline]
    pub(super) fn answered(&self, remote: impl FnOnce() -> Option<SocketAddr>) -> bool {
        if self.address.is_none() && !self.pins.observes_unpinned.load(Relaxed) {
            return false;
        }
        let Some(remote) = remote() else { return false };
        let Some(address) = self.address else {
            self.pins.answered_unpinned(remote);
            return false;
        };
        let remote = remote.ip().to_canonical();
        // A connection to the unspecified address leads to the host itself.
        if remote == address.ip() || address.ip().is_unspecified() {
            if self.pins.other_family.load(Relaxed) > 0 {
                self.pins.other_family.store(0, Relaxed);
            }
            return false;
        }
        self.reached_elsewhere(remote, address)
    }

    /// Records that no connection could be established.
    #[cold]
    pub(super) fn unreachable(&self) {
        if let Some(discovery) = self.pins.discovery() {
            discovery.hint();
        }
    }

    /// An answer over the other family may come from the same instance, whose connection was only slower. Several of
    /// them in a row mean that the family in use does not work.
    #[cold]
    fn reached_elsewhere(&self, remote: IpAddr, address: SocketAddr) -> bool {
        let is_same_family = remote.is_ipv4() == address.is_ipv4();
        if let Some(discovery) = self.pins.discovery() {
            if is_same_family {
                discovery.hint();
            } else if self.pins.other_family.fetch_add(1, Relaxed) + 1 >= FAMILY_FAILS {
                self.pins.other_family.store(0, Relaxed);
                discovery.switch_family(remote);
            }
        }
        is_same_family
    }
}

/// Resolves the host of a pinned client to the address of the pin, and to those that its connections fail over to.
pub(super) struct PinResolver {
    pub(super) host: String,
    pub(super) address: SocketAddr,
    pub(super) pins: Arc<Pins>,
    /// For the hosts of redirects.
    pub(super) other_hosts: Resolver,
}

impl Resolve for PinResolver {
    fn resolve(&self, name: Name) -> Resolving {
        if !name.as_str().eq_ignore_ascii_case(&self.host) {
            return Resolve::resolve(&self.other_hosts, name);
        }
        let addresses = self.pins.addresses_for(self.address);
        Box::pin(std::future::ready(Ok(Box::new(addresses.into_iter()) as Addrs)))
    }
}

/// The stream of the changes of one origin's endpoints.
pub(super) struct TargetChanges(UnboundedReceiver<Change<Target>>);

impl Stream for TargetChanges {
    type Item = Result<Change<Target>, BoxError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.0.poll_recv(cx).map(|change| change.map(Ok))
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unpinned => f.write_str("any address"),
            Self::Address(address) => address.fmt(f),
        }
    }
}
