use std::fmt;
use std::marker::PhantomData;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use pin_project::pin_project;

use super::admission::{Admission, BodyWatch};
use crate::message::Attach;
use crate::poll::{hear_queued, say_refusing};
use crate::{Classify, Error};

/// The future of [`CircuitBreaker`](super::CircuitBreaker).
///
/// Cancel safe: dropped, it frees the place of a probe, and counts as a failure only if it had run for longer than
/// [`abandoned_after`](super::CircuitBuilder::abandoned_after).
#[pin_project]
pub struct ResponseFuture<F, C, K> {
    #[pin]
    state: State<F, C>,
    kind: PhantomData<fn() -> K>,
}

#[pin_project(project = StateProj)]
enum State<F, C> {
    Admitted {
        #[pin]
        future: F,
        /// `None` without a circuit, and once the result is handed on.
        admission: Option<Admission>,
        classifier: Arc<C>,
    },
    Refused {
        retry_after: Option<Duration>,
    },
}

impl<F, C, K> ResponseFuture<F, C, K> {
    pub(super) fn admitted(admission: Option<Admission>, future: F, classifier: Arc<C>) -> Self {
        Self { state: State::Admitted { future, admission, classifier }, kind: PhantomData }
    }

    pub(super) fn refused(retry_after: Option<Duration>) -> Self {
        Self { state: State::Refused { retry_after }, kind: PhantomData }
    }
}

impl<F, C, K, Res, E> Future for ResponseFuture<F, C, K>
where
    F: Future<Output = Result<Res, Error<E>>>,
    C: Classify<Res, E>,
    K: Attach<Res, BodyWatch>,
{
    type Output = Result<K::Response, Error<E>>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match self.project().state.project() {
            StateProj::Admitted { future, admission, classifier } => match hear_queued(|| future.poll(cx)) {
                (Poll::Pending, queued) => {
                    if !queued {
                        admission.iter_mut().for_each(Admission::pending);
                    }
                    Poll::Pending
                }
                (Poll::Ready(result), _) => {
                    let mut admission = admission.take();
                    if let Some(admission) = &mut admission {
                        let fault = judge(admission, &**classifier, result.as_ref());
                        // Only after a fault does anyone care whether another attempt would be let through.
                        if let Some(refusal) = fault.then(|| admission.refusal()).flatten() {
                            say_refusing(refusal);
                        }
                    }
                    Poll::Ready(result.map(|response| K::attach(response, BodyWatch::new(admission))))
                }
            },
            StateProj::Refused { retry_after } => {
                Poll::Ready(Err(Error::CircuitOpen { retry_after: *retry_after }))
            }
        }
    }
}

/// Settles the admission; returns whether the result was the upstream's fault.
fn judge<Res, E>(
    admission: &mut Admission,
    classifier: &impl Classify<Res, E>,
    result: Result<&Res, &Error<E>>,
) -> bool {
    match result {
        Err(error) if error.is_refusal() => {
            admission.cancel();
            false
        }
        // Cut by the deadline of the call, it counts as if its caller had dropped it: when the admission is dropped.
        Err(error) if error.is_total_timeout() => false,
        result => {
            let outcome = classifier.classify(result);
            admission.settle(outcome);
            outcome.is_fault()
        }
    }
}

impl<F, C, K> fmt::Debug for ResponseFuture<F, C, K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("circuit_breaker::ResponseFuture").finish_non_exhaustive()
    }
}
