use super::*;
use crate::plan::{Phase, Replica, Route};

const SECOND: Duration = Duration::from_secs(1);

fn plan(model: Model, phases: &[(u64, Fault)]) -> Plan {
    let phases =
        phases.iter().map(|(until, fault)| Phase { until: Duration::from_secs(*until), fault: *fault });
    Plan { phases: phases.collect(), ..Plan::healthy(model) }
}

fn get() -> UpstreamRequest {
    get_path("items/1")
}

fn get_path(path: &str) -> UpstreamRequest {
    let request = Request::get(format!("http://sku.internal/{path}")).extension(AttemptCounter::default());
    request.body(Empty::new()).unwrap()
}

async fn takes(upstream: &mut Upstream) -> (Duration, Option<StatusCode>) {
    let start = Instant::now();
    let answer = upstream.call(get()).await;
    (start.elapsed(), answer.ok().map(|response| response.status()))
}

#[tokio::test(start_paused = true)]
async fn a_contended_upstream_gets_slower_with_each_request() {
    let model = Model::Contended { base: SECOND, each: SECOND / 100 };
    let mut upstream = Upstream::new(plan(model, &[(60, Fault::None)]), 1);
    let (first, second) = (upstream.call(get()), upstream.call(get()));
    drop((first, second)); // The upstream goes on with dropped requests.
    assert_eq!(takes(&mut upstream).await.0, SECOND + SECOND / 50);
    tokio::time::sleep(2 * SECOND).await;
    assert_eq!(takes(&mut upstream).await.0, SECOND);
}

#[tokio::test(start_paused = true)]
async fn a_queue_is_worked_off_in_order_and_refuses_beyond_its_places() {
    let model = Model::Queue { workers: 2, work: SECOND, places: 2 };
    let mut upstream = Upstream::new(plan(model, &[(60, Fault::None)]), 1);
    let begun: Vec<_> = (0..4).map(|_| upstream.call(get())).collect();
    assert_eq!(takes(&mut upstream).await, (Duration::ZERO, Some(StatusCode::SERVICE_UNAVAILABLE)));
    let start = Instant::now();
    let mut ends = vec![];
    for call in begun {
        call.await.unwrap();
        ends.push(start.elapsed());
    }
    assert_eq!(ends, [SECOND, SECOND * 3 / 2, SECOND * 2, SECOND * 5 / 2]);
}

#[tokio::test(start_paused = true)]
async fn a_waiting_request_is_processed_at_the_speed_of_its_turn() {
    let model = Model::Queue { workers: 1, work: SECOND, places: 9 };
    let phases = [(2, Fault::Slow(4.0)), (60, Fault::None)];
    let mut upstream = Upstream::new(plan(model, &phases), 1);
    drop(upstream.call(get()));
    // The two slow seconds do half of the first request. One and a half requests remain.
    assert_eq!(takes(&mut upstream).await.0, SECOND * 7 / 2);
}

#[tokio::test(start_paused = true)]
async fn a_refused_attempt_was_not_sent() {
    let mut upstream =
        Upstream::new(plan(Model::Steady(SECOND), &[(1, Fault::Refuses), (2, Fault::Hangs)]), 1);
    let counter = AttemptCounter::default();
    let post = || {
        let request = Request::post("http://sku.internal/orders/1").extension(counter.clone());
        request.body(Empty::new()).unwrap()
    };
    assert!(upstream.call(post()).await.is_err());
    tokio::time::sleep(SECOND).await;
    drop(upstream.call(post()));
    assert_eq!(upstream.received().duplicates, 0);
    drop(upstream.call(post()));
    assert_eq!(upstream.received().duplicates, 1);
    assert!(upstream.received().attempts.is_empty());
}

#[tokio::test(start_paused = true)]
async fn the_second_attempt_of_a_call_is_a_retry() {
    let mut upstream = Upstream::new(plan(Model::Steady(SECOND), &[(60, Fault::None)]), 1);
    let (one, other) = (get(), get());
    drop((upstream.call(one.clone()), upstream.call(other), upstream.call(one)));
    assert_eq!((upstream.received().attempts[0], upstream.received().retries[0]), (3, 1));
}

#[tokio::test(start_paused = true)]
async fn one_of_several_replicas_is_faulty() {
    let mut hung = 0;
    let plan = Plan {
        replicas: vec![Replica::ALWAYS; 4],
        one_faulty: true,
        ..plan(Model::Steady(SECOND), &[(1, Fault::Hangs)])
    };
    let mut upstream = Upstream::new(plan, 1);
    for _ in 0..400 {
        hung += u32::from(tokio::time::timeout(2 * SECOND, upstream.call(get())).await.is_err());
    }
    assert!((70..130).contains(&hung), "{hung}");
}

#[tokio::test(start_paused = true)]
async fn a_route_answers_500_beside_a_healthy_one_and_fails_with_503_like_the_others() {
    let routes = vec![Route { path: "/broken", reply: Reply::InternalError }];
    let phases = [(1, Fault::None), (2, Fault::Fails(1.0)), (3, Fault::Hangs)];
    let mut upstream = Upstream::new(Plan { routes, ..plan(Model::Steady(SECOND / 50), &phases) }, 1);
    let statuses = async |upstream: &mut Upstream| {
        let mut statuses = vec![];
        for path in ["broken", "healthy"] {
            let answer = tokio::time::timeout(SECOND / 10, upstream.call(get_path(path))).await;
            statuses.push(answer.map_or(0, |answer| answer.unwrap().status().as_u16()));
        }
        tokio::time::sleep(SECOND).await;
        statuses
    };
    assert_eq!(statuses(&mut upstream).await, [500, 200]);
    assert_eq!(statuses(&mut upstream).await, [503, 503]);
    assert_eq!(statuses(&mut upstream).await, [0, 0]);
}

#[tokio::test(start_paused = true)]
async fn a_share_of_the_attempts_fails_without_any_work() {
    let fault = Fault::QuickErrors { share: 0.5, status: StatusCode::BAD_GATEWAY };
    let mut upstream = Upstream::new(plan(Model::Steady(SECOND), &[(1000, fault)]), 1);
    let mut failed = 0;
    for _ in 0..100 {
        let (time, status) = takes(&mut upstream).await;
        assert_eq!(time < SECOND / 100, status == Some(StatusCode::BAD_GATEWAY), "{time:?}, {status:?}");
        failed += u32::from(time < SECOND / 100);
    }
    assert!((30..70).contains(&failed), "{failed}");
}
