//! Shared circuits, the breaker among other layers, readiness, and configuration.

use super::*;

// ===== Sharing =====

#[tokio::test(start_paused = true)]
async fn a_layer_that_is_applied_twice_shares_its_circuit() {
    // Known mistake 8.
    let circuit = brittle().build().unwrap();
    let layer = CircuitBreakerLayer::new(circuit.clone());
    let (one, two) = (layer.layer(upstream()), layer.clone().layer(upstream()));
    calls(&one, 1, || BAD).await;
    assert!(call(&two, GOOD).await.unwrap_err().is_circuit_open());
}

#[tokio::test(start_paused = true)]
async fn clones_of_a_service_share_its_circuit() {
    // Known mistake 8: a router clones the service for every request.
    let (circuit, service) = build(half_of_ten());
    for _ in 0..10 {
        let _ = service.clone().oneshot(BAD).await;
    }
    assert_eq!(circuit.state(), State::Open);
    assert!(call(&service.clone(), GOOD).await.unwrap_err().is_circuit_open());
}

#[tokio::test(start_paused = true)]
async fn a_fresh_circuit_shares_only_the_configuration() {
    let pattern = brittle().name("pattern").build().unwrap();
    let circuit = pattern.fresh("sku");
    let service = CircuitBreakerLayer::new(circuit.clone()).layer(upstream());
    calls(&service, 1, || BAD).await;
    assert_eq!((circuit.state(), circuit.name()), (State::Open, Some("sku")));
    assert_eq!((pattern.state(), pattern.name()), (State::Closed, Some("pattern")));
}

// ===== In the pipeline =====

#[tokio::test(start_paused = true)]
async fn an_attempt_timeout_below_counts() {
    let circuit = brittle().build().unwrap();
    let service = ServiceBuilder::new()
        .layer(CircuitBreakerLayer::new(circuit.clone()))
        .layer(TimeoutLayer::new(100 * MS))
        .service(upstream());
    assert!(service.oneshot(Ask::Hang).await.unwrap_err().is_timeout());
    assert_eq!(circuit.state(), State::Open);
}

/// A breaker above an attempt timeout that is longer than the deadlines of the calls.
fn with_deadlines(
    circuit: &CircuitBreaker,
) -> impl Service<Call<Ask>, Response = impl Send, Error = Error<io::Error>, Future = impl Send> + Clone {
    ServiceBuilder::new()
        .layer(CircuitBreakerLayer::new(circuit.clone()))
        .layer(TimeoutLayer::new(100 * SECOND))
        .map_request(Call::into_inner)
        .service(upstream())
}

#[tokio::test(start_paused = true)]
async fn an_attempt_cut_early_by_the_deadline_does_not_count() {
    let circuit = brittle().abandoned_after(SECOND).build().unwrap();
    let service = with_deadlines(&circuit);
    let call = Call::new(Ask::Hang).deadline(Instant::now() + SECOND / 2);
    assert!(service.oneshot(call).await.err().unwrap().is_total_timeout());
    assert_eq!(circuit.state(), State::Closed);
}

#[tokio::test(start_paused = true)]
async fn an_attempt_cut_late_by_the_deadline_counts() {
    // Known mistake 6.
    let circuit = brittle().abandoned_after(SECOND).build().unwrap();
    let service = with_deadlines(&circuit);
    let call = Call::new(Ask::Hang).deadline(Instant::now() + 2 * SECOND);
    assert!(service.oneshot(call).await.err().unwrap().is_total_timeout());
    assert_eq!(circuit.state(), State::Open);
}

