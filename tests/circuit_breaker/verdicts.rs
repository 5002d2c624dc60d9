//! The verdicts on answers: which results are failures, and when the verdict on a call is known.

use super::*;

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
