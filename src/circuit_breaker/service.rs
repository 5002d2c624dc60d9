use std::fmt;
use std::marker::PhantomData;
use std::task::{Context, Poll};

use tower::Service;

use super::admission::{Admission, BodyWatch};
use super::{CircuitBreaker, ResponseFuture};
use crate::http::HttpClassifier;
use crate::message::Attach;
use crate::{Classify, Error, Http};

/// The service that [`CircuitBreakerLayer`](super::CircuitBreakerLayer) makes.
pub struct CircuitBreakerService<S, C = HttpClassifier, K = Http> {
    inner: S,
    circuit: Option<CircuitBreaker>,
    classifier: C,
    kind: PhantomData<fn() -> K>,
}

impl<S, C, K> CircuitBreakerService<S, C, K> {
    pub(super) fn new(inner: S, circuit: Option<CircuitBreaker>, classifier: C) -> Self {
        Self { inner, circuit, classifier, kind: PhantomData }
    }
}

impl<Req, S, C, K, Res, E> Service<Req> for CircuitBreakerService<S, C, K>
where
    S: Service<Req, Response = Res, Error = Error<E>>,
    C: Classify<Res, E>,
    K: Attach<Res, Option<BodyWatch>>,
{
    type Response = K::Response;
    type Error = Error<E>;
    type Future = ResponseFuture<S::Future, C, K>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx)
    }

    #[inline]
    fn call(&mut self, request: Req) -> Self::Future {
        let admission = match &self.circuit {
            None => Admission::none(),
            Some(circuit) => match circuit.enter() {
                Ok(ticket) => Admission::new(circuit.clone(), ticket),
                Err(retry_after) => return ResponseFuture::refused(retry_after),
            },
        };
        ResponseFuture::admitted(admission, self.inner.call(request), self.classifier.clone())
    }
}

impl<S: Clone, C: Clone, K> Clone for CircuitBreakerService<S, C, K> {
    fn clone(&self) -> Self {
        Self::new(self.inner.clone(), self.circuit.clone(), self.classifier.clone())
    }
}

impl<S: fmt::Debug, C, K> fmt::Debug for CircuitBreakerService<S, C, K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CircuitBreakerService")
            .field("inner", &self.inner)
            .field("circuit", &self.circuit)
            .finish_non_exhaustive()
    }
}
