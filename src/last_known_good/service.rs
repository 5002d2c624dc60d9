//! The last-known-good service, which plans what to do with the result of each call, and starts the call.

use std::fmt;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::Response;
use http_body::Body;
use tower::Service;

use super::future::ResponseFuture;
use super::handle::LastKnownGood;
use super::record::body::ResponseBody;
use crate::http::{HttpClassifier, HttpRequest};
use crate::last_known_good::plan::Plan;
use crate::{BoxError, Classify, Error, HasCallOptions, SteadfastError};

/// The service of a [`LastKnownGoodLayer`](super::LastKnownGoodLayer).
#[derive(Clone)]
pub struct LastKnownGoodService<S, C = HttpClassifier> {
    inner: S,
    last_known_good: Option<LastKnownGood>,
    classifier: C,
}

impl<S, C> LastKnownGoodService<S, C> {
    pub(super) const fn new(inner: S, last_known_good: Option<LastKnownGood>, classifier: C) -> Self {
        Self { inner, last_known_good, classifier }
    }

    #[cfg(feature = "reqwest")]
    pub(crate) const fn inner(&self) -> &S {
        &self.inner
    }

    #[cfg(feature = "reqwest")]
    pub(crate) const fn last_known_good(&self) -> Option<&LastKnownGood> {
        self.last_known_good.as_ref()
    }

    fn plan(&self, request: &(impl HasCallOptions + HttpRequest)) -> Plan {
        self.last_known_good.as_ref().map_or(Plan::Nothing, |cache| Plan::new(request, &cache.0))
    }

    /// Calls the inner service through `call`, which needs only `&S`.
    #[cfg(feature = "reqwest")]
    pub(crate) fn send<Req, F, B, E>(
        &self,
        request: Req,
        call: impl FnOnce(&S, Req) -> F,
    ) -> ResponseFuture<F, C::Judge>
    where
        Req: HasCallOptions + HttpRequest,
        F: Future<Output = Result<Response<B>, Error<E>>>,
        C: Classify<Req, Response<B>, E>,
    {
        let (plan, judge) = (self.plan(&request), self.classifier.judge(&request));
        ResponseFuture::new(call(&self.inner, request), plan, judge)
    }
}

impl<Req, S, C, B, E> Service<Req> for LastKnownGoodService<S, C>
where
    Req: HasCallOptions + HttpRequest,
    S: Service<Req, Response = Response<B>, Error = Error<E>, Future: Send + 'static>,
    S::Error: SteadfastError,
    C: Classify<Req, Response<B>, E, Judge: Send + 'static>,
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
    E: 'static,
{
    type Response = Response<ResponseBody<B>>;
    type Error = Error<E>;
    type Future = ResponseFuture<S::Future, C::Judge>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Req) -> Self::Future {
        let (plan, judge) = (self.plan(&request), self.classifier.judge(&request));
        ResponseFuture::new(self.inner.call(request), plan, judge)
    }
}

impl<S: fmt::Debug, C> fmt::Debug for LastKnownGoodService<S, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LastKnownGoodService")
            .field("inner", &self.inner)
            .field("last_known_good", &self.last_known_good)
            .finish_non_exhaustive()
    }
}
