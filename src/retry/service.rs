use std::fmt;
use std::marker::PhantomData;
use std::task::{Context, Poll};

use tower::Service;

use super::ResponseFuture;
use super::layer::Rules;
use crate::handle::Handle;
use crate::http::HttpClassifier;
use crate::message::Discard;
use crate::{Classify, Error, HasCallOptions, Http, RetryableRequest};

/// The service that [`RetryLayer`](super::RetryLayer) makes.
pub struct RetryService<S, C = HttpClassifier, K = Http> {
    inner: S,
    rules: Handle<Rules>,
    classifier: C,
    kind: PhantomData<fn() -> K>,
}

impl<S, C, K> RetryService<S, C, K> {
    pub(super) fn new(inner: S, rules: Handle<Rules>, classifier: C) -> Self {
        Self { inner, rules, classifier, kind: PhantomData }
    }
}

impl<Req, S, C, K, Res, E> Service<Req> for RetryService<S, C, K>
where
    Req: HasCallOptions + RetryableRequest,
    S: Service<Req, Response = Res, Error = Error<E>> + Clone,
    C: Classify<Res, E>,
    K: Discard<Res>,
{
    type Response = Res;
    type Error = Error<E>;
    type Future = ResponseFuture<Req, S, C, K, K::Leftover>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx)
    }

    #[inline]
    fn call(&mut self, request: Req) -> Self::Future {
        // The service that was polled ready goes with the call; the clone that stays has to be polled anew.
        let clone = self.inner.clone();
        let ready = std::mem::replace(&mut self.inner, clone);
        ResponseFuture::new(ready, self.rules.clone(), self.classifier.clone(), request)
    }
}

impl<S: Clone, C: Clone, K> Clone for RetryService<S, C, K> {
    fn clone(&self) -> Self {
        Self::new(self.inner.clone(), self.rules.clone(), self.classifier.clone())
    }
}

impl<S: fmt::Debug, C: fmt::Debug, K> fmt::Debug for RetryService<S, C, K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RetryService").field("inner", &self.inner).finish_non_exhaustive()
    }
}
