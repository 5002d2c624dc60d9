use std::fmt;
use std::marker::PhantomData;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use pin_project::pin_project;

use super::admission::{Admission, BodyWatch};
use crate::message::Attach;
use crate::poll::{listen_wait, say_wait};
use crate::{Classify, Error, Outcome};

/// The future of [`CircuitBreakerService`](super::CircuitBreakerService).
///
/// Cancel safe: dropped, it frees the place of a probe, and counts as a failure only if it had run for longer than
/// [`abandoned_after`](super::CircuitBreakerBuilder::abandoned_after).
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
        admission: Admission,
        classifier: C,
    },
    Refused {
        retry_after: Option<Duration>,
    },
}

impl<F, C, K> ResponseFuture<F, C, K> {
    pub(super) fn admitted(admission: Admission, future: F, classifier: C) -> Self {
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
    K: Attach<Res, Option<BodyWatch>>,
{
    type Output = Result<K::Response, Error<E>>;

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match self.project().state.project() {
            StateProj::Admitted { future, admission, classifier } => {
                let listening = listen_wait();
                let polled = future.poll(cx);
                let wait = listening.heard();
                // The result is moved once, where it becomes that of this layer: responses are large.
                let watch = match &polled {
                    Poll::Ready(result) => judge(admission, classifier, result.as_ref()),
                    Poll::Pending => {
                        admission.pending(wait);
                        None
                    }
                };
                // Who listens further out hears it too.
                wait.into_iter().for_each(say_wait);
                match polled {
                    Poll::Ready(Ok(response)) => Poll::Ready(Ok(K::attach(response, watch))),
                    Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
                    Poll::Pending => Poll::Pending,
                }
            }
            StateProj::Refused { retry_after } => {
                Poll::Ready(Err(Error::CircuitOpen { retry_after: *retry_after }))
            }
        }
    }
}

/// Settles the admission; returns who watches the body.
fn judge<Res, E>(
    admission: &mut Admission,
    classifier: &impl Classify<Res, E>,
    result: Result<&Res, &Error<E>>,
) -> Option<BodyWatch> {
    if !admission.is_open() {
        return None;
    }
    match result {
        Err(error) if error.is_refusal() => admission.settle(Outcome::Neutral),
        // Cut by the deadline of the call, it counts as if its caller had dropped it.
        Err(error) if error.is_total_timeout() => {
            admission.abandon();
            None
        }
        result => admission.settle(classifier.classify(result)),
    }
}

impl<F, C, K> fmt::Debug for ResponseFuture<F, C, K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("circuit_breaker::ResponseFuture").finish_non_exhaustive()
    }
}