#[tokio::test(start_paused = true)]
async fn a_probe_cut_early_by_the_deadline_frees_its_place() {
    // Known mistake 3.
    let circuit = brittle().probes(1).abandoned_after(SECOND).build().unwrap();
    let service = with_deadlines(&circuit);
    service.clone().oneshot(Call::new(Ask::After(SECOND))).await.unwrap();
    let _ = service.clone().oneshot(Call::new(BAD)).await;
    wait_out(&circuit).await;
    let call = Call::new(Ask::Hang).deadline(Instant::now() + SECOND / 2);
    assert!(service.clone().oneshot(call).await.is_err());
    assert_eq!((circuit.state(), circuit.snapshot().probes_in_flight), (State::HalfOpen, 0));
    assert!(service.oneshot(Call::new(GOOD)).await.is_ok());
    assert_eq!(circuit.state(), State::Closed);
}

#[tokio::test(start_paused = true)]
async fn a_total_timeout_above_drops_the_call_and_a_black_hole_still_trips() {
    // Known mistake 6.
    let circuit = CircuitBreaker::builder().build().unwrap();
    let service = ServiceBuilder::new()
        .layer(DeadlineLayer::new(2 * SECOND))
        .layer(CircuitBreakerLayer::new(circuit.clone()))
        .map_request(Call::into_inner)
        .service(upstream());
    for _ in 0..20 {
        assert!(service.clone().oneshot(Call::new(Ask::Hang)).await.unwrap_err().is_total_timeout());
    }
    assert_eq!(circuit.state(), State::Open);
}

#[tokio::test(start_paused = true)]
async fn a_full_bulkhead_below_does_not_trip() {
    let circuit = brittle().build().unwrap();
    let bulkhead = Bulkhead::builder().max_concurrent(1).max_waiting(0).build().unwrap();
    let service = ServiceBuilder::new()
        .layer(CircuitBreakerLayer::new(circuit.clone()))
        .layer(BulkheadLayer::new(bulkhead))
        .service(upstream());
    let mut holder = task::spawn(service.clone().call(Ask::Hang));
    assert_pending!(holder.poll());
    for _ in 0..100 {
        assert!(service.clone().oneshot(GOOD).await.unwrap_err().is_bulkhead_full());
    }
    assert_eq!(circuit.state(), State::Closed);
}

#[tokio::test(start_paused = true)]
async fn a_wait_in_the_queue_below_is_no_hang_of_the_upstream() {
    let circuit = brittle().abandoned_after(SECOND).build().unwrap();
    let bulkhead = Bulkhead::builder().max_concurrent(1).max_wait(100 * SECOND).build().unwrap();
    let service = ServiceBuilder::new()
        .layer(CircuitBreakerLayer::new(circuit.clone()))
        .layer(BulkheadLayer::new(bulkhead))
        .service(upstream());
    let mut holder = task::spawn(service.clone().call(Ask::After(50 * SECOND)));
    assert_pending!(holder.poll());
    let mut queued = task::spawn(service.clone().call(Ask::Hang));
    assert_pending!(queued.poll());
    advance(10 * SECOND).await;
    assert_pending!(queued.poll());
    drop(queued);
    assert_eq!(circuit.state(), State::Closed);
}

#[tokio::test(start_paused = true)]
async fn a_wait_in_the_queue_below_does_not_make_a_call_slow() {
    let circuit = half_slow().build().unwrap();
    let bulkhead = Bulkhead::builder().max_concurrent(1).max_wait(100 * SECOND).build().unwrap();
    let service = ServiceBuilder::new()
        .layer(CircuitBreakerLayer::new(circuit.clone()))
        .layer(BulkheadLayer::new(bulkhead))
        .service(upstream());
    let queue: Vec<_> =
        (0..20).map(|_| tokio::spawn(service.clone().oneshot(Ask::After(SECOND / 2)))).collect();
    for call in queue {
        drop(call.await.unwrap().unwrap());
    }
    assert_eq!(circuit.state(), State::Closed);
    assert!(circuit.snapshot().slow_rate.abs() < 1e-9);
}

