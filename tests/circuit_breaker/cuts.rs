//! Calls that are cut or dropped while they wait, and attempts that last longer than their share.

use super::*;

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
