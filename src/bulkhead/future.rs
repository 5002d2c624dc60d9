use std::fmt;
use std::marker::PhantomData;
use std::pin::Pin;
use std::task::{Context, Poll};

use pin_project::pin_project;
use tower::Service;

use super::Bulkhead;
use super::handle::{Permit, Waiting};
use crate::Error;
use crate::message::Attach;
use crate::poll::{Wait, say_wait};

/// The future of [`BulkheadService`](super::BulkheadService).
///
/// Cancel safe: dropped, it gives back its permit or its place in the queue.
#[pin_project]
pub struct ResponseFuture<Req, S: Service<Req>, K> {
    #[pin]
    state: State<Req, S, S::Future>,
    kind: PhantomData<fn() -> K>,
}

#[pin_project(project = StateProj)]
enum State<Req, S, F> {
    Admitted {
        #[pin]
        future: F,
        /// `None` without a bulkhead, and once the permit has gone on with the response.
        permit: Option<Permit>,
    },
    /// Only who has to queue pays for the room that it takes.
    Queued(Box<Queued<Req, S>>),
    Refused {
        max_concurrent: usize,
    },
}

/// A wait for a permit, and what to call with it.
struct Queued<Req, S> {
    waiting: Waiting,
    call: Option<(S, Req)>,
    bulkhead: Bulkhead,
}

impl<Req, S: Service<Req>, K> ResponseFuture<Req, S, K> {
    pub(super) fn admitted(future: S::Future, permit: Option<Permit>) -> Self {
        Self { state: State::Admitted { future, permit }, kind: PhantomData }
    }

    pub(super) fn queued(waiting: Waiting, service: S, request: Req, bulkhead: Bulkhead) -> Self {
        let queued = Queued { waiting, call: Some((service, request)), bulkhead };
        Self { state: State::Queued(Box::new(queued)), kind: PhantomData }
    }

    pub(super) fn refused(max_concurrent: usize) -> Self {
        Self { state: State::Refused { max_concurrent }, kind: PhantomData }
    }
}

impl<Req, S, K, Res, E> Future for ResponseFuture<Req, S, K>
where
    S: Service<Req, Response = Res, Error = Error<E>>,
    K: Attach<Res, Option<Permit>>,
{
    type Output = Result<K::Response, Error<E>>;

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut state = self.project().state;
        loop {
            match state.as_mut().project() {
                StateProj::Admitted { future, permit } => {
                    return match future.poll(cx) {
                        Poll::Ready(Ok(response)) => Poll::Ready(Ok(K::attach(response, permit.take()))),
                        Poll::Ready(Err(error)) => {
                            *permit = None;
                            Poll::Ready(Err(error))
                        }
                        Poll::Pending => Poll::Pending,
                    };
                }
                StateProj::Queued(queued) => {
                    let Poll::Ready(permit) = queued.waiting.as_mut().poll(cx) else {
                        say_wait(Wait::Queue);
                        return Poll::Pending;
                    };
                    let next = match (permit, queued.call.take()) {
                        (Some(permit), Some((mut service, request))) => {
                            State::Admitted { future: service.call(request), permit: Some(permit) }
                        }
                        _ => State::Refused { max_concurrent: queued.bulkhead.refuse() },
                    };
                    state.set(next);
                }
                StateProj::Refused { max_concurrent } => {
                    return Poll::Ready(Err(Error::BulkheadFull { max_concurrent: *max_concurrent }));
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
