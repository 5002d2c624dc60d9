//! Bodies that break off or stall. A layer above reads them into memory, so a retry can follow.

use steadfast::ResponseExt as _;
use steadfast::buffer_body::{BufferBodyLayer, BufferBodyService};

use super::*;

type BufferedStack = RetryService<TimeoutService<BufferBodyService<EndpointsService<usize, Connection>>>>;

fn stack(upstream: &Upstream, budget: Option<RetryBudget>) -> BufferedStack {
    ServiceBuilder::new()
        .layer(retries(budget))
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

/// The limit of an attempt is close to the usual time of an answer, so the wait for the body is never unusually long.
#[tokio::test(start_paused = true)]
async fn a_retry_after_a_stalled_body_of_slow_endpoints_goes_to_another_endpoint() {
    for _ in 0..10 {
        let upstream = Upstream::of(3);
        upstream.instances.iter().for_each(|instance| instance.set(Well(600 * MS)));
        upstream.calls(20).await;
        upstream.requests();
        upstream.instances[1..].iter().for_each(|instance| instance.set(Stalled));
        assert!(read(&stack(&upstream, None)).await.is_some());
        let requests = upstream.requests();
        assert!(requests.iter().all(|requests| *requests <= 1), "{requests:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_endpoint_whose_probe_stalls_in_its_body_does_not_return() {
    let upstream = Upstream::of(2);
    upstream.calls(100).await;
    upstream.instances[0].set(Stalled);
    let stack = ServiceBuilder::new()
        .layer(retries(None))
        .layer(TimeoutLayer::new(4000 * MS))
        .layer(BufferBodyLayer::new())
        .service(upstream.service());
    let mut calls = tokio::task::JoinSet::new();
    for _ in 0..3000 {
        let stack = stack.clone();
        calls.spawn(async move { read(&stack).await.is_some() });
        sleep(20 * MS).await;
        while calls.try_join_next().is_some_and(Result::unwrap) {}
    }
    assert!(calls.join_all().await.into_iter().all(|is_good| is_good));
    assert!(upstream.requests()[0] < 60, "a minute");
}

/// Heartbeats of a stream come rarely, and the deadline ends every stream.
#[tokio::test(start_paused = true)]
async fn quiet_streams_that_the_deadline_ends_are_no_faults() {
    for heartbeats in [0, 3] {
        let make = move |_: &usize| {
            tower::service_fn(move |_: Request<()>| async move {
                sleep(5 * MS).await;
                let mut body = Script::pieces(&[]);
                for _ in 0..heartbeats {
                    body = body.then(Step::Wait(3000 * MS)).then(Step::Data(":".into()));
                }
                Ok::<_, Error<io::Error>>(Response::new(body.then(Step::Stall).start()))
            })
        };
        let endpoints = Endpoints::builder().seed(7).build(fixed(0..3), make).unwrap();
        let service = ServiceBuilder::new()
            .layer(steadfast::deadline::DeadlineLayer::new(10_000 * MS))
            .service(EndpointsService::new(endpoints.clone()));
        for _ in 0..20 {
            let response = send(&service, get()).await.unwrap();
            assert!(response.into_body().collect().await.is_err(), "the deadline cuts it");
        }
        let list = endpoints.list();
        assert!(list.iter().all(|it| it.state() == EndpointState::Available && it.faults_in_row() == 0));
    }
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
