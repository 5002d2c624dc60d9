//! The service that asks the circuit breaker before each call.
//!
//! The circuit breaker admits a call in `call`, not in `poll_ready`, so that a service that is ready but never called
//! uses up no probe. While the circuit refuses calls, `poll_ready` answers at once and does not ask the service
//! below, which may hang. The next call is then refused, even if the circuit has half-opened since, because the
//! service below may not be ready for a call.

use std::fmt;
use std::task::{Context, Poll, ready};

use tower::Service;

use super::admission::Admission;
use super::body::BreakerBody;
use super::gate::Refusal;
use super::{CircuitBreaker, ResponseFuture};
use crate::http::HttpClassifier;
use crate::response_kind::ResponseKind;
use crate::{Classify, Error, HasCallOptions, Http, SteadfastError};

/// The service of a [`CircuitBreakerLayer`](super::CircuitBreakerLayer).
pub struct CircuitBreakerService<S, C = HttpClassifier, K = Http> {
    inner: S,
    circuit: Option<CircuitBreaker>,
    classifier: C,
    kind: K,
    /// The refusal of the next call, if the circuit has answered `poll_ready` in place of the service below.
    refusal: Option<Refusal>,
}

impl<S, C, K> CircuitBreakerService<S, C, K> {
    pub(super) const fn new(inner: S, circuit: Option<CircuitBreaker>, classifier: C, kind: K) -> Self {
        Self { inner, circuit, classifier, kind, refusal: None }
    }
}

impl<Req, S, C, K, Res, E> Service<Req> for CircuitBreakerService<S, C, K>
where
    Req: HasCallOptions,
    S: Service<Req, Response = Res, Error = Error<E>>,
    S::Error: SteadfastError,
    C: Classify<Req, Res, E>,
    K: ResponseKind<Res>,
{
    type Response = K::Observed<Option<BreakerBody>>;
    type Error = Error<E>;
    type Future = ResponseFuture<S::Future, C::Judge, K>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.refusal = self.circuit.as_ref().and_then(CircuitBreaker::refuses);
        if self.refusal.is_some() {
            return Poll::Ready(Ok(()));
        }
        Poll::Ready(ready!(self.inner.poll_ready(cx)).map_err(|error| {
            let circuit = self.circuit.as_ref();
            if let Some(circuit) = circuit.filter(|_| !error.is_refusal()) {
                circuit.failed_to_become_ready();
            }
            error.of_readiness(circuit.and_then(CircuitBreaker::shared_name))
        }))
    }

    #[inline]
    fn call(&mut self, request: Req) -> Self::Future {
        if let (Some(refusal), Some(circuit)) = (self.refusal.take(), &self.circuit) {
            return ResponseFuture::refused(circuit.refuse(refusal), self.kind);
        }
        let admission = match &self.circuit {
            None => Admission::none(),
            Some(circuit) => match circuit.enter(|| request.options().get_deadline()) {
                Ok(ticket) => Admission::new(circuit.clone(), ticket),
                Err(retry_after) => return ResponseFuture::refused(circuit.refusal(retry_after), self.kind),
            },
        };
        let judge = self.classifier.judge(&request);
        ResponseFuture::admitted(admission, self.inner.call(request), judge, self.kind)
    }
}

/// A clone does not take over the readiness, so it must be polled before it is called.
impl<S: Clone, C: Clone, K: Clone> Clone for CircuitBreakerService<S, C, K> {
    fn clone(&self) -> Self {
        Self {
            inner: self.inner.clone(),
            circuit: self.circuit.clone(),
            classifier: self.classifier.clone(),
            kind: self.kind.clone(),
            refusal: None,
        }
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
