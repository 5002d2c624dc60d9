use std::fmt;
use std::marker::PhantomData;
use std::task::{Context, Poll};

use tower::Service;

use super::compartment::Permit;
use super::{Compartment, ResponseFuture};
use crate::message::Attach;
use crate::{Error, HasOptions, Http};

/// The service that [`BulkheadLayer`](super::BulkheadLayer) makes.
pub struct Bulkhead<S, K = Http> {
    inner: S,
    compartment: Option<Compartment>,
    kind: PhantomData<fn() -> K>,
}

impl<S, K> Bulkhead<S, K> {
    pub(super) fn new(inner: S, compartment: Option<Compartment>) -> Self {
        Self { inner, compartment, kind: PhantomData }
    }
}

impl<Req, S, K, Res, E> Service<Req> for Bulkhead<S, K>
where
    Req: HasOptions,
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
        let Some(compartment) = &self.compartment else {
            return ResponseFuture::admitted(self.inner.call(request), None);
        };
        if let Some(permit) = compartment.try_acquire() {
            return ResponseFuture::admitted(self.inner.call(request), Some(permit));
        }
        let Some(waiting) = compartment.queue(request.options().get_deadline()) else {
            return ResponseFuture::refused(compartment.refuse());
        };
        // The service that was polled ready waits with the request.
        let clone = self.inner.clone();
        let ready = std::mem::replace(&mut self.inner, clone);
        ResponseFuture::queued(waiting, ready, request, compartment.clone())
    }
}

impl<S: Clone, K> Clone for Bulkhead<S, K> {
    fn clone(&self) -> Self {
        Self::new(self.inner.clone(), self.compartment.clone())
    }
}

impl<S: fmt::Debug, K> fmt::Debug for Bulkhead<S, K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Bulkhead")
            .field("inner", &self.inner)
            .field("compartment", &self.compartment)
            .finish_non_exhaustive()
    }
}
