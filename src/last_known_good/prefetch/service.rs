//! The service that registers the URI of each call for prefetching.

use std::fmt;
use std::sync::Arc;
use std::task::{Context, Poll};

use http::Response;
use http_body::Body;
use tower::Service;

use super::fetch;
use super::registry::Registry;
use crate::http::HttpRequest;
use crate::{BoxError, Error, HasCallOptions, RetryableRequest, SteadfastError};

/// The service of a [`PrefetchLayer`](super::PrefetchLayer).
#[derive(Clone)]
pub struct PrefetchService<S> {
    inner: S,
    registry: Option<Arc<Registry>>,
}

impl<S> PrefetchService<S> {
    pub(super) const fn new(inner: S, registry: Option<Arc<Registry>>) -> Self {
        Self { inner, registry }
    }

    #[cfg(feature = "reqwest")]
    pub(crate) const fn inner(&self) -> &S {
        &self.inner
    }

    #[cfg(feature = "reqwest")]
    pub(crate) fn uris(&self) -> Vec<String> {
        self.registry.as_ref().map(|registry| registry.uris()).unwrap_or_default()
    }

    /// Registers the URI, and calls the inner service through `call`, which needs only `&S`.
    #[cfg(feature = "reqwest")]
    pub(crate) fn send<Req, B, E, F>(&self, request: Req, call: impl FnOnce(&S, Req) -> F) -> F
    where
        Req: HttpRequest + HasCallOptions + RetryableRequest + Send + Sync + 'static,
        S: Service<Req, Response = Response<B>, Error = Error<E>, Future: Send>
            + Clone
            + Send
            + Sync
            + 'static,
        B: Body + Send + 'static,
        B::Error: Into<BoxError>,
        E: 'static,
    {
        fetch::register(self.registry.as_ref(), &self.inner, &request);
        call(&self.inner, request)
    }
}

impl<Req, S, B, E> Service<Req> for PrefetchService<S>
where
    Req: HttpRequest + HasCallOptions + RetryableRequest + Send + Sync + 'static,
    S: Service<Req, Response = Response<B>, Error = Error<E>, Future: Send> + Clone + Send + Sync + 'static,
    S::Error: SteadfastError,
    B: Body + Send + 'static,
    B::Error: Into<BoxError>,
    E: 'static,
{
    type Response = Response<B>;
    type Error = Error<E>;
    type Future = S::Future;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Req) -> Self::Future {
        fetch::register(self.registry.as_ref(), &self.inner, &request);
        self.inner.call(request)
    }
}

impl<S: fmt::Debug> fmt::Debug for PrefetchService<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PrefetchService")
            .field("inner", &self.inner)
            .field("registry", &self.registry)
            .finish()
    }
}
