//! The verdicts: which results are failures, and when the verdict on a call is known.

use super::*;

/// A circuit that trips on the second failure in a row.
fn two_strikes() -> CircuitBreakerBuilder {
    CircuitBreaker::builder().consecutive_failures(2, Duration::ZERO)
}

async fn answer_to(
    service: &Guarded,
    pieces: Vec<Result<&'static str, ()>>,
) -> Response<impl Body<Data = Bytes>> {
    service.clone().oneshot(Ask::Pieces(pieces)).await.unwrap()
}

/// Makes a call and reads the body of its answer.
async fn read(service: &Guarded, pieces: Vec<Result<&'static str, ()>>) {
    let _ = answer_to(service, pieces).await.into_body().collect().await;
}

/// A classifier that makes every error neutral.
fn neutral() -> HttpClassifier {
    HttpClassifier::new().on_error(|_| Some(Outcome::Neutral))
}

/// A service with a deadline and an attempt timeout of 10 s each. A call can have a shorter deadline of its own.
fn with_limits(
    circuit: &CircuitBreaker,
    classifier: HttpClassifier,
) -> impl Service<Call<Ask>, Response = impl Sized, Error = Error<io::Error>> + Clone {
    ServiceBuilder::new()
        .layer(DeadlineLayer::new(10 * SECOND))
        .layer(CircuitBreakerLayer::new(circuit.clone()).classifier(classifier))
        .layer(TimeoutLayer::new(10 * SECOND))
        .map_request(Call::into_inner)
        .service(upstream())
}

// ===== Streamed bodies =====

#[tokio::test(start_paused = true)]
async fn a_body_that_breaks_is_one_failure() {
    let (circuit, service) = build(CircuitBreaker::builder().consecutive_failures(9, Duration::ZERO));
    calls(&service, 1, || BAD).await;
    let response = answer_to(&service, vec![Ok("half"), Err(())]).await;
    assert_eq!(circuit.snapshot().consecutive_failures, 1, "the head is no verdict");
    assert!(response.into_body().collect().await.is_err());
    assert_eq!(circuit.snapshot().consecutive_failures, 2);
}

#[tokio::test(start_paused = true)]
async fn chunked_answers_that_break_off_trip() {
    // Case 17.
    let (circuit, service) = build(two_strikes());
    read(&service, vec![Ok("half"), Err(())]).await;
    assert_eq!(circuit.state(), State::Closed);
    read(&service, vec![Err(())]).await;
    assert_eq!(circuit.state(), State::Open);
}

#[tokio::test(start_paused = true)]
async fn a_call_whose_body_breaks_counts_once_in_the_rates() {
    let (circuit, service) = build(half_of_ten());
    for _ in 0..5 {
        read(&service, vec![Ok("half"), Err(())]).await;
    }
    let seen = circuit.snapshot();
    assert_eq!((seen.state, seen.window_calls), (State::Closed, 5));
    for _ in 0..5 {
        read(&service, vec![Ok("half"), Err(())]).await;
    }
    assert_eq!(circuit.state(), State::Open);
}

#[tokio::test(start_paused = true)]
async fn a_call_whose_body_arrives_counts_once_in_the_rates() {
    let (circuit, service) = build(half_of_ten());
    let response = answer_to(&service, vec![Ok("the "), Ok("whole")]).await;
    assert_eq!(response.into_body().collect().await.ok().unwrap().to_bytes(), "the whole");
    assert_eq!(circuit.snapshot().window_calls, 1);
}

#[tokio::test(start_paused = true)]
async fn a_body_that_is_read_on_after_it_broke_is_one_failure() {
    let (circuit, service) = build(two_strikes());
    let mut body = answer_to(&service, vec![Err(()), Err(()), Err(())]).await.into_body();
    assert!(body.frame().await.unwrap().is_err());
    for _ in 0..2 {
        assert!(body.frame().await.is_none());
    }
    drop(body);
    assert_eq!(circuit.snapshot().consecutive_failures, 1);
}

#[tokio::test(start_paused = true)]
async fn a_body_that_breaks_in_a_later_generation_does_not_count() {
    // Known mistake 5.
    let (circuit, service) = build(brittle());
    let response = answer_to(&service, vec![Ok("half"), Err(())]).await;
    circuit.reset();
    assert!(response.into_body().collect().await.is_err());
    assert_eq!(circuit.state(), State::Closed);
}

