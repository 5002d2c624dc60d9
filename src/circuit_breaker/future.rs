//! The future of a call through the circuit breaker. It classifies the result, and reports the outcome to the circuit
//! breaker.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};

use pin_project::pin_project;

use super::admission::Admission;
use super::body::BreakerBody;
use crate::internal::signals::{listen_wait, raise_wait};
use crate::response_kind::{AttemptFacts as _, ResponseKind};
use crate::{Error, ErrorInfo, Judge, Outcome};

/// The future of [`CircuitBreakerService`](super::CircuitBreakerService).
///
/// Cancel safe. A call that is dropped after a wait of at least
/// [`abandoned_after`](super::CircuitBreakerBuilder::abandoned_after) counts as a failure. A call that is dropped
/// earlier does not count; a probe that is dropped earlier frees its place.
#[pin_project]
pub struct ResponseFuture<F, J, K> {
    #[pin]
    stage: BreakerStage<F, J>,
    kind: K,
}

#[pin_project(project = BreakerStageProj)]
enum BreakerStage<F, J> {
    Admitted {
        #[pin]
        future: F,
        admission: Admission,
        judge: J,
    },
    /// `None` once the refusal is returned.
    Refused(Option<ErrorInfo>),
}

impl<F, J, K> ResponseFuture<F, J, K> {
    pub(super) const fn admitted(admission: Admission, future: F, judge: J, kind: K) -> Self {
        Self { stage: BreakerStage::Admitted { future, admission, judge }, kind }
    }

    pub(super) const fn refused(refusal: ErrorInfo, kind: K) -> Self {
        Self { stage: BreakerStage::Refused(Some(refusal)), kind }
    }
}

impl<F, J, K, Res, E> Future for ResponseFuture<F, J, K>
where
    F: Future<Output = Result<Res, Error<E>>>,
    J: Judge<Res, E>,
    K: ResponseKind<Res>,
{
    type Output = Result<K::Observed<Option<BreakerBody>>, Error<E>>;

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        match this.stage.project() {
            BreakerStageProj::Admitted { future, admission, judge } => {
                let listening = listen_wait();
                let mut polled = future.poll(cx);
                let wait = listening.heard();
                // Responses are large, so the result is classified by reference, and moved only once: below, where
                // its type changes.
                let observer = match &mut polled {
                    Poll::Ready(Ok(response)) => settle(admission, judge, *this.kind, Ok(response)),
                    Poll::Ready(Err(error)) => {
                        admission.name(error);
                        settle(admission, judge, *this.kind, Err(error))
                    }
                    Poll::Pending => {
                        admission.pending(wait);
                        None
                    }
                };
                // `listening` hid the signal of a wait from the layers above, so the signal is raised again.
                wait.into_iter().for_each(raise_wait);
                match polled {
                    Poll::Ready(Ok(response)) => Poll::Ready(Ok(this.kind.observe(response, observer))),
                    Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
                    Poll::Pending => Poll::Pending,
                }
            }
            BreakerStageProj::Refused(refusal) => Poll::Ready(Err(Error::from_refusal(refusal))),
        }
    }
}

/// Classifies the result, and reports the outcome. Returns the observer of the response's body, if the body counts.
fn settle<Res, E>(
    admission: &mut Admission,
    judge: &impl Judge<Res, E>,
    kind: impl ResponseKind<Res>,
    result: Result<&Res, &Error<E>>,
) -> Option<BreakerBody> {
    if !admission.is_open() {
        return None;
    }
    let response = match result {
        Ok(response) => response,
        Err(error) => return settle_error(admission, judge, error),
    };
    if kind.is_of_redirect_target(response) {
        admission.settle_redirected();
        return None;
    }
    match kind.broken(response) {
        // The broken body counts now, and does not count once more when the caller reads it.
        Some(broken) => settle_error(admission, judge, &broken.error()),
        None => admission.settle(judge.classify(result)),
    }
}

#[cold]
fn settle_error<Res, E>(
    admission: &mut Admission,
    judge: &impl Judge<Res, E>,
    error: &Error<E>,
) -> Option<BreakerBody> {
    if error.is_refusal() {
        admission.settle(Outcome::Neutral);
    } else if error.is_of_redirect_target() || (error.is_timeout() && admission.is_redirected()) {
        admission.settle_redirected();
    } else if error.is_total_timeout() {
        // A call cut by its deadline counts like a call dropped by its caller.
        admission.abandon();
    } else {
        admission.settle(judge.classify(Err(error)));
    }
    None
}

impl<F, J, K> fmt::Debug for ResponseFuture<F, J, K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("circuit_breaker::ResponseFuture").finish_non_exhaustive()
    }
}
