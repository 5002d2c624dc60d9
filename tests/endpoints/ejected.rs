//! How an endpoint is ejected, probed and brought back.

use super::*;

#[tokio::test(start_paused = true)]
async fn an_endpoint_that_recovers_gets_its_share_without_a_failed_call() {
    for mode in [Status(503, None), Refuse, Hang] {
        let upstream = Upstream::of(4);
        upstream.calls(50).await;
        upstream.instances[0].set(mode.clone());
        assert_eq!(upstream.calls(1500).await, 1500, "{mode:?}");
        assert_eq!(upstream.state(0), EndpointState::Ejected, "{mode:?}");
        upstream.instances[0].set(Well(5 * MS));
        assert_eq!(upstream.calls(600).await, 600, "{mode:?}: 12 s");
        assert_eq!(upstream.state(0), EndpointState::Available, "{mode:?}");
        upstream.requests();
        upstream.calls(400).await;
        let requests = upstream.requests();
        assert!(requests[0] >= 80, "{mode:?}: {requests:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_probe_of_a_hanging_endpoint_costs_its_caller_little_time() {
    let upstream = Upstream::of(2);
    upstream.calls(20).await;
    upstream.instances[0].set(Hang);
    upstream.calls(200).await;
    let stack = upstream.stack(None);
    let mut longest = Duration::ZERO;
    for _ in 0..2000 {
        let began = Instant::now();
        assert_eq!(send(&stack, get()).await.map(|response| response.status()).unwrap(), 200);
        longest = longest.max(began.elapsed());
        sleep(15 * MS).await;
    }
    assert!(upstream.requests()[0] > 3, "it is probed");
    assert!((200 * MS..300 * MS).contains(&longest), "{longest:?}");
}

#[tokio::test(start_paused = true)]
async fn a_failed_probe_takes_no_token() {
    let upstream = Upstream::of(2);
    upstream.calls(20).await;
    upstream.instances[0].set(Status(503, None));
    upstream.calls(500).await;
    upstream.requests();
    let budget = RetryBudget::builder().initial(0.0).per_success(0.0).build().unwrap();
    let stack = upstream.stack(Some(budget));
    for _ in 0..1500 {
        assert_eq!(send(&stack, get()).await.map(|response| response.status()).unwrap(), 200);
        sleep(20 * MS).await;
    }
    assert!(upstream.requests()[0] >= 2, "it is probed");
}

#[tokio::test(start_paused = true)]
async fn calls_that_cannot_be_sent_again_bring_an_endpoint_back_too() {
    let upstream = Upstream::of(2);
    let stack = upstream.stack(None);
    upstream.calls(20).await;
    upstream.instances[0].set(Hang);
    upstream.calls(100).await;
    assert_eq!(upstream.state(0), EndpointState::Ejected);
    upstream.instances[0].set(Well(5 * MS));
    for _ in 0..1000 {
        send(&stack, post()).await.map(drop).unwrap();
        sleep(20 * MS).await;
    }
    assert_eq!(upstream.state(0), EndpointState::Available);
}

#[tokio::test(start_paused = true)]
async fn a_body_that_breaks_off_is_a_fault_of_the_endpoint() {
    let upstream = Upstream::of(2);
    upstream.calls(20).await;
    upstream.instances[0].set(Broken);
    let service = upstream.service();
    for _ in 0..200 {
        let response = send(&service, get()).await.unwrap();
        let _ = response.into_body().collect().await;
        sleep(20 * MS).await;
    }
    assert_eq!(upstream.status(0).ejection_cause(), Some(EjectionCause::ConsecutiveFaults));
    assert!(upstream.requests()[0] < 20);
}

#[tokio::test(start_paused = true)]
async fn callers_that_give_up_on_a_hanging_endpoint_eject_it() {
    let upstream = Upstream::of(2);
    upstream.calls(20).await;
    upstream.requests();
    upstream.instances[0].set(Hang);
    let service = upstream.service();
    for _ in 0..2000 {
        let _ = tokio::time::timeout(150 * MS, send(&service, get())).await;
        sleep(20 * MS).await;
    }
    let requests = upstream.requests();
    assert!(requests[0] < 40, "{requests:?}");
}

#[tokio::test(start_paused = true)]
async fn callers_that_are_impatient_with_every_endpoint_eject_none() {
    let upstream = Upstream::of(4);
    upstream.instances.iter().for_each(|instance| instance.set(Well(50 * MS)));
    upstream.calls(50).await;
    let service = upstream.service();
    for _ in 0..500 {
        let _ = tokio::time::timeout(20 * MS, send(&service, get())).await;
    }
    assert!((0..4).all(|address| upstream.state(address) == EndpointState::Available));
}

#[tokio::test(start_paused = true)]
async fn connections_that_look_dead_are_made_anew() {
    // One endpoint only: it is never ejected, but a retry must not use the same connection.
    let upstream = Upstream::of(1);
    upstream.calls(10).await;
    assert_eq!(upstream.instances[0].made(), 1);
    upstream.instances[0].set(Hang);
    let call = tokio::spawn({
        let stack = upstream.stack(None);
        async move { send(&stack, get()).await.is_ok() }
    });
    sleep(1500 * MS).await;
    assert!(upstream.instances[0].made() >= 2);
    assert!(!call.await.unwrap());
    // An outage does not become a storm of connections: ten, and one for each second.
    let began = Instant::now();
    while began.elapsed() < Duration::from_secs(60) {
        let _ = send(&upstream.stack(None), get()).await;
    }
    assert!(upstream.instances[0].made() < 80, "{}", upstream.instances[0].made());
}

#[tokio::test(start_paused = true)]
async fn one_abandoned_attempt_renews_the_connections_if_it_ejects() {
    let upstream = Upstream::with(2, |builder| builder.consecutive_faults(1));
    upstream.calls(20).await;
    upstream.instances[0].set(Hang);
    let service = upstream.service();
    while upstream.state(0) != EndpointState::Ejected {
        let _ = tokio::time::timeout(150 * MS, send(&service, get())).await;
    }
    upstream.instances[0].set(Well(5 * MS));
    upstream.calls(500).await;
    assert_eq!((upstream.state(0), upstream.instances[0].made()), (EndpointState::Available, 2));
}

/// Such an answer is neither a success nor a fault.
#[tokio::test(start_paused = true)]
async fn a_throttled_probe_brings_no_endpoint_back() {
    let upstream = Upstream::of(2);
    upstream.calls(50).await;
    upstream.instances[0].set(Refuse);
    upstream.calls(50).await;
    assert_eq!(upstream.state(0), EndpointState::Ejected);
    upstream.instances[0].set(Status(429, None));
    upstream.requests();
    for _ in 0..500 {
        let _ = send(&upstream.service(), get()).await;
        sleep(20 * MS).await;
    }
    assert!(upstream.requests()[0] > 0, "it is probed");
    assert_ne!(upstream.state(0), EndpointState::Available);
}

/// The requests of the endpoint in each of `parts` parts of a second, as a multiple of its fair share.
async fn shares(upstream: &Upstream, address: usize, parts: usize) -> Vec<f64> {
    let mut shares = Vec::new();
    for _ in 0..parts {
        upstream.requests();
        upstream.calls(50).await;
        let requests = upstream.requests();
        let sum: usize = requests.iter().sum();
        #[allow(clippy::cast_precision_loss)]
        shares.push(requests[address] as f64 * requests.len() as f64 / sum as f64);
    }
    shares
}

#[tokio::test(start_paused = true)]
async fn the_share_of_an_endpoint_that_returns_or_is_added_grows_over_two_seconds() {
    let (upstream, changes) = discovery::changing(4);
    (0..3).for_each(|address| changes.send(Ok(Change::Insert(address))).unwrap());
    upstream.calls(200).await;
    changes.send(Ok(Change::Insert(3))).unwrap();
    let added = shares(&upstream, 3, 5).await;
    assert!(added[0] < 0.7 && added[2..].iter().sum::<f64>() > 3.0 * 0.8, "{added:?}");

    upstream.instances[0].set(Status(503, None));
    upstream.calls(300).await;
    upstream.instances[0].set(Well(5 * MS));
    while upstream.state(0) != EndpointState::Available {
        upstream.calls(1).await;
    }
    let returned = shares(&upstream, 0, 5).await;
    assert!(returned[0] < 0.7 && returned[2..].iter().sum::<f64>() > 3.0 * 0.8, "{returned:?}");
}

/// The remaining one would be overloaded.
#[tokio::test(start_paused = true)]
async fn endpoints_that_replace_most_others_get_their_share_at_once() {
    let (upstream, changes) = discovery::changing(20);
    (0..10).for_each(|address| changes.send(Ok(Change::Insert(address))).unwrap());
    upstream.calls(200).await;
    (10..19).for_each(|address| changes.send(Ok(Change::Insert(address))).unwrap());
    (1..10).for_each(|address| changes.send(Ok(Change::Remove(address))).unwrap());
    upstream.requests();
    upstream.calls(100).await;
    let requests = upstream.requests();
    assert!(requests[0] < 25, "{requests:?}");
}

#[tokio::test(start_paused = true)]
async fn a_hanging_endpoint_gets_few_attempts_before_the_first_one_times_out() {
    let upstream = Upstream::of(4);
    upstream.calls(200).await;
    upstream.requests();
    upstream.instances[0].set(Hang);
    let service = ServiceBuilder::new().layer(TimeoutLayer::new(3000 * MS)).service(upstream.service());
    let mut calls = tokio::task::JoinSet::new();
    for call in 0..550 {
        calls.spawn(send_ok(service.clone()));
        sleep(5 * MS).await;
        if call == 60 {
            assert_eq!(upstream.state(0), EndpointState::Silent);
        }
    }
    let requests = upstream.requests()[0];
    assert!(requests <= 8, "a silence begins after 50 ms; {requests} attempts in 2.7 s");
}

async fn send_ok<S, B>(service: S) -> bool
where
    S: Service<Request<()>, Response = Response<B>, Error = Error<io::Error>> + Clone,
{
    send(&service, get()).await.is_ok()
}

/// The time of such an answer is no latency: an endpoint that fails at once would look like the fastest.
#[tokio::test(start_paused = true)]
async fn quick_answers_that_are_no_success_attract_no_attempts() {
    for (status, count) in [(500, 2), (500, 4), (429, 2), (429, 4)] {
        for is_new in [true, false] {
            let upstream = Upstream::of(count);
            upstream.calls(if is_new { 0 } else { 100 }).await;
            upstream.instances[0].set(Status(status, None));
            for pause in [20, 200, 1000] {
                upstream.requests();
                for _ in 0..400 {
                    let _ = send(&upstream.service(), get()).await;
                    sleep(pause * MS).await;
                }
                let requests = upstream.requests();
                assert!(requests[0] <= 400 / count * 6 / 5, "{status} every {pause} ms: {requests:?}");
            }
        }
    }
}

/// Callers that give up early get no answers, so they never learn that the endpoint is slow.
#[tokio::test(start_paused = true)]
async fn a_slow_endpoint_whose_callers_give_up_attracts_no_attempts() {
    let upstream = Upstream::of(4);
    upstream.calls(100).await;
    upstream.instances[0].set(Well(50 * MS));
    upstream.calls(100).await;
    upstream.requests();
    let service = upstream.service();
    for _ in 0..2000 {
        let _ = tokio::time::timeout(40 * MS, send(&service, get())).await;
        sleep(20 * MS).await;
    }
    let requests = upstream.requests();
    assert!(requests[0] < 200, "{requests:?}");
}

/// Most answers of an endpoint are good, but their bodies last longer than the time between two faults.
#[tokio::test(start_paused = true)]
async fn faults_between_good_answers_with_long_bodies_are_not_in_a_row() {
    let number = Arc::new(AtomicUsize::new(0));
    let make = move |address: &usize| {
        let (number, is_first) = (Arc::clone(&number), *address == 0);
        tower::service_fn(move |_: Request<()>| {
            let is_bad = is_first && number.fetch_add(1, Relaxed) % 20 == 19;
            async move {
                let body = Script::pieces(&["a"]).then(Step::Wait(2000 * MS)).then(Step::Data("b".into()));
                let mut response = Response::new(body.start());
                *response.status_mut() = StatusCode::from_u16(if is_bad { 503 } else { 200 }).unwrap();
                Ok::<_, Error<io::Error>>(response)
            }
        })
    };
    let endpoints = Endpoints::builder().seed(7).build(fixed(0..2), make).unwrap();
    let mut calls = tokio::task::JoinSet::new();
    for _ in 0..3000 {
        let service = EndpointsService::new(endpoints.clone());
        calls.spawn(async move { drop(send(&service, get()).await.unwrap().into_body().collect().await) });
        sleep(10 * MS).await;
        assert!(endpoints.list().iter().all(|endpoint| endpoint.state() == EndpointState::Available));
        while calls.try_join_next().is_some() {}
    }
}

/// An instance that drains refuses new requests, while the answers to earlier ones still end.
#[tokio::test(start_paused = true)]
async fn the_ends_of_earlier_answers_do_not_hide_new_faults() {
    let upstream = Upstream::of(2);
    upstream.calls(50).await;
    let service = upstream.service();
    let mut streams = Vec::new();
    for _ in 0..200 {
        streams.push(send(&service, get()).await.unwrap());
    }
    upstream.instances[0].set(Status(503, None));
    upstream.requests();
    for _ in 0..100 {
        let _ = send(&service, get()).await;
        sleep(300 * MS).await;
        streams.pop();
        streams.pop();
    }
    assert_eq!(upstream.status(0).ejection_cause(), Some(EjectionCause::ConsecutiveFaults));
    assert!(upstream.requests()[0] < 25);
}

#[tokio::test(start_paused = true)]
async fn a_whole_outage_ends_for_all_endpoints_at_once() {
    let upstream = Upstream::of(4);
    upstream.calls(50).await;
    upstream.instances.iter().for_each(|instance| instance.set(Hang));
    let calls: Vec<_> = (0..100)
        .map(|number| {
            let stack = upstream.stack(None);
            tokio::spawn(async move {
                sleep(number * 50 * MS).await;
                let _ = send(&stack, get()).await;
            })
        })
        .collect();
    for call in calls {
        call.await.unwrap();
    }
    upstream.instances.iter().for_each(|instance| instance.set(Well(5 * MS)));
    upstream.calls(150).await;
    upstream.requests();
    upstream.calls(200).await;
    let requests = upstream.requests();
    assert!(requests.iter().all(|requests| *requests > 20), "{requests:?}");
}

/// An instance often fails its first requests while it starts. One fault is too few for an ejection, so no probe
/// follows.
#[tokio::test(start_paused = true)]
async fn an_endpoint_whose_first_attempt_failed_gets_attempts_again() {
    for mode in [Status(503, None), Status(500, None), Reset] {
        let upstream = Upstream::of(3);
        upstream.instances[0].set(mode.clone());
        while upstream.instances[0].0.requests.load(Relaxed) == 0 {
            upstream.calls(1).await;
        }
        upstream.instances[0].set(Well(5 * MS));
        upstream.calls(1000).await;
        upstream.requests();
        upstream.calls(300).await;
        let requests = upstream.requests();
        assert!(requests[0] >= 50, "{mode:?}, 20 s later: {requests:?}");
    }
}
