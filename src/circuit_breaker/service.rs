//! The service that asks the circuit breaker before each call.
//!
//! The circuit breaker is asked in `call`, not in `poll_ready`, so that a service that is ready but never called uses
//! up no probe.

use std::fmt;
use std::task::{Context, Poll};

use tower::Service;

use super::admission::Admission;
use super::body::BreakerBody;
use super::{CircuitBreaker, ResponseFuture};
use crate::http::HttpClassifier;
use crate::response_kind::ResponseKind;
use crate::{Classify, Error, Http, SteadfastError};

/// The service of a [`CircuitBreakerLayer`](super::CircuitBreakerLayer).
#[derive(Clone)]
pub struct CircuitBreakerService<S, C = HttpClassifier, K = Http> {
    inner: S,
    circuit: Option<CircuitBreaker>,
    classifier: C,
    kind: K,
}

impl<S, C, K> CircuitBreakerService<S, C, K> {
    pub(super) const fn new(inner: S, circuit: Option<CircuitBreaker>, classifier: C, kind: K) -> Self {
        Self { inner, circuit, classifier, kind }
    }
}

impl<Req, S, C, K, Res, E> Service<Req> for CircuitBreakerService<S, C, K>
where
    S: Service<Req, Response = Res, Error = Error<E>>,
    S::Error: SteadfastError,
    C: Classify<Req, Res, E>,
    K: ResponseKind<Res>,
{
    type Response = K::Observed<Option<BreakerBody>>;
    type Error = Error<E>;
    type Future = ResponseFuture<S::Future, C::Judge, K>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        let name = self.circuit.as_ref().and_then(CircuitBreaker::shared_name);
        self.inner.poll_ready(cx).map_err(|error| error.of_readiness(name))
    }

    #[inline]
    fn call(&mut self, request: Req) -> Self::Future {
        let admission = match &self.circuit {
            None => Admission::none(),
            Some(circuit) => match circuit.enter() {
                Ok(ticket) => Admission::new(circuit.clone(), ticket),
                Err(retry_after) => return ResponseFuture::refused(circuit.refusal(retry_after), self.kind),
            },
        };
        let judge = self.classifier.judge(&request);
        ResponseFuture::admitted(admission, self.inner.call(request), judge, self.kind)
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
