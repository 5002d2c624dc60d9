//! The retry service. Each call gets an inner service of its own for its attempts.

use std::fmt;
use std::task::{Context, Poll};

use tower::Service;

use super::future::ResponseFuture;
use super::settings::RetrySettings;
use crate::http::HttpClassifier;
use crate::internal::arc_pool::PooledArc;
use crate::response_kind::ResponseKind;
use crate::{Classify, Error, HasCallOptions, Http, RetryableRequest, SteadfastError};

/// The service of a [`RetryLayer`](super::RetryLayer).
#[derive(Clone)]
pub struct RetryService<S, C = HttpClassifier, K = Http> {
    inner: S,
    settings: PooledArc<RetrySettings>,
    classifier: C,
    kind: K,
}

impl<S, C, K> RetryService<S, C, K> {
    pub(super) const fn new(inner: S, settings: PooledArc<RetrySettings>, classifier: C, kind: K) -> Self {
        Self { inner, settings, classifier, kind }
    }
}

impl<Req, S, C, K, Res, E> Service<Req> for RetryService<S, C, K>
where
    Req: HasCallOptions + RetryableRequest,
    S: Service<Req, Response = Res, Error = Error<E>> + Clone,
    S::Error: SteadfastError,
    C: Classify<Req, Res, E>,
    K: ResponseKind<Res>,
{
    type Response = K::Held;
    type Error = Error<E>;
    type Future = ResponseFuture<Req, S, C::Judge, K>;

    // Always ready: each call waits inside its future until its own clone of the service is ready, at most until its
    // deadline.
    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    #[inline]
    fn call(&mut self, request: Req) -> Self::Future {
        let judge = self.classifier.judge(&request);
        ResponseFuture::new(self.inner.clone(), self.settings.clone(), judge, self.kind, request)
    }
}

impl<S: fmt::Debug, C, K> fmt::Debug for RetryService<S, C, K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RetryService")
            .field("inner", &self.inner)
            .field("settings", &self.settings)
            .finish_non_exhaustive()
    }
}
