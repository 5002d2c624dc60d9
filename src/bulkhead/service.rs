//! The service that takes a permit for each call.

use std::fmt;
use std::task::{Context, Poll};

use tower::Service;

use super::handle::Permit;
use super::{Bulkhead, ResponseFuture};
use crate::response_kind::ResponseKind;
use crate::{Error, HasCallOptions, Http, SteadfastError};

/// The service of a [`BulkheadLayer`](super::BulkheadLayer).
#[derive(Clone)]
pub struct BulkheadService<S, K = Http> {
    inner: S,
    bulkhead: Option<Bulkhead>,
    kind: K,
}

impl<S, K> BulkheadService<S, K> {
    pub(super) const fn new(inner: S, bulkhead: Option<Bulkhead>, kind: K) -> Self {
        Self { inner, bulkhead, kind }
    }
}

impl<Req, S, K, Res, E> Service<Req> for BulkheadService<S, K>
where
    Req: HasCallOptions,
    S: Service<Req, Response = Res, Error = Error<E>> + Clone,
    S::Error: SteadfastError,
    K: ResponseKind<Res>,
{
    type Response = K::Observed<Option<Permit>>;
    type Error = Error<E>;
    type Future = ResponseFuture<Req, S, K>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        let name = self.bulkhead.as_ref().and_then(Bulkhead::shared_name);
        self.inner.poll_ready(cx).map_err(|error| error.of_readiness(name))
    }

    // The permit is taken in `call`, not in `poll_ready`, so that a clone that is ready but never called holds no
    // permit.
    #[inline]
    fn call(&mut self, request: Req) -> Self::Future {
        let Some(bulkhead) = &self.bulkhead else {
            return ResponseFuture::admitted(self.inner.call(request), None, self.kind);
        };
        if let Some(permit) = bulkhead.try_acquire() {
            return ResponseFuture::admitted(self.inner.call(request), Some(permit), self.kind);
        }
        let Some(waiting) = bulkhead.queue(request.options().get_deadline()) else {
            return ResponseFuture::refused(bulkhead.refuse(), self.kind);
        };
        // Only the inner service that was polled ready may make the call, so it joins the queue with the request. A
        // clone takes its place.
        let clone = self.inner.clone();
        let ready = std::mem::replace(&mut self.inner, clone);
        ResponseFuture::queued(waiting, ready, request, bulkhead.clone(), self.kind)
    }
}

impl<S: fmt::Debug, K> fmt::Debug for BulkheadService<S, K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BulkheadService")
            .field("inner", &self.inner)
            .field("bulkhead", &self.bulkhead)
            .finish_non_exhaustive()
    }
}
