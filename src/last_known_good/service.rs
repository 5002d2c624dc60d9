use std::fmt;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::Response;
use http_body::Body;
use tower::Service;

use super::future::Plan;
use super::{LastKnownGoodLayer, ResponseBody, ResponseFuture};
use crate::http::{HttpClassifier, HttpRequest};
use crate::{BoxError, Classify, Error, HasOptions};

/// The service that [`LastKnownGoodLayer`] makes.
pub struct LastKnownGood<S, C = HttpClassifier> {
    inner: S,
    shared: Arc<LastKnownGoodLayer<C>>,
}

impl<S, C> LastKnownGood<S, C> {
    pub(super) fn new(inner: S, layer: LastKnownGoodLayer<C>) -> Self {
        Self { inner, shared: Arc::new(layer) }
    }

    #[cfg(feature = "reqwest")]
    pub(crate) fn inner(&self) -> &S {
        &self.inner
    }

    /// The call that `below` makes, with a fallback.
    #[cfg(feature = "reqwest")]
    pub(crate) fn send<Req, F>(&self, request: Req, below: impl FnOnce(&S, Req) -> F) -> ResponseFuture<F, C>
    where
        Req: HasOptions + HttpRequest,
    {
        let plan = self.plan(&request);
        ResponseFuture::new(below(&self.inner, request), plan, Arc::clone(&self.shared))
    }

    fn plan(&self, request: &(impl HasOptions + HttpRequest)) -> Plan {
        self.shared.store.as_ref().map_or(Plan::Nothing, |store| Plan::new(request, store))
    }
}

impl<Req, S, C, B, E> Service<Req> for LastKnownGood<S, C>
where
    Req: HasOptions + HttpRequest,
    S: Service<Req, Response = Response<B>, Error = Error<E>>,
    C: Classify<Response<B>, E>,
    B: Body<Data = Bytes>,
    B::Error: Into<BoxError>,
{
    type Response = Response<ResponseBody<B>>;
    type Error = Error<E>;
    type Future = ResponseFuture<S::Future, C>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Req) -> Self::Future {
        let plan = self.plan(&request);
        ResponseFuture::new(self.inner.call(request), plan, Arc::clone(&self.shared))
    }
}

impl<S: Clone, C> Clone for LastKnownGood<S, C> {
    fn clone(&self) -> Self {
        Self { inner: self.inner.clone(), shared: Arc::clone(&self.shared) }
    }
}

impl<S: fmt::Debug, C> fmt::Debug for LastKnownGood<S, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LastKnownGood")
            .field("inner", &self.inner)
            .field("store", &self.shared.store)
            .finish_non_exhaustive()
    }
}
