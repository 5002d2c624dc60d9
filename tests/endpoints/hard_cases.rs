//! Hard cases: callers without patience, routes that hang, services that refuse, overloads and pauses of all.
#![allow(clippy::cast_precision_loss)]

use std::sync::Barrier;
use std::task::{Context, Poll, Waker};

use steadfast::deadline::DeadlineLayer;

use super::*;

/// The answer of an instance: after this time, with this status and `Retry-After`. `None` hangs.
type Answer = Option<(Duration, u16, Option<u32>)>;

const WELL: Answer = Some((Duration::from_millis(5), 200, None));

/// Endpoints whose instances answer by address and path.
struct Group {
    endpoints: Endpoints<usize, Connection>,
    /// The requests for `/fast` of each instance.
    fast: Arc<Vec<AtomicUsize>>,
    sent: Arc<AtomicUsize>,
    renewed: Arc<AtomicUsize>,
    stack: Stack,
}

impl Group {
    fn of(count: usize, answer: impl Fn(usize, &str) -> Answer + Send + Sync + 'static) -> Self {
        let fast: Arc<Vec<_>> = Arc::new((0..count).map(|_| AtomicUsize::new(0)).collect());
        let (sent, renewed) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let (answer, of_make) = (Arc::new(answer), (fast.clone(), sent.clone(), renewed.clone()));
        let make = move |address: &usize| {
            let (address, answer, (fast, sent, renewed)) = (*address, answer.clone(), of_make.clone());
            renewed.fetch_add(1, Relaxed);
            BoxCloneSyncService::new(tower::service_fn(move |request: Request<()>| {
                let answer = answer(address, request.uri().path());
                sent.fetch_add(1, Relaxed);
                fast[address].fetch_add(usize::from(request.uri().path() == "/fast"), Relaxed);
                async move {
                    let Some((after, status, retry_after)) = answer else { pending().await };
                    sleep(after).await;
                    let mut response = Response::new(Script::pieces(&["x"]).sized().start());
                    *response.status_mut() = StatusCode::from_u16(status).unwrap();
                    let pause = retry_after.map(http::HeaderValue::from);
                    if let Some(pause) = pause {
                        response.headers_mut().insert("retry-after", pause);
                    }
                    Ok::<_, Error<io::Error>>(response)
                }
            }))
        };
        let endpoints = Endpoints::builder().seed(7).build(fixed(0..count), make).unwrap();
        let retry = RetryLayer::new(RetryPolicy::builder().seed(7).build().unwrap());
        let stack = ServiceBuilder::new()
            .layer(retry.budget(RetryBudget::default()))
            .layer(TimeoutLayer::new(1000 * MS))
            .service(EndpointsService::new(endpoints.clone()));
        Self { endpoints, fast, sent, renewed, stack }
    }

