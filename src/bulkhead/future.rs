use std::fmt;
use std::marker::PhantomData;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use pin_project::pin_project;
use tower::Service;

use super::Compartment;
use super::compartment::{Permit, Waiting};
use crate::Error;
use crate::message::Attach;
use crate::poll::say_queued;

/// The future of [`Bulkhead`](super::Bulkhead).
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
    Waiting {
        waiting: Waiting,
        /// What to call once there is a permit.
        call: Option<(S, Req)>,
        compartment: Compartment,
    },
    Refused {
        max_concurrent: usize,
    },
}

impl<Req, S: Service<Req>, K> ResponseFuture<Req, S, K> {
    pub(super) fn admitted(future: S::Future, permit: Option<Permit>) -> Self {
        Self { state: State::Admitted { future, permit }, kind: PhantomData }
    }

    pub(super) fn waiting(waiting: Waiting, service: S, request: Req, compartment: Compartment) -> Self {
        let call = Some((service, request));
        Self { state: State::Waiting { waiting, call, compartment }, kind: PhantomData }
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

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut state = self.project().state;
        loop {
            match state.as_mut().project() {
                StateProj::Admitted { future, permit } => {
                    let result = ready!(future.poll(cx));
                    let permit = permit.take();
                    return Poll::Ready(result.map(|response| K::attach(response, permit)));
                }
                StateProj::Waiting { waiting, call, compartment } => {
                    let Poll::Ready(permit) = waiting.as_mut().poll(cx) else {
                        say_queued();
                        return Poll::Pending;
                    };
                    let next = match (permit, call.take()) {
                        (Some(permit), Some((mut service, request))) => {
                            State::Admitted { future: service.call(request), permit: Some(permit) }
                        }
                        _ => State::Refused { max_concurrent: compartment.refuse() },
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