#[tokio::test(start_paused = true)]
async fn a_body_cut_short_inside_the_attempt_is_a_failed_attempt() {
    let circuit = brittle().build().unwrap();
    let service = ServiceBuilder::new()
        .layer(CircuitBreakerLayer::new(circuit.clone()))
        .layer(BufferBodyLayer::new().unsized_bodies(true))
        .service(upstream());
    let response = service.oneshot(Ask::Pieces(vec![Ok("half"), Err(())])).await.unwrap();
    assert_eq!(circuit.state(), State::Open);
    assert!(response.into_body().collect().await.is_err());
}

/// An idempotent request that gets the same status at each attempt.
#[derive(Debug, Clone, Copy)]
struct Again(u16);

impl HasCallOptions for Again {
    fn options(&self) -> CallOptions {
        CallOptions::new()
    }
}

impl RetryableRequest for Again {
    fn retry_safety(&self) -> RetrySafety {
        RetrySafety::Idempotent
    }
    fn try_clone(&self) -> Option<Self> {
        Some(*self)
    }
}

fn retries(number: u32) -> RetryLayer {
    let policy = RetryPolicy::builder().max_retries(number).backoff(Backoff::new()).seed(1).build().unwrap();
    RetryLayer::new(policy).without_budget()
}

#[tokio::test(start_paused = true)]
async fn a_breaker_below_a_retry_sees_every_attempt() {
    let circuit = CircuitBreaker::builder().consecutive_failures(3, Duration::ZERO).build().unwrap();
    let service = ServiceBuilder::new()
        .layer(retries(2).advised_by(circuit.clone()))
        .layer(CircuitBreakerLayer::new(circuit.clone()))
        .map_request(|Again(status)| Ask::Status(status))
        .service(upstream());
    assert_eq!(service.oneshot(Again(503)).await.unwrap().status(), 503);
    assert_eq!(circuit.state(), State::Open);
}

#[tokio::test(start_paused = true)]
async fn a_retry_gives_up_at_once_when_the_circuit_opens() {
    let circuit = brittle().build().unwrap();
    let service = ServiceBuilder::new()
        .layer(retries(10).advised_by(circuit.clone()))
        .layer(CircuitBreakerLayer::new(circuit.clone()))
        .map_request(|Again(status)| Ask::Status(status))
        .service(upstream());
    assert_eq!(service.oneshot(Again(503)).await.unwrap().status(), 503);
    assert_eq!((circuit.state(), circuit.snapshot().refused), (State::Open, 0));
}

#[tokio::test(start_paused = true)]
async fn a_response_thrown_away_by_a_retry_adds_no_failure_when_its_leftovers_break() {
    let circuit = CircuitBreaker::builder().consecutive_failures(100, Duration::ZERO).build().unwrap();
    let service = ServiceBuilder::new()
        .layer(retries(1).advised_by(circuit.clone()))
        .layer(CircuitBreakerLayer::new(circuit.clone()))
        .service_fn(async |_: Again| {
            let mut response = Response::new(Pieces(vec![Ok("half"), Err(())].into()));
            *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
            Ok::<_, Error<io::Error>>(response)
        });
    let response = service.oneshot(Again(503)).await.unwrap();
    assert_eq!(circuit.snapshot().consecutive_failures, 2, "one for each attempt");
    drop(response);
}

// ===== Readiness, time, tasks =====