    /// Endpoints that all fail this share of their attempts, at random.
    fn overloaded(count: usize, bad_percent: u64) -> Self {
        let dice = std::sync::atomic::AtomicU64::new(1);
        Self::of(count, move |_, _| {
            let mut random = dice.fetch_add(0x9e37_79b9_7f4a_7c15, Relaxed);
            random = (random ^ (random >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            random = (random ^ (random >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            random ^= random >> 31;
            Some((5 * MS, if random % 100 < bad_percent { 503 } else { 200 }, None))
        })
    }

    /// Sends a call every 5 ms without waiting for the answers.
    async fn fast(&self, calls: usize) {
        let mut set = tokio::task::JoinSet::new();
        for _ in 0..calls {
            let stack = self.stack.clone();
            set.spawn(async move { drop(send(&stack, to("/fast")).await) });
            sleep(5 * MS).await;
        }
        while set.join_next().await.is_some() {}
    }

    fn largest_share(&self) -> f64 {
        let fast: Vec<_> = self.fast.iter().map(|fast| fast.swap(0, Relaxed) as f64).collect();
        fast.iter().copied().fold(0.0, f64::max) / fast.iter().sum::<f64>()
    }
}

fn to(path: &str) -> Request<()> {
    Request::get(format!("http://sku.internal{path}")).body(()).unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_hanging_endpoint_is_left_out_although_all_callers_give_up_early() {
    for deadline in [50 * MS, 90 * MS] {
        let upstream = Upstream::of(4);
        upstream.calls(200).await;
        upstream.requests();
        upstream.instances[0].set(Hang);
        let stack = ServiceBuilder::new().layer(DeadlineLayer::new(deadline)).service(upstream.service());
        let mut calls = tokio::task::JoinSet::new();
        for _ in 0..3000 {
            let stack = stack.clone();
            calls.spawn(async move { send(&stack, get()).await.is_err() });
            sleep(20 * MS).await;
        }
        let failed = calls.join_all().await.into_iter().filter(|failed| *failed).count();
        assert!(failed < 60, "{failed} of 3000 fail, {:?}", upstream.requests());
    }
}

/// A probe that its caller gives up must not be followed by the next one at once.
#[tokio::test(start_paused = true)]
async fn impatient_callers_do_not_probe_an_endpoint_again_and_again() {
    for mode in [Hang, Stalled] {
        for is_ejected in [true, false] {
            let upstream = Upstream::of(4);
            upstream.calls(200).await;
            upstream.instances[0].set(Hang);
            while is_ejected && upstream.state(0) != EndpointState::Ejected {
                upstream.calls(1).await;
            }
            upstream.instances[0].set(mode.clone());
            let service = ServiceBuilder::new()
                .layer(DeadlineLayer::new(50 * MS))
                .layer(steadfast::buffer_body::BufferBodyLayer::new())
                .service(upstream.service());
            let mut calls = tokio::task::JoinSet::new();
            for _ in 0..3000 {
                let service = service.clone();
                calls.spawn(async move {
                    let Ok(response) = send(&service, get()).await else { return true };
                    response.into_body().collect().await.is_err()
                });
                sleep(20 * MS).await;
            }
            let failed = calls.join_all().await.into_iter().filter(|failed| *failed).count();
            assert!(failed < 100, "{mode:?}, ejected first: {is_ejected}: {failed} of 3000 fail");
        }
    }
}

#[derive(Clone)]
struct MayBeUnready(bool);

impl Service<Request<()>> for MayBeUnready {
    type Response = Response<TestBody>;
    type Error = Error<io::Error>;
    type Future = std::pin::Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        let refused = || Error::from_upstream(io::ErrorKind::ConnectionRefused.into());
        Poll::Ready(if self.0 { Err(refused()) } else { Ok(()) })
    }

    fn call(&mut self, _request: Request<()>) -> Self::Future {
        Box::pin(async {
            sleep(5 * MS).await;
            Ok(Response::new(Script::pieces(&["x"]).sized().start()))
        })
    }
}

#[tokio::test(start_paused = true)]
async fn an_endpoint_whose_service_fails_to_become_ready_costs_no_call() {
    let endpoints =
        Endpoints::builder().seed(7).build(fixed(0..4), |it: &usize| MayBeUnready(*it == 0)).unwrap();
    let retry = RetryLayer::new(RetryPolicy::builder().seed(7).build().unwrap());
    let stack = ServiceBuilder::new().layer(retry).service(EndpointsService::new(endpoints.clone()));
    let mut failed = 0;
    for _ in 0..1000 {
        failed += usize::from(send(&stack, get()).await.is_err());
        sleep(20 * MS).await;
    }
    let state = endpoints.list()[0].state();
    assert!(failed == 0, "{failed} of 1000 calls fail, the endpoint is {state}");
}

#[tokio::test(start_paused = true)]
async fn an_endpoint_that_refuses_takes_no_more_than_its_share() {
    let make = |it: &usize| {
        let refuses = *it == 0;
        tower::service_fn(move |_: Request<()>| async move {
            if refuses {
                return Err(Error::<io::Error>::new(ErrorKind::CircuitOpen { retry_after: None }));
            }
            sleep(5 * MS).await;
            Ok(Response::new(Script::pieces(&["x"]).sized().start()))
        })
    };
    let endpoints = Endpoints::builder().seed(7).build(fixed(0..4), make).unwrap();
    let mut refused = 0;
    for _ in 0..1000 {
        refused += usize::from(send(&EndpointsService::new(endpoints.clone()), get()).await.is_err());
        sleep(20 * MS).await;
    }
    assert!(refused <= 50, "{refused} of 1000 calls are refused, though three endpoints are well");
}

#[tokio::test(start_paused = true)]
async fn a_hanging_route_leaves_the_endpoints_to_other_routes() {
    let group = Group::of(4, |_, path| if path == "/hangs" { None } else { WELL });
    group.fast(1000).await;
    group.renewed.store(0, Relaxed);
    let (mut concentrated, mut hanging) = (0, tokio::task::JoinSet::new());
    for tenth in 0..600 {
        if tenth % 20 == 0 {
            let stack = group.stack.clone();
            hanging.spawn(async move { drop(send(&stack, to("/hangs")).await) });
        }
        group.largest_share();
        group.fast(20).await;
        concentrated += usize::from(group.largest_share() > 0.9);
    }
    let renewed = group.renewed.load(Relaxed);
    assert!(
        concentrated < 60 && renewed < 30,
        "one of four endpoints has > 90 % of all calls in {concentrated} of 600 tenths; {renewed} services renewed anew"
    );
}

#[tokio::test(start_paused = true)]
async fn the_time_limit_of_an_outer_call_ejects_no_endpoint_of_an_inner_one() {
    let upstream = Upstream::of(2);
    upstream.instances.iter().for_each(|instance| instance.set(Well(20 * MS)));
    upstream.calls(50).await;
    let inner = upstream.service();
    let outer = tower::service_fn(move |request: Request<()>| {
        let inner = inner.clone();
        async move {
            sleep(95 * MS).await; // work of its own
            send(&inner, request).await
        }
    });
    let outer = ServiceBuilder::new().layer(TimeoutLayer::new(100 * MS)).service(outer);
    for _ in 0..2 {
        drop(send(&outer, get()).await);
    }
    let states = [upstream.state(0), upstream.state(1)];
    assert_eq!(states, [EndpointState::Available; 2], "ejected after a wait of 5 ms");
}

#[tokio::test(start_paused = true)]
async fn after_all_endpoints_have_asked_for_a_pause_all_are_used() {
    for status in [429, 503] {
        let upstream = Upstream::of(4);
        upstream.calls(100).await;
        upstream.instances.iter().for_each(|instance| instance.set(Status(status, Some(60))));
        upstream.calls(10).await;
        upstream.instances.iter().for_each(|instance| instance.set(Well(5 * MS)));
        upstream.requests();
        assert_eq!(upstream.calls(2500).await, 2500);
        let requests = upstream.requests();
        assert!(requests.iter().all(|requests| *requests > 100), "{status}: {requests:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn one_throttled_tenant_leaves_the_endpoints_to_others() {
    let group = Group::of(4, |_, path| match path {
        "/tenant" => Some((5 * MS, 429, Some(60))),
        _ => WELL,
    });
    let (mut worst, stack) = (0.0f64, group.stack.clone());
    for second in 0..60 {
        drop(send(&stack, to("/tenant")).await);
        group.fast(200).await;
        let share = group.largest_share();
        worst = if second < 10 { 0.0 } else { worst.max(share) };
    }
    assert!(worst < 0.5, "one of four endpoints gets {worst} of all calls");
}

async fn attempts_per_call(endpoints: usize, bad_percent: u64) -> f64 {
    let group = Group::overloaded(endpoints, bad_percent);
    let (stack, mut calls) = (group.stack.clone(), tokio::task::JoinSet::new());
    for _ in 0..10_000 {
        let stack = stack.clone();
        calls.spawn(async move { drop(send(&stack, get()).await) });
        sleep(MS).await;
    }
    while calls.join_next().await.is_some() {}
    group.sent.load(Relaxed) as f64 / 10_000.0
}

#[tokio::test(start_paused = true)]
async fn an_overload_of_all_endpoints_gets_no_more_retries_than_that_of_one() {
    for bad in [50, 70, 80, 90] {
        let (one, four) = (attempts_per_call(1, bad).await, attempts_per_call(4, bad).await);
        assert!(four < one + 0.15, "{bad} % fail: {four} attempts per call, with one endpoint {one}");
    }
}

/// By chance, one of many endpoints always has a small share of faults, and one has a run of them.
#[tokio::test(start_paused = true)]
async fn an_overload_of_many_endpoints_ejects_few() {
    for (count, bad_percent) in [(8, 50), (16, 20), (16, 50), (64, 50)] {
        let group = Group::overloaded(count, bad_percent);
        let service = EndpointsService::new(group.endpoints.clone());
        let mut least = count;
        for call in 0..20_000 {
            let service = service.clone();
            tokio::spawn(async move { drop(send(&service, get()).await) });
            sleep(MS).await;
            if call > 2000 && call % 100 == 0 {
                let list = group.endpoints.list();
                least = least.min(list.iter().filter(|it| it.ejection_cause().is_none()).count());
            }
        }
        assert!(least >= count * 5 / 8, "{least} of {count} are available while {bad_percent} % fail");
    }
}

#[tokio::test(start_paused = true)]
async fn an_endpoint_of_quiet_streams_comes_back() {
    type Quiet = futures_util::stream::Pending<Result<http_body::Frame<bytes::Bytes>, io::Error>>;
    let (bad, requests) =
        (Arc::new(AtomicUsize::new(0)), Arc::new([AtomicUsize::new(0), AtomicUsize::new(0)]));
    let of_make = (bad.clone(), requests.clone());
    let make = move |address: &usize| {
        let (address, (bad, requests)) = (*address, of_make.clone());
        tower::service_fn(move |_: Request<()>| {
            requests[address].fetch_add(1, Relaxed);
            let is_bad = address == 0 && bad.load(Relaxed) == 1;
            async move {
                sleep(5 * MS).await;
                let quiet: Quiet = futures_util::stream::pending();
                let mut response = Response::new(http_body_util::StreamBody::new(quiet));
                *response.status_mut() =
                    if is_bad { StatusCode::SERVICE_UNAVAILABLE } else { StatusCode::OK };
                Ok::<_, Error<io::Error>>(response)
            }
        })
    };
    let endpoints = Endpoints::builder().seed(7).build(fixed(0..2), make).unwrap();
    let service = EndpointsService::new(endpoints.clone());
    let mut streams = Vec::new();
    for call in 0..1300 {
        bad.store(usize::from((50..100).contains(&call)), Relaxed);
        if call == 100 {
            requests.iter().for_each(|requests| requests.store(0, Relaxed));
        }
        streams.push(send(&service, get()).await);
        sleep(95 * MS).await;
    }
    let [first, second] = [&requests[0], &requests[1]].map(|requests| requests.load(Relaxed));
    let state = endpoints.list()[0].state();
    assert!(first > second / 4, "two minutes after the return: {first} and {second} streams, {state}");
}

/// An open body counts as load, but it must not keep an old average alive.
#[tokio::test(start_paused = true)]
async fn an_endpoint_with_an_open_stream_recovers_from_slow_answers() {
    for slow_answers in [1, 100] {
        let upstream = Upstream::of(4);
        upstream.calls(200).await;
        let service = upstream.service();
        let mut streams = Vec::new();
        while upstream.endpoints.list().iter().any(|endpoint| endpoint.in_flight() == 0) {
            streams.push(send(&service, get()).await.unwrap());
        }
        upstream.requests();
        upstream.instances[0].set(Well(20 * MS));
        while upstream.instances[0].0.requests.load(Relaxed) < slow_answers {
            upstream.calls(1).await;
        }
        upstream.instances[0].set(Well(5 * MS));
        upstream.calls(1000).await;
        upstream.requests();
        upstream.calls(2000).await;
        let requests = upstream.requests();
        assert!(requests[0] > 100, "after {slow_answers} slow answers: {requests:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn endpoints_work_as_before_after_a_pause_of_weeks() {
    for days in [1, 30, 1000] {
        let (upstream, changes) = discovery::changing(5);
        (0..4).for_each(|address| changes.send(Ok(Change::Insert(address))).unwrap());
        upstream.calls(100).await;
        upstream.instances[0].set(Well(100 * MS));
        upstream.calls(500).await;
        upstream.instances[0].set(Well(5 * MS));
        tokio::time::advance(Duration::from_secs(days * 24 * 3600)).await;
        upstream.requests();
        upstream.calls(500).await;
        let requests = upstream.requests();
        assert!(requests[0] > 60, "{days} days later, one was slow before: {requests:?}");
        // The first attempt at a new endpoint hangs.
        upstream.instances[4].set(Hang);
        changes.send(Ok(Change::Insert(4))).unwrap();
        upstream.calls(200).await;
        assert_eq!(upstream.status(4).ejection_cause(), Some(EjectionCause::Timeout), "{days} days later");
    }
}

/// All answers take long, and an attempt in flight must not make its endpoint look cheap.
#[tokio::test(start_paused = true)]
async fn calls_that_all_take_long_are_spread() {
    let upstream = Upstream::of(2);
    upstream.instances.iter().for_each(|instance| instance.set(Well(30_000 * MS)));
    let mut calls = tokio::task::JoinSet::new();
    let mut uneven = 0;
    for _ in 0..100 {
        calls.spawn(send_slow(upstream.service()));
        sleep(10_000 * MS).await;
        let in_flight = [0, 1].map(|address| upstream.status(address).in_flight());
        uneven += usize::from(in_flight[0].abs_diff(in_flight[1]) > 1);
    }
    assert!(uneven < 20, "{uneven} of 100");
}

async fn send_slow(service: EndpointsService<usize, Connection>) {
    drop(send(&service, get()).await);
}

#[tokio::test(start_paused = true)]
async fn slow_calls_do_not_move_all_calls_to_one_endpoint() {
    let group = Group::of(4, |_, path| if path == "/slow" { Some((20_000 * MS, 200, None)) } else { WELL });
    group.fast(1000).await;
    let mut slow = tokio::task::JoinSet::new();
    for _ in 0..3 {
        let service = EndpointsService::new(group.endpoints.clone());
        slow.spawn(async move { drop(send(&service, to("/slow")).await) });
        group.fast(100).await;
    }
    group.largest_share();
    // Eight calls at a time, so that one endpoint is loaded.
    for _ in 0..250 {
        let calls: Vec<_> = (0..8).map(|_| group.fast(1)).collect();
        futures_util::future::join_all(calls).await;
    }
    let share = group.largest_share();
    assert!(
        share < 0.6,
        "one of four endpoints gets {share} of all calls for as long as three slow ones last"
    );
}

struct CountedWake;

impl std::task::Wake for CountedWake {
    fn wake(self: Arc<Self>) {}
}

#[tokio::test(start_paused = true)]
async fn a_dropped_call_that_waited_for_the_first_endpoint_leaves_no_waker() {
    let never = futures_util::stream::pending::<Result<Change<usize>, BoxError>>();
    let endpoints = Endpoints::builder().build(never, |_: &usize| MayBeUnready(false)).unwrap();
    let service = EndpointsService::new(endpoints);
    let wakers: Vec<_> = (0..1000).map(|_| Arc::new(CountedWake)).collect();
    for counted in &wakers {
        let waker = Waker::from(counted.clone());
        let mut call = Box::pin(send(&service, get()));
        assert!(call.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
    }
    assert_eq!(wakers.iter().filter(|waker| Arc::strong_count(waker) > 1).count(), 0);
}

struct Gate {
    item: Arc<Mutex<(Option<usize>, Option<Waker>)>>,
    gates: Option<[Arc<Barrier>; 2]>,
}

impl futures_util::Stream for Gate {
    type Item = Result<Change<usize>, BoxError>;

    fn poll_next(mut self: std::pin::Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let mut item = self.item.lock().unwrap();
        if let Some(address) = item.0.take() {
            return Poll::Ready(Some(Ok(Change::Insert(address))));
        }
        item.1 = Some(cx.waker().clone());
        drop(item);
        // The first poll takes long to return `Pending`.
        for gate in self.gates.take().into_iter().flatten() {
            gate.wait();
        }
        Poll::Pending
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn news_that_arrive_while_another_call_polls_the_stream_wake_the_waiting_calls() {
    let (item, gates) = (Arc::default(), [Arc::new(Barrier::new(2)), Arc::new(Barrier::new(2))]);
    let gate = Gate { item: Arc::clone(&item), gates: Some(gates.clone()) };
    let service =
        EndpointsService::new(Endpoints::builder().build(gate, |_: &usize| MayBeUnready(false)).unwrap());
    // This call polls the stream. Its future is not polled, or is dropped.
    let mut first = service.clone();
    let first = std::thread::spawn(move || first.call(get()));
    gates[0].wait();
    let waker = {
        let mut item = item.lock().unwrap();
        item.0 = Some(1);
        item.1.take()
    };
    waker.unwrap().wake();
    let second = tokio::spawn(async move { send(&service, get()).await.map(drop) });
    sleep(100 * MS).await;
    gates[1].wait();
    let _first = first.join().unwrap();
    assert!(tokio::time::timeout(1000 * MS, second).await.is_ok(), "the second call waits for ever");
}
