//! Sequential calls of a service.

use std::hint::black_box;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use tower::Service;

use super::{Clock, Subject, Tally, runtime};

/// The number of requests to make ahead of the timed calls. Requests that own memory are made in smaller numbers, to
/// stay in the processor's cache.
const fn ahead<Req>() -> u64 {
    if std::mem::needs_drop::<Req>() { 32 } else { 256 }
}

/// A service with its requests and the expected results.
pub struct Caller<S, N, X> {
    pub service: S,
    /// Makes the next request.
    pub next: N,
    /// True if a result is as the case claims. Checked for every call.
    pub expect: X,
}

impl<S, N, X> Caller<S, N, X> {
    /// Makes calls that are ready at the first poll, without a runtime in between.
    pub fn ready<Req>(mut self) -> Subject
    where
        S: Service<Req> + 'static,
        N: FnMut() -> Req + 'static,
        X: Fn(&Result<S::Response, S::Error>) -> bool + 'static,
        Req: 'static,
    {
        let runtime = runtime();
        let mut requests = Vec::new();
        Box::new(move |calls| {
            let _context = runtime.enter();
            let mut cx = Context::from_waker(Waker::noop());
            let mut tally = Tally::default();
            while tally.calls < calls {
                requests.extend((0..ahead::<Req>().min(calls)).map(|_| (self.next)()));
                tally.time(requests.len() as u64, || {
                    for request in requests.drain(..) {
                        assert!(self.service.poll_ready(&mut cx).is_ready());
                        let future = pin!(self.service.call(black_box(request)));
                        let Poll::Ready(result) = future.poll(&mut cx) else {
                            panic!("the call is not ready at once");
                        };
                        assert!((self.expect)(black_box(&result)), "the result is not as the case claims");
                    }
                });
            }
            tally.sample()
        })
    }

    /// Makes calls in a task of a current-thread runtime.
    pub fn in_task<Req>(self) -> Subject
    where
        S: Service<Req, Response: Send, Error: Send, Future: Send> + Send + 'static,
        N: FnMut() -> Req + Send + 'static,
        X: Fn(&Result<S::Response, S::Error>) -> bool + Send + 'static,
        Req: Send + 'static,
    {
        let runtime = runtime();
        let mut caller = Some(self);
        Box::new(move |calls| {
            let mut taken = caller.take().expect("the previous batch returned the caller");
            let task = async move {
                let tally = taken.calls(calls, || false).await;
                (taken, tally)
            };
            let (returned, tally) =
                runtime.block_on(async { tokio::spawn(task).await.expect("every call succeeds") });
            caller = Some(returned);
            tally.sample()
        })
    }

    /// Makes at least `calls` calls, or stops early, after at least one batch of requests, if `stop` returns true.
    pub async fn calls<Req>(&mut self, calls: u64, stop: impl Fn() -> bool) -> Tally
    where
        S: Service<Req>,
        N: FnMut() -> Req,
        X: Fn(&Result<S::Response, S::Error>) -> bool,
    {
        let mut requests = Vec::new();
        let mut tally = Tally::default();
        while tally.calls == 0 || tally.calls < calls && !stop() {
            requests.extend((0..ahead::<Req>().min(calls)).map(|_| (self.next)()));
            let number = requests.len() as u64;
            let clock = Clock::start();
            for request in requests.drain(..) {
                let ready = std::future::poll_fn(|cx| self.service.poll_ready(cx)).await;
                assert!(ready.is_ok());
                let result = self.service.call(black_box(request)).await;
                assert!((self.expect)(black_box(&result)), "the result is not as the case claims");
            }
            tally.add(number, &clock);
        }
        tally
    }
}
