//! The future of a call through the circuit breaker. It classifies the result, and records the verdict.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};

use pin_project::{pin_project, pinned_drop};

use super::admission::Admission;
use super::body::BreakerBody;
use crate::internal::signals::{is_in_memory, leaving_queue, listen_wait, raise_wait, withdraw_in_memory};
use crate::response_kind::{AttemptFacts as _, ResponseKind};
use crate::{Error, ErrorInfo, Judge, Outcome, TimeoutScope};

/// The future of [`CircuitBreakerService`](super::CircuitBreakerService).
///
/// Cancel safe. A call that is dropped after a [long wait](super#calls-that-are-cut) for the upstream counts as a
/// failure. A call that is dropped earlier does not count; such a probe frees its place.
#[pin_project(PinnedDrop)]
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
        /// Asks the judge for the outcome of a call that was cut. A function, because a drop does not know the types
        /// of response and error.
        judge_cut: fn(&J) -> Outcome,
    },
    /// `None` once the refusal is returned.
    Refused(Option<ErrorInfo>),
}

impl<F, J, K> ResponseFuture<F, J, K> {
    pub(super) const fn admitted<Res, E>(admission: Admission, future: F, judge: J, kind: K) -> Self
    where
        J: Judge<Res, E>,
    {
        let judge_cut = judge_cut::<J, Res, E>;
        Self { stage: BreakerStage::Admitted { future, admission, judge, judge_cut }, kind }
    }

    pub(super) const fn refused(refusal: ErrorInfo, kind: K) -> Self {
        Self { stage: BreakerStage::Refused(Some(refusal)), kind }
    }
}

#[cold]
fn judge_cut<J: Judge<Res, E>, Res, E>(judge: &J) -> Outcome {
    judge.classify(Err(&Error::timeout(TimeoutScope::Total, None)))
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
        let (mut future, admission, judge, judge_cut) = match this.stage.project() {
            BreakerStageProj::Admitted { future, admission, judge, judge_cut } => {
                (future, admission, judge, judge_cut)
            }
            BreakerStageProj::Refused(refusal) => return Poll::Ready(Err(Error::from_refusal(refusal))),
        };
        let waiting = listen_wait();
        withdraw_in_memory();
        let mut polled = match admission.poll_opened(cx) {
            Poll::Pending => future.as_mut().poll(cx),
            Poll::Ready(opened) => leaving_queue(opened, || future.as_mut().poll(cx)),
        };
        let wait = waiting.heard();
        // The scope hid the signal of a wait from the layers above, so the signal is raised again.
        wait.into_iter().for_each(raise_wait);
        if polled.is_pending() {
            // If the circuit opened while the call joined a queue, the call leaves the queue at once.
            if let Poll::Ready(opened) = admission.poll_pending(wait, || judge_cut(judge).is_fault(), cx) {
                polled = leaving_queue(opened, || future.poll(cx));
            }
        }
        // Responses are large, so the result is classified by reference, and moved only once: below, where its type
        // changes.
        let observer = match &mut polled {
            Poll::Ready(Ok(response)) => answered(admission, judge, *this.kind, response),
            Poll::Ready(Err(error)) => {
                admission.name(error);
                failed(admission, judge, error);
                None
            }
            Poll::Pending => None,
        };
        match polled {
            Poll::Ready(Ok(response)) => Poll::Ready(Ok(this.kind.observe(response, observer))),
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            Poll::Pending => Poll::Pending,
        }
    }
}

/// Records the verdict on an answered call. Returns the observer of the response's body, if the verdict depends on
/// the body.
fn answered<Res, E>(
    admission: &mut Admission,
    judge: &impl Judge<Res, E>,
    kind: impl ResponseKind<Res>,
    response: &Res,
) -> Option<BreakerBody> {
    if !admission.is_open() {
        return None;
    }
    if kind.is_of_redirect_target(response) {
        admission.redirected();
        return None;
    }
    if let Some(broken) = kind.broken(response) {
        failed(admission, judge, &broken.error());
        return None;
    }
    let is_in_memory = is_in_memory(|| kind.body_length(response));
    admission.answered(judge.classify(Ok(response)), !is_in_memory)
}

#[cold]
fn failed<Res, E>(admission: &mut Admission, judge: &impl Judge<Res, E>, error: &Error<E>) {
    if admission.is_open() {
        let is_refusal = error.is_refusal();
        admission.failed(error, if is_refusal { Outcome::Neutral } else { judge.classify(Err(error)) });
    }
}

/// The caller drops the call, if it has not ended.
#[pinned_drop]
impl<F, J, K> PinnedDrop for ResponseFuture<F, J, K> {
    fn drop(self: Pin<&mut Self>) {
        if let BreakerStageProj::Admitted { admission, judge, judge_cut, .. } = self.project().stage.project()
        {
            if admission.is_open() {
                admission.dropped(!judge_cut(judge).is_fault());
            }
        }
    }
}

impl<F, J, K> fmt::Debug for ResponseFuture<F, J, K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("circuit_breaker::ResponseFuture").finish_non_exhaustive()
    }
}
