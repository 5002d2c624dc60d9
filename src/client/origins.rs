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

use super::origin::{OriginBody, OriginEndpoints, OriginFuture};
use super::origin_factory::OriginFactory;
use super::pins::Target;
use crate::endpoints::EndpointStatus;
use crate::{Call, Error};

/// The origins of one upstream. A clone is another handle to the same origins.
#[derive(Clone)]
pub(super) struct UpstreamOrigins(Arc<OriginList>);

struct OriginList {
    origin_factory: OriginFactory,
    first: OnceLock<Arc<OriginEndpoints>>,
    /// Further origins. Boxed, because most upstreams have none.
    further: OnceLock<Box<Mutex<Vec<Arc<OriginEndpoints>>>>>,
}

/// The largest number of origins of one upstream besides the first. Beyond this number, origins share one endpoint.
const MAX_FURTHER: usize = 63;

impl UpstreamOrigins {
    pub(super) fn new(origin_factory: OriginFactory) -> Self {
        Self(Arc::new(OriginList { origin_factory, first: OnceLock::new(), further: OnceLock::new() }))
    }

    /// Sends a call to an endpoint of its origin.
    #[inline]
    fn send(&self, call: Call<reqwest::Request>) -> OriginFuture {
        let first = self.0.first.get_or_init(|| self.0.origin_factory.origin(call.request().url()));
        if self.0.origin_factory.has_one_origin() || first.name.matches(call.request().url()) {
            return first.send(call);
        }
        match self.further_origin(call.request().url()) {
            Some(further) => further.send(call),
            None => self.0.origin_factory.single().send(call),
        }
    }

    /// Returns a further origin; `None` if there are too many.
    #[cold]
    fn further_origin(&self, url: &Url) -> Option<Arc<OriginEndpoints>> {
        let mut further = self.further();
        if let Some(origin) = further.iter().find(|origin| origin.name.matches(url)) {
            return Some(Arc::clone(origin));
        }
        if further.len() >= MAX_FURTHER {
            return None;
        }
        let origin = self.0.origin_factory.origin(url);
        further.push(Arc::clone(&origin));
        Some(origin)
    }

    fn further(&self) -> MutexGuard<'_, Vec<Arc<OriginEndpoints>>> {
        self.0.further.get_or_init(Box::default).lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the state of the endpoints of all origins.
    pub(super) fn endpoints(&self) -> Vec<EndpointStatus<Option<SocketAddr>>> {
        let list = |origin: &Arc<OriginEndpoints>| {
            let of_host = origin.name.ip().map(|ip| SocketAddr::new(ip, origin.name.port));
            let address = move |target| match target {
                Target::Unpinned => of_host,
                Target::Address(address) => Some(address),
            };
            let endpoints = origin.service.endpoints().list();
            endpoints.into_iter().map(move |endpoint| endpoint.map_address(address)).collect::<Vec<_>>()
        };
        self.0.first.get().into_iter().chain(self.further().iter()).flat_map(list).collect()
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
        let further = self.further();
        let origins = self.0.first.get().into_iter().chain(further.iter());
        f.debug_list().entries(origins.map(|origin| origin.name.to_string())).finish()
    }
}
