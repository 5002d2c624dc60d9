//! Two threads on one upstream, and on separate upstreams.

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Barrier};
use std::thread;
use std::time::Duration;

use tower::Service;

use super::stack::{
    Callable, Checked, LIMITS, Request, floor, resilience_five, resilience_three, steadfast_five,
    steadfast_three,
};
use crate::measure::{
    Caller, Clock, Group, Sample, Subject, Suite, Tally, Value, runtime, wait_for_processor,
};
use crate::upstream::{Inner, get, http_get};

/// Runs each service in its own thread and runtime. All threads make calls until one thread has made enough.
///
/// The call rate counts the calls of all threads, from the common start to the end of the last thread. This time
/// includes the making of requests, while the time of a call does not.
pub fn threads<S, Req>(services: Vec<S>, next: fn() -> Req) -> Subject
where
    S: Service<Req, Response: Send, Error: Send, Future: Send> + Send + 'static,
    Req: Send + 'static,
{
    let expect: fn(&Result<_, _>) -> bool = Result::is_ok;
    let mut callers: Vec<_> = services.into_iter().map(|service| Caller { service, next, expect }).collect();
    Box::new(move |calls| {
        let begin = Arc::new(Barrier::new(callers.len()));
        let enough = Arc::new(AtomicBool::new(false));
        let start = |mut caller: Caller<S, fn() -> Req, _>| {
            let (begin, enough) = (Arc::clone(&begin), Arc::clone(&enough));
            let task = async move {
                begin.wait();
                let (clock, waited) = (Clock::start(), wait_for_processor());
                let tally = caller.calls(calls, || enough.load(Relaxed)).await;
                enough.store(true, Relaxed);
                (caller, tally, clock.elapsed().0, wait_for_processor().saturating_sub(waited))
            };
            thread::spawn(|| runtime().block_on(async { tokio::spawn(task).await }))
        };
        let threads: Vec<_> = callers.drain(..).map(start).collect();
        let (mut together, mut took, mut waited) = (Tally::default(), Duration::ZERO, Duration::ZERO);
        for thread in threads {
            let ended = thread.join().expect("the thread ends");
            let (caller, tally, time, wait) = ended.expect("every call succeeds");
            callers.push(caller);
            together += tally;
            (took, waited) = (took.max(time), waited.max(wait));
        }
        #[allow(clippy::cast_precision_loss)]
        let per_second = together.calls as f64 / took.as_secs_f64();
        Sample { per_second, waited, ..together.sample() }
    })
}

pub fn add(suite: &mut Suite) {
    with_requests(suite, "copies are free", get);
    with_requests(suite, "http::Request", http_get);
}

fn with_requests<Req: Request>(suite: &mut Suite, request: &str, next: fn() -> Req) {
    let inner = Inner::YieldsOnce;
    suite.group(format!("retry(breaker(bulkhead)), {request}, threads"), |group| {
        group.scaling("steadfast", next, || steadfast_three(inner));
        group.scaling("tower-resilience", next, || resilience_three(inner));
        group.scaling("floor", next, || floor(inner, None));
    });
    suite.group(format!("five-step stack, {request}, threads"), |group| {
        group.scaling("steadfast", next, || steadfast_five(inner));
        group.scaling("tower-resilience", next, || resilience_five(inner));
        group.scaling("floor", next, || floor(inner, Some(LIMITS)));
    });
}

impl Group {
    /// Adds rows for one thread, two threads on one upstream, and two threads on two upstreams.
    fn scaling<Req: Request, S: Callable<Req>>(
        &mut self,
        library: &'static str,
        next: fn() -> Req,
        make: impl Fn() -> Checked<S>,
    ) {
        self.batch(Duration::from_millis(20));
        let mut upstream = || {
            let (service, check) = make();
            self.check(check);
            service
        };
        let (first, second) = (upstream(), upstream());
        let one = self.run(threads(vec![first.clone()], next));
        let shared = self.run(threads(vec![first.clone(), first.clone()], next));
        let separate = self.run(threads(vec![first, second], next));
        for (run, threads) in [
            (one, "1 thread"),
            (shared, "2 threads on one upstream"),
            (separate, "2 threads on two upstreams"),
        ] {
            self.row(format!("{}: {threads}", self.name), library, Value::Rate(run));
        }
        for (run, upstreams) in [(shared, "one upstream"), (separate, "two upstreams")] {
            let case = format!("{}: 2 threads on {upstreams}, by 1 thread", self.name);
            self.row(case, library, Value::Scaling(run, one));
        }
    }
}
