//! The future of a call through the bulkhead. It waits for a permit if necessary, and then makes the call.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};

use pin_project::pin_project;
use tower::Service;

use super::Bulkhead;
use super::handle::{Permit, Waiting};
use crate::internal::signals::{
    CircuitOpened, Wait, circuit_opened, is_in_memory, raise_wait, withdraw_in_memory,
};
use crate::response_kind::ResponseKind;
use crate::{Error, ErrorInfo, ErrorKind};

/// The future of [`BulkheadService`](super::BulkheadService).
///
/// Cancel safe: a call that is dropped returns its permit, or leaves the queue.
#[pin_project]
pub struct ResponseFuture<Req, S: Service<Req>, K> {
    #[pin]
    stage: BulkheadStage<Req, S, S::Future>,
    kind: K,
}

#[pin_project(project = BulkheadStageProj)]
enum BulkheadStage<Req, S, F> {
    Admitted {
        #[pin]
        future: F,
        /// `None` if there is no bulkhead, or if the call already has a result.
        permit: Option<Permit>,
    },
    /// Boxed, so that the future of a call that does not wait stays small.
    Queued(Box<Queued<Req, S>>),
    /// `None` after the refusal has been returned.
    Refused(Option<ErrorInfo>),
}

/// A wait for a permit, and the call to make afterwards.
struct Queued<Req, S> {
    waiting: Waiting,
    call: Option<(S, Req)>,
    bulkhead: Bulkhead,
}

impl<Req, S: Service<Req>, K> ResponseFuture<Req, S, K> {
    pub(super) fn admitted(future: S::Future, permit: Option<Permit>, kind: K) -> Self {
        Self { stage: BulkheadStage::Admitted { future, permit }, kind }
    }

    pub(super) fn queued(waiting: Waiting, service: S, request: Req, bulkhead: Bulkhead, kind: K) -> Self {
        let queued = Queued { waiting, call: Some((service, request)), bulkhead };
        Self { stage: BulkheadStage::Queued(Box::new(queued)), kind }
    }

    pub(super) const fn refused(refusal: ErrorInfo, kind: K) -> Self {
        Self { stage: BulkheadStage::Refused(Some(refusal)), kind }
    }
}

impl<Req, S, K, Res, E> Future for ResponseFuture<Req, S, K>
where
    S: Service<Req, Response = Res, Error = Error<E>>,
    K: ResponseKind<Res>,
{
    type Output = Result<K::Observed<Option<Permit>>, Error<E>>;

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let mut stage = this.stage;
        loop {
            match stage.as_mut().project() {
                BulkheadStageProj::Admitted { future, permit } => {
                    withdraw_in_memory();
                    return match future.poll(cx) {
                        Poll::Ready(Ok(response)) => {
                            permit.iter_mut().for_each(Permit::answered);
                            // A body that is in memory needs no permit.
                            let is_in_memory = is_in_memory(|| this.kind.body_length(&response));
                            let observer = permit.take().filter(|_| !is_in_memory);
                            Poll::Ready(Ok(this.kind.observe(response, observer)))
                        }
                        Poll::Ready(Err(mut error)) => {
                            if let Some(permit) = permit.take() {
                                error.set_upstream(permit.shared_name());
                            }
                            Poll::Ready(Err(error))
                        }
                        Poll::Pending => {
                            permit.iter_mut().for_each(Permit::waits);
                            Poll::Pending
                        }
                    };
                }
                BulkheadStageProj::Queued(queued) => {
                    // Ask before the poll below, in which the call may get its permit.
                    if let Some(CircuitOpened { retry_after }) = circuit_opened() {
                        let refusal = ErrorInfo::refusal(ErrorKind::CircuitOpen { retry_after }, None);
                        stage.set(BulkheadStage::Refused(Some(refusal)));
                        continue;
                    }
                    let Poll::Ready(permit) = queued.waiting.as_mut().poll(cx) else {
                        raise_wait(Wait::Queue);
                        return Poll::Pending;
                    };
                    let next = match (permit, queued.call.take()) {
                        (Some(permit), Some((mut service, request))) => {
                            BulkheadStage::Admitted { future: service.call(request), permit: Some(permit) }
                        }
                        _ => BulkheadStage::Refused(Some(queued.bulkhead.refuse())),
                    };
                    stage.set(next);
                }
                BulkheadStageProj::Refused(refusal) => {
                    return Poll::Ready(Err(Error::from_refusal(refusal)));
                }
            }
        }
    }
}

impl<Req, S: Service<Req>, K> fmt::Debug for ResponseFuture<Req, S, K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("bulkhead::ResponseFuture").finish_non_exhaustive()
    }
}
