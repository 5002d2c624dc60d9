use std::fmt;
use std::marker::PhantomData;
use std::task::{Context, Poll};

use tower::Service;

use super::handle::Permit;
use super::{Bulkhead, ResponseFuture};
use crate::message::Attach;
use crate::{Error, HasCallOptions, Http};

/// The service that [`BulkheadLayer`](super::BulkheadLayer) makes.
pub struct BulkheadService<S, K = Http> {
    inner: S,
    bulkhead: Option<Bulkhead>,
    kind: PhantomData<fn() -> K>,
}

impl<S, K> BulkheadService<S, K> {
    pub(super) fn new(inner: S, bulkhead: Option<Bulkhead>) -> Self {
        Self { inner, bulkhead, kind: PhantomData }
    }
}

impl<Req, S, K, Res, E> Service<Req> for BulkheadService<S, K>
where
    Req: HasCallOptions,
    S: Service<Req, Response = Res, Error = Error<E>> + Clone,
    K: Attach<Res, Option<Permit>>,
{
    type Response = K::Response;
    type Error = Error<E>;
    type Future = ResponseFuture<Req, S, K>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx)
    }

    // The permit is taken here and not in `poll_ready`: a clone that is never called holds nothing.
    #[inline]
    fn call(&mut self, request: Req) -> Self::Future {
        let Some(bulkhead) = &self.bulkhead else {
            return ResponseFuture::admitted(self.inner.call(request), None);
        };
        if let Some(permit) = bulkhead.try_acquire() {
            return ResponseFuture::admitted(self.inner.call(request), Some(permit));
        }
        let Some(waiting) = bulkhead.queue(request.options().get_deadline()) else {
            return ResponseFuture::refused(bulkhead.refuse());
        };
        // The service that was polled ready waits with the request.
        let clone = self.inner.clone();
        let ready = std::mem::replace(&mut self.inner, clone);
        ResponseFuture::queued(waiting, ready, request, bulkhead.clone())
    }
}

impl<S: Clone, K> Clone for BulkheadService<S, K> {
    fn clone(&self) -> Self {
        Self::new(self.inner.clone(), self.bulkhead.clone())
    }
}

impl<S: fmt::Debug, K> fmt::Debug for BulkheadService<S, K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Bulkhead")
            .field("inner", &self.inner)
            .field("bulkhead", &self.bulkhead)
            .finish_non_exhaustive()
    }
}
