//! A retry goes elsewhere.

use steadfast::ResponseExt as _;

use super::*;

async fn attempts(upstream: &Upstream, request: Request<()>) -> (u16, u32) {
    let response = send(&upstream.stack(None), request).await.unwrap();
    (response.status().as_u16(), response.attempts())
}

#[tokio::test(start_paused = true)]
async fn a_retry_goes_to_an_endpoint_that_the_call_has_not_tried() {
    for mode in [Status(503, None), Reset, Refuse, Hang] {
        for _ in 0..20 {
            let upstream = Upstream::of(4);
            upstream.instances[1..].iter().for_each(|instance| instance.set(mode.clone()));
            let (status, attempts) = attempts(&upstream, get()).await;
            let requests = upstream.requests();
            assert_eq!(status, 200, "{mode:?}");
            assert!(
                attempts <= 4 && requests.iter().all(|requests| *requests <= 1),
                "{mode:?}: {requests:?}"
            );
        }
    }
}

#[tokio::test(start_paused = true)]
async fn one_bad_endpoint_of_four_costs_no_call_and_few_attempts() {
    for mode in [Status(503, None), Reset, Refuse, Hang, Status(503, Some(30))] {
        let upstream = Upstream::of(4);
        upstream.calls(100).await;
        upstream.requests();
        upstream.instances[2].set(mode.clone());
        assert_eq!(upstream.calls(1000).await, 1000, "{mode:?}");
        let bad = upstream.requests()[2];
        assert!(bad <= 12, "{mode:?}: {bad} attempts at the bad endpoint");
    }
}

#[tokio::test(start_paused = true)]
async fn two_bad_endpoints_of_four_cost_no_call_and_few_attempts() {
    let upstream = Upstream::of(4);
    upstream.instances[..2].iter().for_each(|instance| instance.set(Status(503, None)));
    assert_eq!(upstream.calls(1000).await, 1000);
    let requests = upstream.requests();
    assert!(requests[0] + requests[1] <= 24, "{requests:?}");
}

#[tokio::test(start_paused = true)]
async fn three_bad_endpoints_of_four_cost_no_call() {
    let upstream = Upstream::of(4);
    upstream.instances[..3].iter().for_each(|instance| instance.set(Status(503, None)));
    assert_eq!(upstream.calls(1000).await, 1000);
    let requests = upstream.requests();
    assert!(requests[3] >= 950, "{requests:?}");
}

#[tokio::test(start_paused = true)]
async fn the_retry_after_of_one_endpoint_delays_no_call() {
    let upstream = Upstream::of(2);
    upstream.instances[0].set(Status(503, Some(60)));
    let began = Instant::now();
    for _ in 0..20 {
        assert_eq!(attempts(&upstream, get()).await.0, 200);
    }
    assert!(began.elapsed() < 1000 * MS, "{:?}", began.elapsed());
    assert_eq!(upstream.requests()[0], 1);
    let status = upstream.status(0);
    assert_eq!(status.ejection_cause(), Some(EjectionCause::RetryAfter));
    let left = status.ejected_until().unwrap() - began;
    assert!((7900 * MS..8100 * MS).contains(&left), "no longer than an ejection: {left:?}");
}

/// A whole instance asks for the pause. One answer may be that of a single route.
#[tokio::test(start_paused = true)]
async fn an_endpoint_that_asks_for_a_long_pause_again_and_again_gets_it() {
    let upstream = Upstream::of(2);
    upstream.instances[0].set(Status(503, Some(60)));
    upstream.calls(3000).await;
    let left = upstream.status(0).ejected_until().unwrap() - Instant::now();
    assert!(left > 10_000 * MS, "{left:?}");
    assert!(upstream.requests()[0] <= 5);
}

#[tokio::test(start_paused = true)]
async fn the_faults_of_a_removed_endpoint_leave_the_budget_to_others() {
    let (upstream, changes) = discovery::changing(3);
    (0..3).for_each(|address| changes.send(Ok(Change::Insert(address))).unwrap());
    let budget = RetryBudget::default();
    let stack = upstream.stack(Some(budget.clone()));
    upstream.calls(50).await;
    upstream.instances[0].set(Hang);
    let calls: Vec<_> = (0..90).map(|_| tokio::spawn(send_once(stack.clone()))).collect();
    sleep(MS).await;
    changes.send(Ok(Change::Remove(0))).unwrap();
    for call in calls {
        assert_eq!(call.await.unwrap(), 200);
    }
    assert!(upstream.requests()[0] >= 15, "a burst");
    assert!(budget.tokens() > 5.0, "{}", budget.tokens());
}

#[tokio::test(start_paused = true)]
async fn a_throttled_answer_with_a_retry_after_keeps_the_endpoint_out() {
    let upstream = Upstream::of(2);
    upstream.calls(50).await;
    upstream.requests();
    upstream.instances[0].set(Status(429, Some(5)));
    upstream.calls(100).await;
    assert!(upstream.requests()[0] <= 3);
    upstream.instances[0].set(Well(5 * MS));
    upstream.calls(500).await;
    assert!(upstream.requests()[0] > 50);
}

#[tokio::test(start_paused = true)]
async fn a_post_that_may_have_been_sent_is_not_sent_again() {
    let upstream = Upstream::of(4);
    upstream.instances.iter().for_each(|instance| instance.set(Reset));
    let error = send(&upstream.stack(None), post()).await.map(drop).unwrap_err();
    assert!(error.maybe_sent() && error.attempts() == 1 && error.endpoint().is_some());
    upstream.instances.iter().for_each(|instance| instance.set(Refuse));
    upstream.instances[3].set(Well(MS));
    upstream.requests();
    assert_eq!(attempts(&upstream, post()).await.0, 200, "nothing was sent before");
    assert_eq!(upstream.requests(), [0, 0, 0, 1]);
}

#[tokio::test(start_paused = true)]
async fn a_burst_of_faults_of_one_endpoint_leaves_the_budget_to_others() {
    let upstream = Upstream::of(4);
    upstream.instances.iter().for_each(|instance| instance.set(Well(300 * MS)));
    let budget = RetryBudget::default();
    let stack = upstream.stack(Some(budget.clone()));
    for _ in 0..20 {
        send(&stack, get()).await.map(drop).unwrap();
    }
    upstream.instances[0].set(Hang);
    let calls: Vec<_> = (0..60).map(|_| tokio::spawn(send_once(stack.clone()))).collect();
    for call in calls {
        assert_eq!(call.await.unwrap(), 200);
    }
    assert!(budget.tokens() > 5.0, "{}", budget.tokens());
}

async fn send_once<S, B>(stack: S) -> u16
where
    S: Service<Request<()>, Response = Response<B>, Error = Error<io::Error>> + Clone,
{
    send(&stack, get()).await.map_or(0, |response| response.status().as_u16())
}

#[tokio::test(start_paused = true)]
async fn while_no_endpoint_is_available_the_budget_pays_for_each_retry() {
    let upstream = Upstream::of(4);
    upstream.instances.iter().for_each(|instance| instance.set(Status(503, None)));
    let budget = RetryBudget::default();
    let stack = upstream.stack(Some(budget.clone()));
    for _ in 0..200 {
        send(&stack, get()).await.map(drop).unwrap();
        sleep(20 * MS).await;
    }
    let requests: usize = upstream.requests().iter().sum();
    assert!(requests <= 210, "{requests} requests for 200 calls");
}
