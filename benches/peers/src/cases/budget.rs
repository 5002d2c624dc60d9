//! The retry budget: the deposit of each call, and the withdrawal of a retry.
//!
//! The deposits and withdrawals of steadfast's budget are private, so the figure is the difference between a retry
//! layer with a budget and one without. tower's budget is called directly, by a service that does nothing else. Its
//! deposit figure is the difference to an idle service.

use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use steadfast::retry::{Backoff, Jitter, RetryBudget, RetryLayer, RetryPolicy};
use tower::retry::budget::{Budget, TpsBudget};
use tower::{Layer, Service};

use super::SECOND;
use super::threads::threads;
use crate::measure::{Subject, Suite, Tally, Value, runtime};
use crate::upstream::{Broken, HttpUpstream, Inner, WrappedBroken, get};

pub fn add(suite: &mut Suite) {
    for (number, threads_on_it) in [(1, "1 thread"), (2, "2 threads")] {
        suite.group(format!("retry budget, a deposit, {threads_on_it} on it"), |group| {
            group.batch(Duration::from_millis(10));
            let retry = |budget: Option<&RetryBudget>| {
                let layer = RetryLayer::new(RetryPolicy::default());
                let layer = match budget {
                    Some(budget) => layer.budget(budget.clone()),
                    None => layer.without_budget(),
                };
                // The threads' services must share only the budget. The leaked gap keeps their allocations on
                // separate cache lines.
                let service = |_| {
                    std::mem::forget(vec![0_u8; 4096]);
                    layer.layer(HttpUpstream::<WrappedBroken>::new(Inner::Ready))
                };
                threads((0..number).map(service).collect(), get)
            };
            let filling =
                RetryBudget::builder().capacity(1e6).initial(0.0).per_success(0.001).build().unwrap();
            let full = RetryBudget::builder().initial(10.0).build().unwrap();
            let without = group.run(retry(None));
            let with = group.run(retry(Some(&filling)));
            group.row(group.name.clone(), "steadfast", Value::Difference(with, without));
            let with = group.run(retry(Some(&full)));
            group.row(group.name.clone(), "steadfast, already full", Value::Difference(with, without));
            group.check(move || {
                assert!(filling.tokens() < 1e6, "a full budget is not written");
                assert!(full.tokens() >= 10.0);
            });

            let idle = tower::service_fn(|_| std::future::ready(Ok::<_, Broken>(())));
            let without = group.run(threads(vec![idle; number], get));
            let budget = Arc::new(TpsBudget::new(10 * SECOND, 10, 0.2));
            let deposit = tower::service_fn(move |_| {
                budget.deposit();
                std::future::ready(Ok::<_, Broken>(()))
            });
            let with = group.run(threads(vec![deposit; number], get));
            group.row(group.name.clone(), "tower", Value::Difference(with, without));
        });
    }

    suite.group("retry budget, a withdrawal and its return", |group| {
        let budget = RetryBudget::builder().initial(10.0).per_failure(0.0).build().unwrap();
        let layer = RetryLayer::new(
            RetryPolicy::builder().backoff(Backoff::new().jitter(Jitter::None)).build().unwrap(),
        );
        let without = group.run(given_up(&layer.clone().without_budget()));
        let with = group.run(given_up(&layer.budget(budget.clone())));
        group.row(group.name.clone(), "steadfast", Value::Difference(with, without));
        group.check(move || {
            assert!(budget.tokens() >= 10.0, "the token of a retry that was not sent is returned");
        });

        let budget = TpsBudget::new(10 * SECOND, 10, 1.0);
        let run = group.run(Box::new(move |calls| {
            let mut tally = Tally::default();
            tally.time(calls, || {
                for _ in 0..calls {
                    assert!(budget.withdraw());
                    budget.deposit();
                }
            });
            tally.sample()
        }));
        group.row(group.name.clone(), "tower", Value::Time(run));
    });
}

/// Makes calls that fail and are dropped while they wait for their retry.
fn given_up(layer: &RetryLayer) -> Subject {
    let runtime = runtime();
    let mut service = layer.layer(HttpUpstream::<WrappedBroken>::failing());
    Box::new(move |calls| {
        let _context = runtime.enter();
        let mut cx = Context::from_waker(Waker::noop());
        let mut tally = Tally::default();
        tally.time(calls, || {
            for _ in 0..calls {
                let waiting: Poll<Result<_, WrappedBroken>> = pin!(service.call(get())).poll(&mut cx);
                assert!(waiting.is_pending(), "there is a token for every retry");
            }
        });
        tally.sample()
    })
}
