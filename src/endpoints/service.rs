//! The service that sends each attempt to an endpoint.

use std::fmt;
use std::task::{Context, Poll};

use tokio::time::Instant;
use tower::Service;

use super::body::EndpointBody;
use super::future::ResponseFuture;
use super::handle::Endpoints;
use crate::http::HttpClassifier;
use crate::response_kind::ResponseKind;
use crate::{Classify, Error, HasCallOptions, Http, NonHttp, SteadfastError};

/// Sends each attempt to one of several endpoints; see the [module](super). [`Endpoints`] has an example.
///
/// A call waits until an endpoint is known, and until the service of the chosen endpoint is ready. The deadline in
/// the [options](crate::CallOptions) bounds both waits; without a deadline, they have no limit.
///
/// Cancel safe: a dropped call does not count as in flight. After an unusually long wait, the drop counts as a fault
/// of the endpoint.
///
/// # Errors
///
/// The errors are those of the endpoint's service, with the [endpoint](crate::ErrorInfo::endpoint) unless another
/// host has failed after a redirect. A probe that exceeds its limit is a timeout of the attempt. A deadline that
/// passes while the call waits is a timeout of the call. If the discovery has ended without an endpoint, the call is
/// refused with [`ErrorKind::NoEndpoint`](crate::ErrorKind::NoEndpoint).
pub struct EndpointsService<A, S, C = HttpClassifier, K = Http> {
    endpoints: Endpoints<A, S>,
    classifier: C,
    kind: K,
}

impl<A, S> EndpointsService<A, S> {
    /// Makes a service that judges results with the default [`HttpClassifier`].
    pub const fn new(endpoints: Endpoints<A, S>) -> Self {
        Self { endpoints, classifier: HttpClassifier::new(), kind: Http }
    }
}

impl<A, S, C, K> EndpointsService<A, S, C, K> {
    /// Judges results with `classifier`. Default: [`HttpClassifier`]. Use the classifier of the retry layer, so that
    /// both see the same faults.
    pub fn classifier<D>(self, classifier: D) -> EndpointsService<A, S, D, K> {
        EndpointsService { endpoints: self.endpoints, classifier, kind: self.kind }
    }

    /// Makes the service fit endpoints whose responses are not HTTP. It then observes no bodies.
    pub fn non_http(self) -> EndpointsService<A, S, C, NonHttp> {
        EndpointsService { endpoints: self.endpoints, classifier: self.classifier, kind: NonHttp }
    }

    /// Returns the endpoints.
    pub const fn endpoints(&self) -> &Endpoints<A, S> {
        &self.endpoints
    }
}

impl<A: PartialEq + fmt::Display, S, C, K: Copy> EndpointsService<A, S, C, K> {
    /// Sends a request, as [`call`](Service::call) does.
    #[inline]
    pub(crate) fn send<Req, Res, E>(&self, request: Req) -> ResponseFuture<A, S, Req, C::Judge, K>
    where
        Req: HasCallOptions,
        S: Service<Req, Response = Res, Error = Error<E>> + Clone,
        C: Classify<Req, Res, E>,
    {
        let judge = self.classifier.judge(&request);
        ResponseFuture::new(&self.endpoints, request, judge, self.kind, Instant::now())
    }
}

impl<Req, A, S, C, K, Res, E> Service<Req> for EndpointsService<A, S, C, K>
where
    Req: HasCallOptions,
    A: PartialEq + fmt::Display,
    S: Service<Req, Response = Res, Error = Error<E>> + Clone,
    S::Error: SteadfastError,
    C: Classify<Req, Res, E>,
    K: ResponseKind<Res>,
{
    type Response = K::Observed<EndpointBody>;
    type Error = Error<E>;
    type Future = ResponseFuture<A, S, Req, C::Judge, K>;

    // Only the request tells which endpoints the call has tried, so the endpoint is chosen, and waited for, in the
    // call.
    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    #[inline]
    fn call(&mut self, request: Req) -> Self::Future {
        self.send(request)
    }
}

impl<A, S, C: Clone, K: Clone> Clone for EndpointsService<A, S, C, K> {
    fn clone(&self) -> Self {
        Self {
            endpoints: self.endpoints.clone(),
            classifier: self.classifier.clone(),
            kind: self.kind.clone(),
        }
    }
}

impl<A, S, C, K> fmt::Debug for EndpointsService<A, S, C, K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EndpointsService").field("endpoints", &self.endpoints).finish_non_exhaustive()
    }
}
