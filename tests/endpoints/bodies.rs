//! Bodies that break off or stall. A layer above reads them into memory, so a retry can follow.

use steadfast::ResponseExt as _;
use steadfast::buffer_body::{BufferBodyLayer, BufferBodyService};

use super::*;

type BufferedStack = RetryService<TimeoutService<BufferBodyService<EndpointsService<usize, Connection>>>>;

fn stack(upstream: &Upstream, budget: Option<RetryBudget>) -> BufferedStack {
    let retry = RetryLayer::new(RetryPolicy::builder().seed(7).build().unwrap());
    let retry = match budget {
        Some(budget) => retry.budget(budget),
        None => retry.without_budget(),
    };
    ServiceBuilder::new()
        .layer(retry)
        .layer(TimeoutLayer::new(1000 * MS))
        .layer(BufferBodyLayer::new())
        .service(upstream.service())
}

async fn read(stack: &BufferedStack) -> Option<u32> {
    let response = send(stack, get()).await.ok()?;
    let attempts = response.attempts();
    let body = response.into_body().collect().await.ok()?.to_bytes();
    (body == "whole").then_some(attempts)
}

#[tokio::test(start_paused = true)]
async fn a_retry_after_a_broken_or_stalled_body_goes_to_another_endpoint() {
    for mode in [Broken, Stalled] {
        for _ in 0..20 {
            let upstream = Upstream::of(4);
            upstream.instances[1..].iter().for_each(|instance| instance.set(mode.clone()));
            let attempts = read(&stack(&upstream, None)).await;
            let requests = upstream.requests();
            assert!(attempts.is_some_and(|attempts| attempts <= 4), "{mode:?}: {requests:?}");
            assert!(requests.iter().all(|requests| *requests <= 1), "{mode:?}: {requests:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn an_endpoint_whose_bodies_break_or_stall_costs_few_attempts() {
    for mode in [Broken, Stalled] {
        let upstream = Upstream::of(4);
        upstream.calls(100).await;
        upstream.requests();
        upstream.instances[2].set(mode.clone());
        let stack = stack(&upstream, None);
        let mut answered = 0;
        for _ in 0..1000 {
            answered += usize::from(read(&stack).await.is_some());
            sleep(15 * MS).await;
        }
        assert_eq!(answered, 1000, "{mode:?}");
        let bad = upstream.requests()[2];
        assert!(bad <= 12, "{mode:?}: {bad} attempts at the bad endpoint");
    }
}

#[tokio::test(start_paused = true)]
async fn a_burst_of_stalled_bodies_of_one_endpoint_leaves_the_budget_to_others() {
    let upstream = Upstream::of(4);
    let budget = RetryBudget::default();
    let stack = stack(&upstream, Some(budget.clone()));
    for _ in 0..20 {
        assert!(read(&stack).await.is_some());
    }
    // All of its calls in flight are cut at the same time.
    upstream.instances[0].set(Stalled);
    let call = || {
        let stack = stack.clone();
        tokio::spawn(async move { read(&stack).await })
    };
    let calls: Vec<_> = (0..60).map(|_| call()).collect();
    for call in calls {
        assert!(call.await.unwrap().is_some());
    }
    assert!(upstream.requests()[0] >= 10, "a burst");
    assert!(budget.tokens() > 5.0, "{}", budget.tokens());
}

/// The reader of a stream may take its time, and the deadline may cut a body that still arrives.
#[tokio::test(start_paused = true)]
async fn a_body_that_still_arrives_at_the_deadline_is_no_fault() {
    let make = |_: &usize| {
        tower::service_fn(|_: Request<()>| async move {
            let mut body = Script::pieces(&["a"]);
            for _ in 0..1000 {
                body = body.then(Step::Wait(20 * MS)).then(Step::Data("a".into()));
            }
            Ok::<_, Error<io::Error>>(Response::new(body.start()))
        })
    };
    let endpoints = Endpoints::builder().seed(7).build(fixed(0..2), make).unwrap();
    let service = ServiceBuilder::new()
        .layer(steadfast::deadline::DeadlineLayer::new(2000 * MS))
        .service(EndpointsService::new(endpoints.clone()));
    for _ in 0..10 {
        let response = send(&service, get()).await.unwrap();
        assert!(response.into_body().collect().await.is_err(), "the deadline cuts it");
    }
    let list = endpoints.list();
    assert!(list.iter().all(|it| it.state() == EndpointState::Available && it.faults_in_row() == 0));
}