#[tokio::test(start_paused = true)]
async fn the_service_that_was_polled_ready_is_the_one_that_is_called() {
    let (inner, mut upstream) = mock::pair::<Call<&'static str>, &'static str>();
    let classify = classify::from_fn(|_: Result<&&'static str, &ErrorInfo>| Outcome::Success);
    let circuit = CircuitBreaker::builder().build().unwrap();
    let service = ServiceBuilder::new()
        .layer(CircuitBreakerLayer::new(circuit).classifier(classify).non_http())
        .map_err(Error::from_boxed)
        .service(inner);
    let mut service = tower_test::mock::Spawn::new(service);
    upstream.allow(0);
    assert_pending!(service.poll_ready());
    upstream.allow(1);
    assert_ready!(service.poll_ready()).unwrap();
    // The mock panics if it is called before it was polled ready.
    let mut call = task::spawn(service.call(Call::new("hello")));
    assert_pending!(call.poll());
    let (request, respond) = upstream.next_request().await.unwrap();
    assert_eq!(request.into_inner(), "hello");
    respond.send_response("world");
    assert_eq!(assert_ready!(call.poll()).unwrap(), "world");
}

#[tokio::test(start_paused = true)]
async fn nothing_is_taken_by_a_service_that_is_ready_and_never_called() {
    let (circuit, service) = build(brittle().probes(1));
    wait_for_probes(&circuit, &service).await;
    let mut idle: Vec<_> = (0..1000).map(|_| service.clone()).collect();
    for service in &mut idle {
        ServiceExt::<Ask>::ready(service).await.unwrap();
    }
    assert_eq!(circuit.snapshot().probes_in_flight, 0);
    assert_eq!(call(&service, GOOD).await.unwrap(), 200);
    assert_eq!(circuit.state(), State::Closed);
}

#[tokio::test(start_paused = true)]
async fn an_hour_passes_as_fast_as_a_test_wants() {
    // Known mistake 10.
    let (circuit, service) = build(brittle().probes(1).open_for(3600 * SECOND).max_open_for(3600 * SECOND));
    calls(&service, 1, || BAD).await;
    advance(3600 * SECOND).await;
    assert_eq!(call(&service, GOOD).await.unwrap(), 200);
    assert_eq!(circuit.state(), State::Closed);
}

#[tokio::test(start_paused = true)]
async fn no_task_is_spawned() {
    let (circuit, service) = build(half_of_ten_seconds().consecutive_failures(1, Duration::ZERO));
    wait_for_probes(&circuit, &service).await;
    calls(&service, 1, || GOOD).await;
    assert_eq!(tokio::runtime::Handle::current().metrics().num_alive_tasks(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn callers_that_race_for_the_probes_get_no_more_than_there_are() {
    // Known mistake 4.
    let (circuit, service) = build(brittle().open_for(MS).max_open_for(MS).probes(3));
    calls(&service, 1, || BAD).await;
    while circuit.snapshot().retry_after != Some(Duration::ZERO) {
        tokio::task::yield_now().await;
    }
    let start = Arc::new(tokio::sync::Barrier::new(8));
    let tasks: Vec<_> = (0..8)
        .map(|_| {
            let (service, start) = (service.clone(), Arc::clone(&start));
            tokio::spawn(async move {
                start.wait().await;
                (0..100).map(|_| task::spawn(service.clone().call(Ask::Hang))).collect::<Vec<_>>()
            })
        })
        .collect();
    let mut admitted = Vec::new();
    for task in tasks {
        for mut call in task.await.unwrap() {
            if call.poll().is_pending() {
                admitted.push(call);
            }
        }
    }
    assert_eq!(admitted.len(), 3);
    assert_eq!(circuit.snapshot().probes_in_flight, 3);
}

// ===== Configuration =====

#[test]
fn a_configuration_that_cannot_work_is_refused_when_it_is_built() {
    // Known mistake 12.
    let refused = |builder: CircuitBreakerBuilder| {
        let error = builder.build().unwrap_err();
        (error.field(), error.value().to_owned(), error.allowed().to_owned())
    };
    let expected = |field, value: &str, allowed: &str| (field, value.to_owned(), allowed.to_owned());
    let new = CircuitBreaker::builder;
    assert_eq!(refused(new().probes(0)), expected("circuit_breaker.probes", "0", "between 1 and 1000"));
    assert_eq!(
        refused(new().successes_to_close(0)),
        expected(
            "circuit_breaker.successes_to_close",
            "0",
            "between 1 and 3, the value of circuit_breaker.probes"
        )
    );
    assert_eq!(
        refused(new().open_for(Duration::ZERO)),
        expected(
            "circuit_breaker.open_for",
            "0ns",
            "between 1ms and 4s, the value of circuit_breaker.max_open_for"
        )
    );
    assert_eq!(
        refused(new().failure_rate(0.0)),
        expected("circuit_breaker.failure_rate", "0.0", "above 0 and at most 1")
    );
    assert_eq!(
        refused(new().window(Window::Calls(0))),
        expected("circuit_breaker.window", "0", "between 1 and 100000")
    );
    assert_eq!(
        refused(new().consecutive_failures(3, Duration::MAX)).0,
        "circuit_breaker.consecutive_failures.span"
    );
}

#[tokio::test(start_paused = true)]
async fn the_extremes_that_are_allowed_work() {
    // Known mistake 12.
    let year = Duration::from_secs(60 * 60 * 24 * 365);
    let longest =
        brittle().open_for(year).max_open_for(year).probe_lease(year).abandoned_after(Duration::MAX);
    let shortest = brittle()
        .open_for(MS)
        .max_open_for(MS)
        .probe_lease(MS)
        .window(Window::Time(10 * MS))
        .failure_rate(f64::MIN_POSITIVE)
        .slow_calls(Duration::ZERO, 1.0)
        .minimum_calls(1)
        .abandoned_after(Duration::ZERO);
    for builder in [longest, shortest] {
        let (circuit, service) = build(builder);
        wait_for_probes(&circuit, &service).await;
        drop(begin(&service, Ask::Hang));
        if circuit.state() == State::Open {
            wait_out(&circuit).await;
        }
        calls(&service, 1, || GOOD).await;
        assert_eq!(circuit.state(), State::Closed);
    }
}

// ===== Readiness =====

type Mocked = mock::Mock<Ask, Response<Full<Bytes>>>;

/// A service around a mock, which panics if it is called without having been polled ready.
fn mocked(
    circuit: &CircuitBreaker,
) -> (
    impl Service<Ask, Response: Sized, Error = Error<io::Error>, Future: Sized> + Clone,
    mock::Handle<Ask, Response<Full<Bytes>>>,
) {
    let (mock, handle): (Mocked, _) = mock::pair();
    let below = mock.map_err(|error| Error::from_upstream(io::Error::other(error)));
    (CircuitBreakerLayer::new(circuit.clone()).layer(below), handle)
}

#[tokio::test(start_paused = true)]
async fn an_open_circuit_refuses_without_asking_the_service_below() {
    let circuit = brittle().build().unwrap();
    let (service, mut handle) = mocked(&circuit);
    handle.allow(0);
    circuit.force_open();
    let error = service.oneshot(GOOD).now_or_never().unwrap().err().unwrap();
    assert!(error.is_circuit_open());
    assert_eq!(circuit.snapshot().refused, 1);
}

#[tokio::test(start_paused = true)]
async fn a_call_whose_readiness_the_open_circuit_answered_is_refused() {
    let circuit = brittle().build().unwrap();
    let (mut service, mut handle) = mocked(&circuit);
    handle.allow(0);
    circuit.force_open();
    std::future::poll_fn(|cx| service.poll_ready(cx)).await.unwrap();
    circuit.reset();
    let clone = service.clone();
    assert!(service.call(GOOD).await.err().unwrap().is_circuit_open());
    // A clone carries no readiness, and neither does the service after the call.
    for mut unready in [service, clone] {
        assert!(std::future::poll_fn(|cx| unready.poll_ready(cx)).now_or_never().is_none());
    }
}

#[tokio::test(start_paused = true)]
async fn a_service_that_fails_to_become_ready_counts_as_a_failure() {
    let circuit = brittle().build().unwrap();
    let (mut service, mut handle) = mocked(&circuit);
    handle.send_error("closed");
    let error = std::future::poll_fn(|cx| service.poll_ready(cx)).await.unwrap_err();
    assert_eq!((error.attempts(), error.maybe_sent()), (0, false));
    assert_eq!(circuit.state(), State::Open);
}