#[tokio::test(start_paused = true)]
async fn a_body_that_its_reader_drops_is_a_good_answer() {
    let (circuit, service) = build(two_strikes());
    calls(&service, 1, || BAD).await;
    let mut body = answer_to(&service, vec![Ok("half"), Err(())]).await.into_body();
    assert!(body.frame().await.unwrap().is_ok());
    advance(100 * SECOND).await;
    drop(body);
    assert_eq!((circuit.state(), circuit.snapshot().consecutive_failures), (State::Closed, 0));
}

#[tokio::test(start_paused = true)]
async fn a_quiet_stream_that_its_reader_leaves_is_a_good_answer() {
    let (circuit, service) = build(brittle());
    let body = answer_to(&service, vec![Ok("half"), Ok("")]).await.into_body();
    assert!(tokio::time::timeout(100 * SECOND, body.collect()).await.is_err());
    assert_eq!(circuit.state(), State::Closed);
}

#[tokio::test(start_paused = true)]
async fn bodies_that_stall_until_the_total_time_trip() {
    // Case 18.
    for total in [300 * MS, 10 * SECOND] {
        let circuit = CircuitBreaker::builder().build().unwrap();
        let service = ServiceBuilder::new()
            .layer(DeadlineLayer::new(total))
            .layer(CircuitBreakerLayer::new(circuit.clone()))
            .layer(TimeoutLayer::new(total))
            .map_request(Call::into_inner)
            .service(tower::service_fn(async |ask: Ask| {
                tokio::time::sleep(MS).await;
                answer(ask).await
            }));
        for _ in 0..25 {
            let ask = Call::new(Ask::Pieces(vec![Ok("half"), Ok("")]));
            if let Ok(response) = service.clone().oneshot(ask).await {
                assert!(response.into_body().collect().await.is_err());
            }
        }
        assert_eq!(circuit.state(), State::Open, "{total:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_probe_is_judged_at_the_end_of_its_body() {
    for (last, state) in [(Ok("half"), State::Closed), (Err(()), State::Open)] {
        let (circuit, service) = build(brittle().probes(1));
        wait_for_probes(&circuit, &service).await;
        let response = answer_to(&service, vec![Ok("half"), last]).await;
        assert_eq!(circuit.state(), State::HalfOpen);
        let _ = response.into_body().collect().await;
        assert_eq!(circuit.state(), state);
    }
}

#[tokio::test(start_paused = true)]
async fn a_probe_that_still_streams_when_its_lease_ends_has_succeeded() {
    let (circuit, service) = build(brittle().probes(1).probe_lease(SECOND));
    wait_for_probes(&circuit, &service).await;
    let _streaming = answer_to(&service, vec![Ok("half"), Ok("")]).await;
    advance(SECOND).await;
    calls(&service, 1, || GOOD).await;
    assert_eq!(circuit.state(), State::Closed);
}

#[tokio::test(start_paused = true)]
async fn a_probe_whose_answer_streams_for_a_while_has_succeeded() {
    let (circuit, service) = build(brittle().probes(1).abandoned_after(SECOND));
    wait_for_probes(&circuit, &service).await;
    let _streaming = answer_to(&service, vec![Ok("half"), Ok("")]).await;
    advance(999 * MS).await;
    assert!(call(&service, GOOD).await.unwrap_err().is_circuit_open());
    advance(MS).await;
    assert_eq!(call(&service, GOOD).await.unwrap(), 200);
    assert_eq!(circuit.state(), State::Closed);
}

#[tokio::test(start_paused = true)]
async fn an_answer_after_the_lease_of_its_probe_says_nothing() {
    let (circuit, service) = build(brittle().probes(1).probe_lease(SECOND));
    wait_for_probes(&circuit, &service).await;
    let late = begin_later(&service);
    advance(SECOND).await;
    finish(late, 200);
    assert_eq!((circuit.state(), circuit.snapshot().trips), (State::Open, 2));
}

#[tokio::test(start_paused = true)]
async fn good_answers_that_are_being_streamed_keep_the_circuit_closed() {
    let (circuit, service) = build(CircuitBreaker::builder());
    let mut streaming = VecDeque::new();
    for number in 0..2000 {
        if number % 5 == 0 {
            calls(&service, 1, || BAD).await;
        } else {
            streaming.push_back(answer_to(&service, vec![Ok("half"), Ok("")]).await);
        }
        // Each stream lasts for 8 s.
        if streaming.len() > 640 {
            streaming.pop_front();
        }
        advance(10 * MS).await;
    }
    assert_eq!(circuit.snapshot().trips, 0);
    drop(streaming);
    for _ in 0..60 {
        calls(&service, 1, || BAD).await;
        advance(100 * MS).await;
    }
    assert_ne!(circuit.snapshot().trips, 0);
}

#[tokio::test(start_paused = true)]
async fn a_stream_of_events_that_the_deadline_cuts_is_a_good_answer() {
    let circuit = brittle().build().unwrap();
    let service = ServiceBuilder::new()
        .layer(DeadlineLayer::new(10 * SECOND))
        .layer(CircuitBreakerLayer::new(circuit.clone()))
        .layer(TimeoutLayer::new(10 * SECOND))
        .service(tower::service_fn(async |_: Call<()>| {
            let ticks = futures_util::stream::unfold((), async |()| {
                tokio::time::sleep(950 * MS).await;
                Some((Ok::<_, io::Error>(Frame::data(Bytes::from_static(b"tick"))), ()))
            });
            Ok::<_, Error<io::Error>>(Response::new(http_body_util::StreamBody::new(Box::pin(ticks))))
        }));
    let body = service.oneshot(Call::new(())).await.unwrap().into_body();
    assert!(body.collect().await.is_err());
    assert_eq!(circuit.state(), State::Closed);
}

// ===== Outcomes =====

#[tokio::test(start_paused = true)]
async fn a_failure_of_the_application_leaves_the_run_as_it_is() {
    let (circuit, service) = build(CircuitBreaker::builder().consecutive_failures(3, Duration::ZERO));
    calls(&service, 2, || BAD).await;
    calls(&service, 100, || Ask::Status(500)).await;
    assert_eq!((circuit.state(), circuit.snapshot().consecutive_failures), (State::Closed, 2));
    calls(&service, 1, || BAD).await;
    assert_eq!(circuit.state(), State::Open);
}

#[tokio::test(start_paused = true)]
async fn a_failure_of_the_application_counts_in_the_rates() {
    let (circuit, service) = build(half_of_ten());
    calls(&service, 10, || Ask::Status(500)).await;
    assert_eq!(circuit.state(), State::Open);
}

#[tokio::test(start_paused = true)]
async fn a_failure_of_the_application_ends_a_round_of_probes_as_alive() {
    let (circuit, service) = build(brittle());
    wait_for_probes(&circuit, &service).await;
    calls(&service, 1, || Ask::Status(500)).await;
    assert_eq!(circuit.state(), State::Closed);
}

#[tokio::test(start_paused = true)]
async fn a_failure_of_the_application_is_no_slow_call() {
    let (circuit, service) = build(brittle().slow_calls(SECOND, 0.5).probes(1));
    wait_for_probes(&circuit, &service).await;
    calls(&service, 1, || Ask::Status(500)).await;
    assert_eq!(circuit.state(), State::Closed);
}

#[tokio::test(start_paused = true)]
async fn a_failure_of_the_application_fails_a_probe_if_a_rate_is_configured() {
    let (circuit, service) = build(brittle().failure_rate(1.0).probes(1));
    wait_for_probes(&circuit, &service).await;
    calls(&service, 1, || Ask::Status(500)).await;
    assert_eq!(circuit.state(), State::Open);
}

#[tokio::test(start_paused = true)]
async fn a_route_that_fails_does_not_take_the_healthy_routes_along() {
    // Case 26.
    let (circuit, service) = build(CircuitBreaker::builder());
    for tick in 0..12_000 {
        assert_eq!(call(&service, Ask::Status(500)).await.unwrap(), 500);
        if tick % 33 == 0 {
            assert_eq!(call(&service, GOOD).await.unwrap(), 200);
        }
        advance(300 * MS).await;
    }
    assert_eq!(circuit.snapshot().refused, 0);
}

#[tokio::test(start_paused = true)]
async fn an_upstream_that_throttles_is_alive() {
    // Case 28.
    for status in [408, 429] {
        let (circuit, service) = build(brittle());
        wait_for_probes(&circuit, &service).await;
        for _ in 0..1000 {
            assert_eq!(call(&service, Ask::Status(status)).await.unwrap(), status);
        }
        let parallel: Vec<_> = (0..20).map(|_| begin_later(&service)).collect();
        for call in parallel {
            finish(call, 200);
        }
        assert_eq!((circuit.state(), circuit.snapshot().refused), (State::Closed, 0));
    }
}

#[tokio::test(start_paused = true)]
async fn a_throttled_call_is_a_success() {
    let circuit = brittle().failure_rate(0.1).minimum_calls(1).build().unwrap();
    let classifier = HttpClassifier::new().throttled([StatusCode::TOO_MANY_REQUESTS]);
    let service = CircuitBreakerLayer::new(circuit.clone()).classifier(classifier).layer(upstream());
    calls(&service, 40, || Ask::Status(429)).await;
    assert_eq!((circuit.state(), circuit.snapshot().window_calls), (State::Closed, 40));
    wait_for_probes(&circuit, &service).await;
    calls(&service, 1, || Ask::Status(429)).await;
    assert_eq!(circuit.state(), State::Closed);
}

#[tokio::test(start_paused = true)]
async fn a_circuit_opens_after_any_idle_time_as_on_the_first_day() {
    // Case 15.
    const DAY: Duration = Duration::from_secs(24 * 60 * 60);
    for idle in [Duration::ZERO, DAY / 24, 25 * DAY, 50 * DAY, 400 * DAY] {
        let (circuit, service) = build(CircuitBreaker::builder());
        calls(&service, 1, || BAD).await;
        advance(idle).await;
        let start = Instant::now();
        for _ in 0..60 {
            calls(&service, 1, || BAD).await;
            if circuit.state() == State::Open {
                break;
            }
            advance(100 * MS).await;
        }
        assert_eq!(circuit.state(), State::Open, "after {idle:?}");
        assert!((4800..5100).contains(&start.elapsed().as_millis()), "{:?} after {idle:?}", start.elapsed());
    }
}

// ===== Calls that are cut =====

#[tokio::test(start_paused = true)]
async fn a_black_hole_under_short_deadlines_trips() {
    // Case 9: attempts of 10 s, calls of 800 ms.
    let circuit = brittle().build().unwrap();
    let service = with_limits(&circuit, HttpClassifier::new());
    for _ in 0..3 {
        let _ = service.clone().oneshot(Call::new(Ask::Hang).timeout(800 * MS)).await;
    }
    assert_eq!(circuit.state(), State::Open);
}

#[tokio::test(start_paused = true)]
async fn a_cut_call_counts_if_it_has_waited_for_twice_the_usual_time() {
    let circuit = brittle().build().unwrap();
    let service = with_limits(&circuit, HttpClassifier::new());
    service.clone().oneshot(Call::new(Ask::After(20 * MS))).await.ok().unwrap();
    for _ in 0..1000 {
        let _ = service.clone().oneshot(Call::new(Ask::Hang).timeout(39 * MS)).await;
    }
    assert_eq!(circuit.state(), State::Closed, "the calls were too short to tell");
    let _ = service.clone().oneshot(Call::new(Ask::Hang).timeout(41 * MS)).await;
    assert_eq!(circuit.state(), State::Open);
}

#[tokio::test(start_paused = true)]
async fn impatient_callers_do_not_cut_off_patient_ones() {
    let circuit = CircuitBreaker::builder().build().unwrap();
    let service = with_limits(&circuit, HttpClassifier::new());
    for round in 0..2000 {
        let patience = if round % 100 == 0 { SECOND } else { 10 * MS };
        let result = service.clone().oneshot(Call::new(Ask::After(20 * MS)).timeout(patience)).await;
        assert_eq!(result.is_ok(), patience == SECOND);
    }
    assert_eq!(circuit.snapshot().trips, 0);
}

#[tokio::test(start_paused = true)]
async fn a_probe_that_is_cut_before_any_good_answer_is_known_has_failed_unless_it_was_very_short() {
    let circuit = brittle().probes(1).build().unwrap();
    let service = with_limits(&circuit, HttpClassifier::new());
    let _ = service.clone().oneshot(Call::new(BAD)).await;
    wait_out(&circuit).await;
    let _ = service.clone().oneshot(Call::new(Ask::Hang).timeout(10 * MS)).await;
    assert_eq!((circuit.state(), circuit.snapshot().probes_in_flight), (State::HalfOpen, 0));
    let _ = service.clone().oneshot(Call::new(Ask::Hang).timeout(100 * MS)).await;
    assert_eq!(circuit.state(), State::Open);
}

#[tokio::test(start_paused = true)]
async fn a_probe_may_take_as_long_as_its_call() {
    // Case 14.
    let circuit = brittle().build().unwrap();
    let service = ServiceBuilder::new()
        .layer(DeadlineLayer::new(10 * SECOND))
        .layer(CircuitBreakerLayer::new(circuit.clone()))
        .map_request(Call::into_inner)
        .service(upstream());
    let _ = service.clone().oneshot(Call::new(BAD)).await;
    wait_out(&circuit).await;
    let slow = Call::new(Ask::After(12 * SECOND)).timeout(60 * SECOND);
    assert!(service.oneshot(slow).await.is_ok());
    assert_eq!(circuit.state(), State::Closed);
}

#[tokio::test(start_paused = true)]
async fn a_call_that_its_classifier_ignores_says_nothing_when_it_is_dropped_or_cut() {
    let circuit = brittle().build().unwrap();
    let service = with_limits(&circuit, neutral());
    let cut = service.clone().oneshot(Call::new(Ask::Hang)).await;
    assert!(cut.err().unwrap().is_total_timeout());
    let dropped = tokio::time::timeout(9 * SECOND, service.oneshot(Call::new(Ask::Hang))).await;
    assert!(dropped.is_err());
    assert_eq!(circuit.state(), State::Closed);
}

// ===== Attempts beyond their share =====

/// A service in which each attempt is the last of its call, and has a share of 1 s of a total time of 3.4 s.
fn of_last_attempts(
    circuit: &CircuitBreaker,
    classifier: HttpClassifier,
) -> impl Service<Call<Ask>, Response = impl Sized, Error = Error<io::Error>, Future = impl Future> + Clone {
    ServiceBuilder::new()
        .layer(DeadlineLayer::new(3400 * MS))
        .map_request(|mut call: Call<Ask>| {
            call.set_options(call.options().attempt(1, false));
            call
        })
        .layer(CircuitBreakerLayer::new(circuit.clone()).classifier(classifier))
        .layer(TimeoutLayer::share_of(3400 * MS))
        .map_request(Call::into_inner)
        .service(upstream())
}

#[tokio::test(start_paused = true)]
async fn a_last_attempt_is_judged_at_the_end_of_its_share() {
    let circuit = two_strikes().build().unwrap();
    let service = of_last_attempts(&circuit, HttpClassifier::new());
    let mut slow = task::spawn(service.clone().call(Call::new(Ask::After(2 * SECOND))));
    assert!(slow.poll().is_pending());
    advance(SECOND + MS).await;
    assert!(slow.poll().is_pending());
    assert_eq!(circuit.snapshot().consecutive_failures, 1);
    advance(SECOND).await;
    assert!(slow.poll().is_ready());
    drop(slow);
    assert_eq!(circuit.snapshot().consecutive_failures, 1, "the late answer does not change the verdict");
}

#[tokio::test(start_paused = true)]
async fn a_last_attempt_that_its_classifier_ignores_is_not_judged_early() {
    let circuit = brittle().build().unwrap();
    let service = of_last_attempts(&circuit, neutral());
    assert!(service.oneshot(Call::new(Ask::Hang)).await.is_err());
    assert_eq!(circuit.state(), State::Closed);
}

#[tokio::test(start_paused = true)]
async fn a_last_attempt_is_judged_at_its_end_if_good_answers_usually_take_so_long() {
    let circuit = two_strikes().build().unwrap();
    let service = of_last_attempts(&circuit, HttpClassifier::new());
    for _ in 0..20 {
        assert!(service.clone().oneshot(Call::new(Ask::After(3 * SECOND))).await.is_ok());
    }
    assert_eq!((circuit.state(), circuit.snapshot().consecutive_failures), (State::Closed, 0));
}

#[tokio::test(start_paused = true)]
async fn a_slow_upstream_that_begins_to_hang_is_noticed() {
    let circuit = two_strikes().build().unwrap();
    let service = of_last_attempts(&circuit, HttpClassifier::new());
    for _ in 0..20 {
        assert!(service.clone().oneshot(Call::new(Ask::After(3 * SECOND))).await.is_ok());
    }
    for _ in 0..2 {
        assert!(service.clone().oneshot(Call::new(Ask::Hang)).await.is_err());
    }
    assert_eq!(circuit.state(), State::Open);
}

#[tokio::test(start_paused = true)]
async fn a_probe_that_hangs_has_failed_at_the_end_of_its_share() {
    let circuit = brittle().probes(1).build().unwrap();
    let service = of_last_attempts(&circuit, HttpClassifier::new());
    let _ = service.clone().oneshot(Call::new(BAD)).await;
    wait_out(&circuit).await;
    let mut hung = task::spawn(service.clone().call(Call::new(Ask::Hang)));
    assert!(hung.poll().is_pending());
    advance(SECOND + MS).await;
    assert!(hung.poll().is_pending());
    assert_eq!(circuit.state(), State::Open);
}

// ===== Queues =====

fn with_queue(
    circuit: &CircuitBreaker,
    bulkhead: &Bulkhead,
) -> CircuitBreakerService<BulkheadService<Upstream>> {
    let layers = ServiceBuilder::new().layer(CircuitBreakerLayer::new(circuit.clone()));
    layers.layer(BulkheadLayer::new(bulkhead.clone())).service(upstream())
}

#[tokio::test(start_paused = true)]
async fn a_call_in_a_queue_is_refused_when_the_circuit_opens() {
    let circuit = brittle().build().unwrap();
    let bulkhead = Bulkhead::builder().max_concurrent(1).build().unwrap();
    let service = with_queue(&circuit, &bulkhead);
    let mut holder = task::spawn(service.clone().call(Ask::Hang));
    assert_pending!(holder.poll());
    let mut queued = task::spawn(service.clone().call(GOOD));
    assert_pending!(queued.poll());
    circuit.force_open();
    assert!(queued.is_woken());
    assert!(assert_ready!(queued.poll()).unwrap_err().is_circuit_open());
    assert_eq!((bulkhead.waiting(), circuit.snapshot().refused), (0, 1));
}

#[tokio::test(start_paused = true)]
async fn a_call_that_was_sent_is_not_refused_while_it_waits_in_another_queue() {
    let circuit = brittle().build().unwrap();
    let bulkhead = Bulkhead::builder().max_concurrent(1).build().unwrap();
    let tokens = BulkheadLayer::new(bulkhead.clone()).layer(upstream());
    let mut holder = task::spawn(tokens.clone().call(Ask::Hang));
    assert_pending!(holder.poll());
    let service = CircuitBreakerLayer::new(circuit.clone()).layer(tower::service_fn(move |ask: Ask| {
        let tokens = tokens.clone();
        async move {
            // The upstream asks for a token after a while.
            tokio::time::sleep(MS).await;
            tokens.oneshot(ask).await
        }
    }));
    let mut sent = task::spawn(service.oneshot(GOOD));
    assert_pending!(sent.poll());
    advance(2 * MS).await;
    assert_pending!(sent.poll());
    assert_eq!(bulkhead.waiting(), 1);
    circuit.force_open();
    assert_pending!(sent.poll());
    drop(holder);
    assert!(assert_ready!(sent.poll()).is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_call_that_is_sent_while_it_waits_in_another_queue_is_not_refused() {
    let circuit = brittle().build().unwrap();
    let bulkhead = Bulkhead::builder().max_concurrent(1).build().unwrap();
    let tokens = BulkheadLayer::new(bulkhead.clone()).layer(upstream());
    let mut holder = task::spawn(tokens.clone().call(Ask::Hang));
    assert_pending!(holder.poll());
    let service = CircuitBreakerLayer::new(circuit.clone()).layer(tower::service_fn(move |ask: Ask| {
        let tokens = tokens.clone();
        async move {
            let sent = upstream().oneshot(Ask::After(MS));
            let (answer, _token) = tokio::join!(sent, tokens.oneshot(ask));
            answer
        }
    }));
    let mut sent = task::spawn(service.oneshot(GOOD));
    assert_pending!(sent.poll());
    assert_eq!(bulkhead.waiting(), 1);
    circuit.force_open();
    assert_pending!(sent.poll());
    advance(2 * MS).await;
    assert!(assert_ready!(sent.poll()).is_ok());
    assert_eq!(circuit.snapshot().refused, 0);
}

#[tokio::test(start_paused = true)]
async fn a_permit_that_comes_as_the_circuit_opens_is_not_used() {
    let circuit = brittle().build().unwrap();
    let bulkhead = Bulkhead::builder().max_concurrent(1).build().unwrap();
    let service = with_queue(&circuit, &bulkhead);
    let (answer, status) = oneshot::channel();
    let mut holder = task::spawn(service.clone().call(Ask::Later(status)));
    assert_pending!(holder.poll());
    let mut queued = task::spawn(service.clone().call(GOOD));
    assert_pending!(queued.poll());
    answer.send(503).unwrap();
    drop(assert_ready!(holder.poll())); // Opens the circuit, and gives the permit to the waiter.
    assert_eq!(circuit.state(), State::Open);
    assert!(assert_ready!(queued.poll()).unwrap_err().is_circuit_open());
    assert_eq!(bulkhead.in_flight(), 0);
}
