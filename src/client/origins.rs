//! The origins of one upstream, and the service that sends a call to an endpoint of its origin.
//!
//! An upstream has one origin: a scheme, a host and a port. With a key function, it can have several. Then each
//! origin has endpoints of its own, because addresses belong to a name.

use std::fmt;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::task::{Context, Poll};

use http::Response;
use reqwest::Url;
use tower::Service;

use super::dialer::Dialer;
use super::origin::{OriginBody, OriginEndpoints, OriginFuture};
use super::pins::Target;
use crate::endpoints::EndpointStatus;
use crate::{Call, Error};

/// The origins of one upstream. A clone is another handle to the same origins.
#[derive(Clone)]
pub(super) struct UpstreamOrigins(Arc<OriginList>);

struct OriginList {
    dialer: Dialer,
    first: OnceLock<Arc<OriginEndpoints>>,
    /// Further origins. Boxed, because most upstreams have none.
    others: OnceLock<Box<Mutex<Vec<Arc<OriginEndpoints>>>>>,
}

/// The largest number of further origins of one upstream. All others share one endpoint.
const MAX_OTHERS: usize = 63;

impl UpstreamOrigins {
    pub(super) fn new(dialer: Dialer) -> Self {
        Self(Arc::new(OriginList { dialer, first: OnceLock::new(), others: OnceLock::new() }))
    }

    /// Sends a call to an endpoint of its origin.
    #[inline]
    fn send(&self, call: Call<reqwest::Request>) -> OriginFuture {
        let first = self.0.first.get_or_init(|| self.0.dialer.origin(call.request().url()));
        if self.0.dialer.is_by_origin() || first.name.is_of(call.request().url()) {
            return first.send(call);
        }
        match self.other(call.request().url()) {
            Some(other) => other.send(call),
            None => self.0.dialer.single().send(call),
        }
    }

    /// Returns a further origin; `None` if there are too many.
    #[cold]
    fn other(&self, url: &Url) -> Option<Arc<OriginEndpoints>> {
        let mut others = self.others();
        if let Some(origin) = others.iter().find(|origin| origin.name.is_of(url)) {
            return Some(Arc::clone(origin));
        }
        if others.len() >= MAX_OTHERS {
            return None;
        }
        let origin = self.0.dialer.origin(url);
        others.push(Arc::clone(&origin));
        Some(origin)
    }

    fn others(&self) -> MutexGuard<'_, Vec<Arc<OriginEndpoints>>> {
        self.0.others.get_or_init(Box::default).lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the state of the endpoints of all origins.
    pub(super) fn endpoints(&self) -> Vec<EndpointStatus<Option<SocketAddr>>> {
        let list = |origin: &Arc<OriginEndpoints>| {
            let of_host = origin.name.ip().map(|ip| SocketAddr::new(ip, origin.name.port));
            let address = move |target| match target {
                Target::Whole => of_host,
                Target::Address(address) => Some(address),
            };
            let endpoints = origin.service.endpoints().list();
            endpoints.into_iter().map(move |endpoint| endpoint.map_address(address)).collect::<Vec<_>>()
        };
        self.0.first.get().into_iter().chain(self.others().iter()).flat_map(list).collect()
    }
}

impl Service<Call<reqwest::Request>> for UpstreamOrigins {
    type Response = Response<OriginBody>;
    type Error = Error<reqwest::Error>;
    type Future = OriginFuture;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    #[inline]
    fn call(&mut self, call: Call<reqwest::Request>) -> OriginFuture {
        self.send(call)
    }
}

impl fmt::Debug for UpstreamOrigins {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let others = self.others();
        let origins = self.0.first.get().into_iter().chain(others.iter());
        f.debug_list().entries(origins.map(|origin| origin.name.to_string())).finish()
    }
}
