//! Threads that share an upstream, and threads that don't.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Barrier};
use std::thread;
use std::time::Duration;

use tower::Service;

use super::stack::{
    Callable, Checked, LIMITS, Request, floor, resilience_five, resilience_three, steadfast_five,
    steadfast_three,
};
use crate::measure::{Caller, Group, Sample, Subject, Suite, Value, runtime};
use crate::upstream::{Inner, get, http_get};

/// A thread for each of the services, with a runtime of its own; all of them make calls until one has made enough.
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
        let threads: Vec<_> = callers
            .drain(..)
            .map(|mut caller| {
                let (begin, enough) = (Arc::clone(&begin), Arc::clone(&enough));
                let task = async move {
                    begin.wait();
                    let tally = caller.calls(calls, || enough.load(Ordering::Relaxed)).await;
                    enough.store(true, Ordering::Relaxed);
                    (caller, tally.sample())
                };
                thread::spawn(|| runtime().block_on(async { tokio::spawn(task).await }))
            })
            .collect();
        let mut samples = Vec::new();
        for thread in threads {
            let (caller, sample) = thread.join().expect("the thread ends").expect("every call succeeds");
            callers.push(caller);
            samples.push(sample);
        }
        together(&samples)
    })
}

/// What threads have shown that ran side by side.
#[allow(clippy::cast_precision_loss)]
fn together(samples: &[Sample]) -> Sample {
    let sum = |of: fn(&Sample) -> f64| samples.iter().map(of).sum::<f64>();
    let threads = samples.len() as f64;
    Sample {
        ns: sum(|sample| sample.ns) / threads,
        per_second: sum(|sample| sample.per_second),
        allocations: sum(|sample| sample.allocations) / threads,
        p99: None,
    }
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
    suite.group(format!("timeout(retry(breaker(bulkhead(timeout)))), {request}, threads"), |group| {
        group.scaling("steadfast", next, || steadfast_five(inner));
        group.scaling("tower-resilience", next, || resilience_five(inner));
        group.scaling("floor", next, || floor(inner, Some(LIMITS)));
    });
}

impl Group {
    /// One thread; two threads on one upstream; two threads on two.
    fn scaling<Req: Request, S: Callable<Req>>(
        &mut self,
        library: &'static str,
        next: fn() -> Req,
        make: impl Fn() -> Checked<S>,
    ) {
        self.batch(Duration::from_millis(10));
        let mut upstream = || {
            let (service, check) = make();
            self.check(check);
            service
        };
        let (first, second) = (upstream(), upstream());
        let one = self.run(threads(vec![first.clone()], next));
        let shared = self.run(threads(vec![first.clone(), first.clone()], next));
        let apart = self.run(threads(vec![first, second], next));
        for (run, what) in
            [(one, "1 thread"), (shared, "2 threads on one upstream"), (apart, "2 threads on two upstreams")]
        {
            self.row(format!("{}: {what}", self.name), library, Value::Rate(run));
        }
        for (run, what) in [(shared, "one upstream"), (apart, "two upstreams")] {
            let case = format!("{}: 2 threads on {what}, by 1 thread", self.name);
            self.row(case, library, Value::Scaling(run, one));
        }
    }
}
