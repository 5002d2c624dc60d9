//! A breaker or a bulkhead alone, around plain values.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use tokio::time::Instant;
use tower::Service;

use super::{Error, Hold, State};
use crate::upstream::{Answer, Broken, Plain};

#[derive(Clone)]
pub struct Alone {
    pub state: Arc<State>,
    pub upstream: Plain,
    pub guard: Guard,
}

#[derive(Clone, Copy)]
pub enum Guard {
    Breaker,
    Bulkhead,
}

impl<Req> Service<Req> for Alone {
    type Response = u64;
    type Error = Error;
    type Future = AloneFuture;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Req) -> AloneFuture {
        let mut hold = Hold::new(&self.state);
        let admitted = match self.guard {
            Guard::Breaker => hold.enter(),
            Guard::Bulkhead => hold.acquire(),
        };
        AloneFuture { hold, answer: admitted.map(|()| Service::<Req>::call(&mut self.upstream, request)) }
    }
}

pub struct AloneFuture {
    hold: Hold,
    answer: Result<Answer<u64, Broken>, Error>,
}

impl Future for AloneFuture {
    type Output = Result<u64, Error>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let Self { hold, answer } = &mut *self;
        let answer = match answer {
            Ok(answer) => answer,
            Err(refusal) => return Poll::Ready(Err(std::mem::replace(refusal, Error::CircuitOpen))),
        };
        let Poll::Ready(result) = Pin::new(answer).poll(cx) else {
            if hold.generation.is_some() {
                hold.since.get_or_insert_with(Instant::now);
            }
            return Poll::Pending;
        };
        hold.settle(result.is_err());
        Poll::Ready(result.map_err(Error::Upstream))
    }
}
