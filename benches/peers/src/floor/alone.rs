//! A breaker and a bulkhead, each alone, around answers that are not HTTP.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use tokio::time::Instant;
use tower::Service;

use super::{Error, HANG, State};
use crate::upstream::{Answer, Broken, PlainUpstream};

// ===== The breaker alone =====

#[derive(Clone)]
pub struct Breaker {
    pub state: Arc<State>,
    pub upstream: PlainUpstream,
}

impl<Req> Service<Req> for Breaker {
    type Response = u64;
    type Error = Error;
    type Future = BreakerFuture;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Req) -> BreakerFuture {
        let entered = self.state.enter();
        let answer = Service::<Req>::call(&mut self.upstream, request);
        BreakerFuture { state: Arc::clone(&self.state), answer, entered, since: None }
    }
}

pub struct BreakerFuture {
    state: Arc<State>,
    answer: Answer<u64, Broken>,
    /// The generation in which the call was admitted, or the refusal.
    entered: Result<u64, Error>,
    /// The time of the first `Pending`.
    since: Option<Instant>,
}

impl Future for BreakerFuture {
    type Output = Result<u64, Error>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        let Ok(generation) = this.entered else { return Poll::Ready(Err(Error::CircuitOpen)) };
        let Poll::Ready(result) = Pin::new(&mut this.answer).poll(cx) else {
            this.since.get_or_insert_with(Instant::now);
            return Poll::Pending;
        };
        this.state.leave(generation, result.is_err());
        this.since = None;
        Poll::Ready(result.map_err(Error::Upstream))
    }
}

impl Drop for BreakerFuture {
    fn drop(&mut self) {
        if let (Ok(generation), Some(since)) = (&self.entered, self.since) {
            self.state.leave(*generation, since.elapsed() >= HANG);
        }
    }
}

// ===== The bulkhead alone =====

#[derive(Clone)]
pub struct Bulkhead {
    pub state: Arc<State>,
    pub upstream: PlainUpstream,
}

impl<Req> Service<Req> for Bulkhead {
    type Response = u64;
    type Error = Error;
    type Future = BulkheadFuture;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Req) -> BulkheadFuture {
        let permit = self.state.acquire().map(|()| Permit(Arc::clone(&self.state)));
        BulkheadFuture { permit, answer: Service::<Req>::call(&mut self.upstream, request) }
    }
}

pub struct BulkheadFuture {
    permit: Result<Permit, Error>,
    answer: Answer<u64, Broken>,
}

impl Future for BulkheadFuture {
    type Output = Result<u64, Error>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        if self.permit.is_err() {
            return Poll::Ready(Err(Error::BulkheadFull));
        }
        Pin::new(&mut self.answer).poll(cx).map_err(Error::Upstream)
    }
}

#[derive(Debug)]
pub struct Permit(Arc<State>);

impl Drop for Permit {
    fn drop(&mut self) {
        self.0.release();
    }
}
