use std::fmt;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::Response;
use http_body::Body;
use tower::Service;

#[cfg(feature = "reqwest")]
use super::LastKnownGood;
use super::fetch::{Planned, Warming};
use super::layer::Config;
use super::mode::{Foreground, Mode};
use super::plan::Plan;
use super::{ResponseBody, ResponseFuture};
use crate::http::{HttpClassifier, HttpRequest};
use crate::{BoxError, Classify, Error, HasCallOptions};

/// The service that [`LastKnownGoodLayer`](super::LastKnownGoodLayer) makes.
pub struct LastKnownGoodService<S, C = HttpClassifier, M = Foreground> {
    inner: S,
    config: Arc<Config<C, M>>,
}

impl<S, C, M> LastKnownGoodService<S, C, M> {
    pub(super) fn new(inner: S, config: Config<C, M>) -> Self {
        Self { inner, config: Arc::new(config) }
    }

    #[cfg(feature = "reqwest")]
    pub(crate) fn inner(&self) -> &S {
        &self.inner
    }

    #[cfg(feature = "reqwest")]
    pub(crate) fn fallback(&self) -> Option<&LastKnownGood> {
        self.config.fallback.as_ref()
    }

    /// The call that `below` makes, with a fallback.
    #[cfg(feature = "reqwest")]
    pub(crate) fn send<Req, F>(
        &self,
        request: Req,
        below: impl FnOnce(&S, Req) -> F,
    ) -> ResponseFuture<F, C, M>
    where
        Req: HasCallOptions + HttpRequest,
        F: Future,
        M: Mode<F, C> + Warming<S, Req, C>,
    {
        let plan = self.plan(&request);
        self.register(&request, &plan);
        ResponseFuture::new(below(&self.inner, request), plan, Arc::clone(&self.config))
    }

    fn register<Req>(&self, request: &Req, plan: &Plan)
    where
        M: Warming<S, Req, C>,
    {
        self.config.mode.register(&self.inner, request, Planned { plan, config: &self.config });
    }

    fn plan(&self, request: &(impl HasCallOptions + HttpRequest)) -> Plan {
        self.config.fallback.as_ref().map_or(Plan::Nothing, |fallback| Plan::new(request, fallback))
    }
}

impl<Req, S, C, M, B, E> Service<Req> for LastKnownGoodService<S, C, M>
where
    Req: HasCallOptions + HttpRequest,
    S: Service<Req, Response = Response<B>, Error = Error<E>>,
    M: Mode<S::Future, C> + Warming<S, Req, C>,
    C: Classify<Response<B>, E>,
    B: Body<Data = Bytes>,
    B::Error: Into<BoxError>,
{
    type Response = Response<ResponseBody<B>>;
    type Error = Error<E>;
    type Future = ResponseFuture<S::Future, C, M>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Req) -> Self::Future {
        let plan = self.plan(&request);
        self.register(&request, &plan);
        ResponseFuture::new(self.inner.call(request), plan, Arc::clone(&self.config))
    }
}

impl<S: Clone, C, M> Clone for LastKnownGoodService<S, C, M> {
    fn clone(&self) -> Self {
        Self { inner: self.inner.clone(), config: Arc::clone(&self.config) }
    }
}

impl<S: fmt::Debug, C, M> fmt::Debug for LastKnownGoodService<S, C, M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LastKnownGoodService")
            .field("inner", &self.inner)
            .field("fallback", &self.config.fallback)
            .finish_non_exhaustive()
    }
}
