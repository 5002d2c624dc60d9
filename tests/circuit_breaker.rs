//! What a circuit breaker does, seen from outside.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::future::pending;
use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use bytes::Bytes;
use http::{Response, StatusCode};
use http_body::{Body, Frame};
use http_body_util::{BodyExt, Full};
use steadfast::buffer_body::BufferBodyLayer;
use steadfast::bulkhead::{BulkheadLayer, Compartment};
use steadfast::circuit_breaker::{
    Circuit, CircuitBreaker, CircuitBreakerLayer, CircuitBuilder, State, Window,
};
use steadfast::retry::{Backoff, RetryLayer, RetryPolicy};
use steadfast::timeout::TimeoutLayer;
use steadfast::{Call, Error, HasOptions, Options, Outcome, Resend, Resendable, TimeoutScope};
use tokio::sync::oneshot;
use tokio::time::{Instant, advance};
use tokio_test::{assert_pending, assert_ready, task};
use tower::util::ServiceFn;
use tower::{Layer, Service, ServiceBuilder, ServiceExt};
use tower_test::mock;

const SECOND: Duration = Duration::from_secs(1);
const MS: Duration = Duration::from_millis(1);

// ===== An upstream that does as it is asked =====

/// A request, and what the upstream makes of it.
#[derive(Debug)]
enum Ask {
    /// This status, at once.
    Status(u16),
    /// 200, after this time.
    After(Duration),
    /// The connection is lost.
    Reset,
    /// The given error.
    Fail(Error<io::Error>),
    /// No answer ever.
    Hang,
    /// The status that the test sends.
    Later(oneshot::Receiver<u16>),
    /// 200, and a body of these pieces.
    Pieces(Vec<Result<&'static str, ()>>),
}

const GOOD: Ask = Ask::Status(200);
const BAD: Ask = Ask::Status(503);

impl HasOptions for Ask {}

type Answer = Result<Response<Pieces>, Error<io::Error>>;
type Answering = Pin<Box<dyn Future<Output = Answer> + Send>>;
type Upstream = ServiceFn<fn(Ask) -> Answering>;
type Guarded = CircuitBreaker<Upstream>;

fn answer(ask: Ask) -> Answering {
    Box::pin(async move {
        match ask {
            Ask::Status(status) => Ok(status_of(status)),
            Ask::After(time) => {
                tokio::time::sleep(time).await;
                Ok(status_of(200))
            }
            Ask::Reset => Err(Error::Upstream(io::ErrorKind::ConnectionReset.into())),
            Ask::Fail(error) => Err(error),
            Ask::Hang => pending().await,
            Ask::Later(status) => Ok(status_of(status.await.unwrap())),
            Ask::Pieces(pieces) => Ok(Response::new(Pieces(pieces.into()))),
        }
    })
}

fn upstream() -> Upstream {
    tower::service_fn(answer as fn(Ask) -> Answering)
}

fn status_of(status: u16) -> Response<Pieces> {
    Response::builder().status(status).body(Pieces::default()).unwrap()
}

/// A streamed body: it does not know that it is at its end until it is asked for more.
#[derive(Debug, Default)]
struct Pieces(VecDeque<Result<&'static str, ()>>);

impl Body for Pieces {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        Poll::Ready(self.0.pop_front().map(|piece| match piece {
            Ok(data) => Ok(Frame::data(Bytes::from_static(data.as_bytes()))),
            Err(()) => Err(io::ErrorKind::UnexpectedEof.into()),
        }))
    }
}

// ===== Helpers =====

/// Trips on the first failure, and opens for at most a second.
fn brittle() -> CircuitBuilder {
    Circuit::builder().consecutive_failures(1, Duration::ZERO).seed(1)
}

fn build(builder: CircuitBuilder) -> (Circuit, Guarded) {
    let circuit = builder.build().unwrap();
    let service = CircuitBreakerLayer::new(circuit.clone()).layer(upstream());
    (circuit, service)
}

/// One whole call, head only.
async fn call(service: &Guarded, ask: Ask) -> Result<StatusCode, Error<io::Error>> {
    service.clone().oneshot(ask).await.map(|response| response.status())
}

async fn calls(service: &Guarded, number: usize, ask: fn() -> Ask) {
    for _ in 0..number {
        let _ = call(service, ask()).await;
    }
}

/// A call that has begun.
type Begun = task::Spawn<<Guarded as Service<Ask>>::Future>;

/// Begins a call that stays under way.
fn begin(service: &Guarded, ask: Ask) -> Begun {
    let mut call = task::spawn(service.clone().call(ask));
    assert_pending!(call.poll());
    call
}

/// Begins a call whose answer the test sends.
fn begin_later(service: &Guarded) -> (oneshot::Sender<u16>, Begun) {
    let (answer, status) = oneshot::channel();
    (answer, begin(service, Ask::Later(status)))
}

/// Answers a call that is under way.
fn finish((answer, mut call): (oneshot::Sender<u16>, Begun), status: u16) {
    answer.send(status).unwrap();
    assert_ready!(call.poll()).unwrap();
}

/// Lets the open time pass; returns how long it was.
async fn wait_out(circuit: &Circuit) -> Duration {
    assert_eq!(circuit.state(), State::Open);
    let wait = circuit.snapshot().retry_after.unwrap();
    advance(wait).await;
    wait
}

/// Trips a brittle circuit, and lets the open time pass: the next call is a probe.
async fn wait_for_probes(circuit: &Circuit, service: &Guarded) {
    calls(service, 1, || BAD).await;
    wait_out(circuit).await;
}

// ===== Failures in a row =====

#[tokio::test(start_paused = true)]
async fn failures_in_a_row_trip_only_if_they_span_the_time() {
    let (circuit, service) = build(Circuit::builder().consecutive_failures(5, 3 * SECOND));
    calls(&service, 50, || BAD).await;
    assert_eq!(circuit.state(), State::Closed, "fifty failures in no time");
    advance(2999 * MS).await;
    calls(&service, 1, || BAD).await;
    assert_eq!(circuit.state(), State::Closed);
    advance(MS).await;
    calls(&service, 1, || BAD).await;
    assert_eq!(circuit.state(), State::Open);
}

#[tokio::test(start_paused = true)]
async fn time_alone_does_not_trip() {
    let (circuit, service) = build(Circuit::builder().consecutive_failures(5, 3 * SECOND));
    for _ in 0..4 {
        calls(&service, 1, || BAD).await;
        advance(10 * SECOND).await;
    }
    assert_eq!(circuit.state(), State::Closed);
    calls(&service, 1, || BAD).await;
    assert_eq!(circuit.state(), State::Open);
}

#[tokio::test(start_paused = true)]
async fn by_default_ten_failures_that_span_three_seconds_trip() {
    let (circuit, service) = build(Circuit::builder());
    calls(&service, 9, || BAD).await;
    advance(3 * SECOND).await;
    assert_eq!(circuit.state(), State::Closed);
    calls(&service, 1, || BAD).await;
    assert_eq!(circuit.state(), State::Open);
}

#[tokio::test(start_paused = true)]
async fn a_success_ends_a_run_of_failures() {
    let (circuit, service) = build(Circuit::builder().consecutive_failures(3, Duration::ZERO));
    for _ in 0..10 {
        calls(&service, 2, || BAD).await;
        calls(&service, 1, || GOOD).await;
    }
    assert_eq!(circuit.state(), State::Closed);
    calls(&service, 3, || BAD).await;
    assert_eq!(circuit.state(), State::Open);
}

#[tokio::test(start_paused = true)]
async fn the_span_is_measured_from_the_first_failure_after_a_success() {
    let (circuit, service) = build(Circuit::builder().consecutive_failures(2, 3 * SECOND));
    calls(&service, 1, || BAD).await;
    advance(2 * SECOND).await;
    calls(&service, 1, || GOOD).await;
    calls(&service, 1, || BAD).await;
    advance(2 * SECOND).await;
    calls(&service, 1, || BAD).await;
    assert_eq!(circuit.state(), State::Closed);
}

#[tokio::test(start_paused = true)]
async fn without_the_rule_no_run_of_failures_trips() {
    let (circuit, service) = build(Circuit::builder().without_consecutive_failures());
    for _ in 0..1000 {
        calls(&service, 1, || BAD).await;
        advance(SECOND).await;
    }
    assert_eq!(circuit.state(), State::Closed);
}

// ===== Rates =====

/// Trips on half of the last ten calls, and on nothing else.
fn half_of_ten() -> CircuitBuilder {
    Circuit::builder()
        .without_consecutive_failures()
        .window(Window::Calls(10))
        .failure_rate(0.5)
        .minimum_calls(10)
}

/// Trips on half of the calls of ten seconds, and on nothing else.
fn half_of_ten_seconds() -> CircuitBuilder {
    half_of_ten().window(Window::Time(10 * SECOND))
}

#[tokio::test(start_paused = true)]
async fn a_failure_rate_over_the_last_calls_trips() {
    let (circuit, service) = build(half_of_ten());
    calls(&service, 10, || GOOD).await;
    calls(&service, 4, || BAD).await;
    assert_eq!(circuit.state(), State::Closed);
    calls(&service, 1, || BAD).await;
    assert_eq!(circuit.state(), State::Open);
}

#[tokio::test(start_paused = true)]
async fn a_window_of_calls_slides_after_ten_thousand_successes() {
    // Mistake 1.
    let (circuit, service) = build(half_of_ten());
    calls(&service, 10_000, || GOOD).await;
    calls(&service, 4, || BAD).await;
    assert_eq!(circuit.state(), State::Closed);
    calls(&service, 1, || BAD).await;
    assert_eq!(circuit.state(), State::Open);
}

#[tokio::test(start_paused = true)]
async fn a_window_of_calls_forgets_failures_that_are_ten_calls_old() {
    // Mistake 1.
    let (circuit, service) = build(half_of_ten());
    for _ in 0..1000 {
        calls(&service, 6, || GOOD).await;
        calls(&service, 4, || BAD).await;
    }
    assert_eq!(circuit.state(), State::Closed);
    assert_eq!(circuit.snapshot().window_calls, 10);
}

#[tokio::test(start_paused = true)]
async fn a_rate_means_nothing_before_the_minimum_of_calls() {
    for builder in [half_of_ten(), half_of_ten_seconds()] {
        let (circuit, service) = build(builder);
        calls(&service, 9, || BAD).await;
        assert_eq!(circuit.state(), State::Closed);
        calls(&service, 1, || BAD).await;
        assert_eq!(circuit.state(), State::Open);
    }
}

#[tokio::test(start_paused = true)]
async fn a_failure_rate_over_a_time_trips() {
    let (circuit, service) = build(half_of_ten_seconds());
    for _ in 0..9 {
        calls(&service, 2, || GOOD).await;
        calls(&service, 1, || BAD).await;
        advance(SECOND).await;
    }
    assert_eq!(circuit.state(), State::Closed, "nine of 27");
    calls(&service, 8, || BAD).await;
    assert_eq!(circuit.state(), State::Closed, "17 of 35");
    calls(&service, 1, || BAD).await;
    assert_eq!(circuit.state(), State::Open, "18 of 36");
}

#[tokio::test(start_paused = true)]
async fn a_window_of_time_forgets_successes_that_are_older() {
    // Mistake 1.
    let (circuit, service) = build(half_of_ten_seconds());
    calls(&service, 10_000, || GOOD).await;
    advance(10 * SECOND).await;
    calls(&service, 10, || BAD).await;
    assert_eq!(circuit.state(), State::Open);
}

#[tokio::test(start_paused = true)]
async fn a_window_of_time_slides_bit_by_bit() {
    let (circuit, service) = build(half_of_ten_seconds().minimum_calls(1000));
    for _ in 0..10 {
        calls(&service, 1, || BAD).await;
        advance(SECOND).await;
    }
    let seen: Vec<_> = {
        let mut seen = Vec::new();
        for _ in 0..10 {
            seen.push(circuit.snapshot().window_calls);
            advance(SECOND).await;
        }
        seen
    };
    assert_eq!(seen, [9, 8, 7, 6, 5, 4, 3, 2, 1, 0]);
}

#[tokio::test(start_paused = true)]
async fn a_window_takes_the_same_memory_however_many_calls_are_in_it() {
    // Mistake 2.
    for builder in [half_of_ten(), half_of_ten_seconds().minimum_calls(u32::MAX)] {
        let circuit = builder.build().unwrap();
        let ready = tower::service_fn(|good: bool| {
            let status = if good { 200 } else { 503 };
            let mut response = Response::new(Full::<Bytes>::default());
            *response.status_mut() = StatusCode::from_u16(status).unwrap();
            std::future::ready(Ok::<_, Error<Infallible>>(response))
        });
        let service = CircuitBreakerLayer::new(circuit.clone()).layer(ready);
        let mut cx = Context::from_waker(Waker::noop());
        let used = allocation_counter::measure(|| {
            for number in 0..100_000 {
                let call = std::pin::pin!(service.clone().call(number % 4 != 0));
                assert!(call.poll(&mut cx).is_ready());
            }
        });
        assert_eq!(used.count_total, 0);
        assert!(circuit.snapshot().window_calls >= 10);
    }
}

/// Trips when half of the last ten calls took more than a second, and on nothing else.
fn half_slow() -> CircuitBuilder {
    Circuit::builder()
        .without_consecutive_failures()
        .window(Window::Calls(10))
        .slow_calls(SECOND, 0.5)
        .minimum_calls(10)
}

#[tokio::test(start_paused = true)]
async fn a_slow_call_rate_trips_although_every_call_succeeds() {
    let (circuit, service) = build(half_slow());
    calls(&service, 10, || Ask::After(SECOND / 2)).await;
    calls(&service, 4, || Ask::After(2 * SECOND)).await;
    assert_eq!(circuit.state(), State::Closed);
    assert!((circuit.snapshot().slow_rate - 0.4).abs() < 1e-9);
    calls(&service, 1, || Ask::After(2 * SECOND)).await;
    assert_eq!(circuit.state(), State::Open);
}

#[tokio::test(start_paused = true)]
async fn a_call_is_slow_only_beyond_the_limit() {
    let (circuit, service) = build(half_slow());
    calls(&service, 20, || Ask::After(SECOND)).await;
    assert_eq!(circuit.state(), State::Closed);
    assert!(circuit.snapshot().slow_rate.abs() < 1e-9);
}

#[tokio::test(start_paused = true)]
async fn failures_do_not_trip_the_rule_for_slow_calls() {
    let (circuit, service) = build(half_slow());
    calls(&service, 100, || BAD).await;
    assert_eq!(circuit.state(), State::Closed);
}

#[tokio::test(start_paused = true)]
async fn a_slow_probe_does_not_close_the_circuit() {
    let (circuit, service) = build(half_slow().probes(1));
    calls(&service, 10, || Ask::After(2 * SECOND)).await;
    wait_out(&circuit).await;
    calls(&service, 1, || Ask::After(2 * SECOND)).await;
    assert_eq!(circuit.state(), State::Open);
    wait_out(&circuit).await;
    calls(&service, 1, || Ask::After(SECOND / 2)).await;
    assert_eq!(circuit.state(), State::Closed);
}

// ===== What counts =====

#[tokio::test(start_paused = true)]
async fn a_503_counts_although_it_is_a_response() {
    // Mistake 7.
    let (circuit, service) = build(half_of_ten());
    calls(&service, 10, || Ask::Status(503)).await;
    assert_eq!(circuit.state(), State::Open);
}

#[tokio::test(start_paused = true)]
async fn every_kind_of_fault_counts() {
    for ask in [
        || Ask::Status(500),
        || Ask::Status(502),
        || Ask::Status(504),
        || Ask::Reset,
        || Ask::Fail(Error::Timeout { scope: TimeoutScope::Attempt, after: SECOND }),
        || Ask::Fail(Error::Body("cut short".into())),
    ] {
        let (circuit, service) = build(brittle());
        calls(&service, 1, ask).await;
        assert_eq!(circuit.state(), State::Open, "{:?}", ask());
    }
}

#[tokio::test(start_paused = true)]
async fn an_upstream_that_decides_is_well() {
    let (circuit, service) = build(brittle());
    for status in [200, 204, 301, 400, 401, 404, 410] {
        let _ = call(&service, Ask::Status(status)).await;
    }
    assert_eq!(circuit.state(), State::Closed);
}

#[tokio::test(start_paused = true)]
async fn a_neutral_result_counts_neither_way() {
    let neutral = || Ask::Status(429);
    let (circuit, service) = build(half_of_ten().consecutive_failures(3, Duration::ZERO));
    calls(&service, 2, || BAD).await;
    calls(&service, 100, neutral).await;
    let seen = circuit.snapshot();
    assert_eq!((seen.window_calls, seen.consecutive_failures), (2, 2));
    calls(&service, 1, || BAD).await;
    assert_eq!(circuit.state(), State::Open, "the run was not ended by what says nothing");
}

#[tokio::test(start_paused = true)]
async fn a_neutral_probe_decides_nothing_and_frees_its_place() {
    // Mistake 3.
    let (circuit, service) = build(brittle().probes(1));
    wait_for_probes(&circuit, &service).await;
    calls(&service, 100, || Ask::Status(429)).await;
    assert_eq!(circuit.state(), State::HalfOpen);
    calls(&service, 1, || GOOD).await;
    assert_eq!(circuit.state(), State::Closed);
}

#[tokio::test(start_paused = true)]
async fn what_was_refused_on_this_side_never_counts() {
    let (circuit, service) = build(brittle());
    calls(&service, 100, || Ask::Fail(Error::BulkheadFull { max_concurrent: 1 })).await;
    calls(&service, 100, || Ask::Fail(Error::CircuitOpen { retry_after: None })).await;
    assert_eq!(circuit.state(), State::Closed);
}

#[tokio::test(start_paused = true)]
async fn a_probe_that_the_bulkhead_refuses_frees_its_place() {
    // Mistake 3.
    let (circuit, service) = build(brittle().probes(1));
    wait_for_probes(&circuit, &service).await;
    calls(&service, 100, || Ask::Fail(Error::BulkheadFull { max_concurrent: 1 })).await;
    assert_eq!(circuit.snapshot().probes_in_flight, 0);
    calls(&service, 1, || GOOD).await;
    assert_eq!(circuit.state(), State::Closed);
}

#[tokio::test(start_paused = true)]
async fn a_classifier_of_ones_own_decides_for_a_plain_service() {
    let circuit = brittle().build().unwrap();
    let classify = |result: Result<&u32, &Error<Infallible>>| match result {
        Ok(0) => Outcome::Failure,
        Ok(1) => Outcome::Neutral,
        _ => Outcome::Success,
    };
    let service = ServiceBuilder::new()
        .layer(CircuitBreakerLayer::new(circuit.clone()).classifier(classify).plain())
        .map_err(Error::Upstream)
        .service_fn(async |number: u32| Ok::<_, Infallible>(number));
    assert_eq!(service.clone().oneshot(2).await.unwrap(), 2);
    assert_eq!(service.clone().oneshot(1).await.unwrap(), 1);
    assert_eq!(circuit.state(), State::Closed);
    assert_eq!(service.clone().oneshot(0).await.unwrap(), 0);
    assert_eq!(circuit.state(), State::Open);
    assert!(service.clone().oneshot(2).await.unwrap_err().is_circuit_open());
}

// ===== Generations =====

#[tokio::test(start_paused = true)]
async fn a_late_success_does_not_close_an_open_circuit() {
    // Mistake 5.
    let (circuit, service) = build(brittle());
    let late = begin_later(&service);
    calls(&service, 1, || BAD).await;
    finish(late, 200);
    assert_eq!(circuit.state(), State::Open);
}

#[tokio::test(start_paused = true)]
async fn a_late_success_does_not_close_a_half_open_circuit() {
    // Mistake 5.
    let (circuit, service) = build(brittle());
    let late = begin_later(&service);
    wait_for_probes(&circuit, &service).await;
    let probe = begin_later(&service);
    finish(late, 200);
    assert_eq!(circuit.state(), State::HalfOpen);
    finish(probe, 200);
    assert_eq!(circuit.state(), State::Closed);
}

#[tokio::test(start_paused = true)]
async fn a_late_failure_does_not_fail_a_round_of_probes() {
    // Mistake 5.
    let (circuit, service) = build(brittle().probes(1));
    let late = begin_later(&service);
    wait_for_probes(&circuit, &service).await;
    let probe = begin_later(&service);
    finish(late, 503);
    assert_eq!(circuit.state(), State::HalfOpen);
    finish(probe, 200);
    assert_eq!(circuit.state(), State::Closed);
}

#[tokio::test(start_paused = true)]
async fn a_late_failure_does_not_open_a_circuit_that_has_recovered() {
    // Mistake 5.
    let (circuit, service) = build(brittle());
    let late = begin_later(&service);
    wait_for_probes(&circuit, &service).await;
    calls(&service, 1, || GOOD).await;
    finish(late, 503);
    assert_eq!(circuit.state(), State::Closed);
    assert_eq!(circuit.snapshot().consecutive_failures, 0);
}

#[tokio::test(start_paused = true)]
async fn a_late_success_does_not_end_a_run_of_failures_of_a_later_generation() {
    // Mistake 5.
    let (circuit, service) = build(Circuit::builder().consecutive_failures(2, Duration::ZERO));
    let late = begin_later(&service);
    circuit.reset();
    calls(&service, 1, || BAD).await;
    finish(late, 200);
    assert_eq!(circuit.snapshot().consecutive_failures, 1);
}

#[tokio::test(start_paused = true)]
async fn a_late_result_is_not_in_the_window_of_a_later_generation() {
    // Mistake 5.
    let (circuit, service) = build(half_of_ten());
    let late = [begin_later(&service), begin_later(&service)];
    circuit.reset();
    for (late, status) in late.into_iter().zip([200, 503]) {
        finish(late, status);
    }
    assert_eq!(circuit.snapshot().window_calls, 0);
}

#[tokio::test(start_paused = true)]
async fn a_late_probe_of_an_earlier_round_decides_nothing() {
    // Mistake 5.
    let (circuit, service) = build(brittle().successes_to_close(3));
    wait_for_probes(&circuit, &service).await;
    let late = begin_later(&service);
    calls(&service, 1, || BAD).await;
    wait_out(&circuit).await;
    let probe = begin_later(&service);
    finish(late, 503);
    assert_eq!(circuit.state(), State::HalfOpen);
    assert_eq!(circuit.snapshot().probes_in_flight, 1);
    drop(probe);
}

#[tokio::test(start_paused = true)]
async fn a_circuit_that_has_recovered_has_no_memory_of_the_outage() {
    let (circuit, service) = build(half_of_ten());
    calls(&service, 10, || BAD).await;
    wait_out(&circuit).await;
    calls(&service, 1, || GOOD).await;
    assert_eq!(circuit.state(), State::Closed);
    assert_eq!(circuit.snapshot().window_calls, 0);
    calls(&service, 9, || BAD).await;
    assert_eq!(circuit.state(), State::Closed);
}

// ===== Half-open =====

#[tokio::test(start_paused = true)]
async fn half_open_admits_three_of_a_thousand_callers() {
    // Mistake 4.
    let (circuit, service) = build(brittle());
    wait_for_probes(&circuit, &service).await;
    let mut under_way: Vec<_> = (0..1000).map(|_| task::spawn(service.clone().call(Ask::Hang))).collect();
    let refused = under_way.iter_mut().filter_map(|call| match call.poll() {
        Poll::Ready(result) => Some(result.unwrap_err()),
        Poll::Pending => None,
    });
    assert!(refused.map(|error| error.is_circuit_open()).eq([true; 997]));
    assert_eq!(circuit.snapshot().probes_in_flight, 3);
}

#[tokio::test(start_paused = true)]
async fn half_open_admits_as_many_as_are_configured() {
    // Mistake 4.
    let (circuit, service) = build(brittle().probes(7));
    wait_for_probes(&circuit, &service).await;
    let _under_way: Vec<_> = (0..7).map(|_| begin(&service, Ask::Hang)).collect();
    assert!(call(&service, GOOD).await.unwrap_err().is_circuit_open());
}

#[tokio::test(start_paused = true)]
async fn one_success_closes() {
    let (circuit, service) = build(brittle());
    wait_for_probes(&circuit, &service).await;
    let _others = [begin(&service, Ask::Hang), begin(&service, Ask::Hang)];
    calls(&service, 1, || GOOD).await;
    assert_eq!(circuit.state(), State::Closed);
}

#[tokio::test(start_paused = true)]
async fn all_probes_must_fail_to_open_again() {
    let (circuit, service) = build(brittle());
    wait_for_probes(&circuit, &service).await;
    calls(&service, 2, || BAD).await;
    assert_eq!(circuit.state(), State::HalfOpen);
    calls(&service, 1, || BAD).await;
    assert_eq!(circuit.state(), State::Open);
}

#[tokio::test(start_paused = true)]
async fn two_of_three_successes_close_where_two_are_asked_for() {
    let (circuit, service) = build(brittle().successes_to_close(2));
    wait_for_probes(&circuit, &service).await;
    calls(&service, 1, || GOOD).await;
    calls(&service, 1, || BAD).await;
    assert_eq!(circuit.state(), State::HalfOpen);
    calls(&service, 1, || GOOD).await;
    assert_eq!(circuit.state(), State::Closed);
}

#[tokio::test(start_paused = true)]
async fn two_of_three_failures_open_where_two_successes_are_asked_for() {
    let (circuit, service) = build(brittle().successes_to_close(2));
    wait_for_probes(&circuit, &service).await;
    calls(&service, 2, || BAD).await;
    assert_eq!(circuit.state(), State::Open);
}

#[tokio::test(start_paused = true)]
async fn a_dropped_probe_frees_its_place() {
    // Mistake 3.
    let (circuit, service) = build(brittle().probes(1));
    wait_for_probes(&circuit, &service).await;
    for _ in 0..100 {
        drop(begin(&service, Ask::Hang));
    }
    assert_eq!((circuit.state(), circuit.snapshot().probes_in_flight), (State::HalfOpen, 0));
    calls(&service, 1, || GOOD).await;
    assert_eq!(circuit.state(), State::Closed);
}

#[tokio::test(start_paused = true)]
async fn a_probe_that_is_never_polled_frees_its_place() {
    // Mistake 3.
    let (circuit, service) = build(brittle().probes(1));
    wait_for_probes(&circuit, &service).await;
    let never_polled = service.clone().call(GOOD);
    assert!(call(&service, GOOD).await.is_err());
    drop(never_polled);
    calls(&service, 1, || GOOD).await;
    assert_eq!(circuit.state(), State::Closed);
}

#[tokio::test(start_paused = true)]
async fn a_hung_probe_counts_as_failed_after_its_lease() {
    // Mistake 3.
    let (circuit, service) = build(brittle().probe_lease(5 * SECOND));
    wait_for_probes(&circuit, &service).await;
    let _hung = [begin(&service, Ask::Hang), begin(&service, Ask::Hang), begin(&service, Ask::Hang)];
    let error = call(&service, GOOD).await.unwrap_err();
    assert_eq!(error.retry_after(), Some(5 * SECOND));
    advance(5 * SECOND).await;
    assert!(call(&service, GOOD).await.unwrap_err().is_circuit_open());
    assert_eq!(circuit.state(), State::Open);
    wait_out(&circuit).await;
    assert_eq!(call(&service, GOOD).await.unwrap(), 200);
}

#[tokio::test(start_paused = true)]
async fn a_hung_probe_frees_its_place_after_its_lease() {
    // Mistake 3.
    let (circuit, service) = build(brittle().probes(2).probe_lease(5 * SECOND));
    wait_for_probes(&circuit, &service).await;
    let _hung = begin(&service, Ask::Hang);
    advance(5 * SECOND).await;
    let second = begin_later(&service);
    assert_eq!(circuit.snapshot().probes_in_flight, 1);
    finish(second, 200);
    assert_eq!(circuit.state(), State::Closed);
}

#[tokio::test(start_paused = true)]
async fn a_probe_that_is_dropped_after_a_long_time_counts_as_failed() {
    let (circuit, service) = build(brittle().probes(1).abandoned_after(SECOND));
    wait_for_probes(&circuit, &service).await;
    let hung = begin(&service, Ask::Hang);
    advance(SECOND).await;
    drop(hung);
    assert_eq!(circuit.state(), State::Open);
}

// ===== The open time =====

/// The open times of a trip and of three failed rounds of one probe after it.
async fn open_times(circuit: &Circuit, service: &Guarded) -> Vec<Duration> {
    let mut times = Vec::new();
    for _ in 0..4 {
        calls(service, 1, || BAD).await;
        times.push(wait_out(circuit).await);
    }
    times
}

fn seconds_to_four() -> CircuitBuilder {
    brittle().probes(1).open_for(SECOND).max_open_for(4 * SECOND)
}

#[tokio::test(start_paused = true)]
async fn the_open_time_doubles_up_to_its_cap_and_is_jittered_down_to_half() {
    let mut sums = [Duration::ZERO; 4];
    for seed in 0..100 {
        let (circuit, service) = build(seconds_to_four().seed(seed));
        let times = open_times(&circuit, &service).await;
        for (index, (time, longest)) in times.into_iter().zip([1, 2, 4, 4]).enumerate() {
            let longest = longest * SECOND;
            assert!(time <= longest && time >= longest / 2, "{time:?} of {longest:?}");
            sums[index] += time;
        }
    }
    // Jitter that uses its whole range leaves three quarters on average.
    for (sum, longest) in sums.into_iter().zip([1, 2, 4, 4]) {
        let share = sum.as_secs_f64() / 100.0 / f64::from(longest);
        assert!((0.70..0.80).contains(&share), "{share} of {longest} s");
    }
}

#[tokio::test(start_paused = true)]
async fn the_open_time_starts_over_after_recovery() {
    let (circuit, service) = build(seconds_to_four());
    open_times(&circuit, &service).await;
    calls(&service, 1, || GOOD).await;
    assert_eq!(circuit.state(), State::Closed);
    let times = open_times(&circuit, &service).await;
    assert!(times[0] <= SECOND && times[1] <= 2 * SECOND, "{times:?}");
}

#[tokio::test(start_paused = true)]
async fn the_open_time_is_repeatable_by_seed() {
    let mut runs = Vec::new();
    for seed in [7, 7, 8] {
        let (circuit, service) = build(seconds_to_four().seed(seed));
        runs.push(open_times(&circuit, &service).await);
    }
    assert_eq!(runs[0], runs[1]);
    assert_ne!(runs[0], runs[2]);
}

#[tokio::test(start_paused = true)]
async fn clients_without_a_seed_do_not_come_back_together() {
    let mut waits = std::collections::HashSet::new();
    for _ in 0..20 {
        let (circuit, service) = build(Circuit::builder().consecutive_failures(1, Duration::ZERO));
        calls(&service, 1, || BAD).await;
        waits.insert(circuit.snapshot().retry_after);
    }
    assert!(waits.len() > 15, "{waits:?}");
}

#[tokio::test(start_paused = true)]
async fn circuits_made_after_one_pattern_do_not_come_back_together() {
    let pattern = brittle().build().unwrap();
    let mut waits = std::collections::HashSet::new();
    for number in 0..20 {
        let circuit = pattern.fresh(format!("upstream {number}"));
        let service = CircuitBreakerLayer::new(circuit.clone()).layer(upstream());
        calls(&service, 1, || BAD).await;
        waits.insert(circuit.snapshot().retry_after);
    }
    assert_eq!(waits.len(), 20);
    assert_eq!(pattern.state(), State::Closed);
}

#[tokio::test(start_paused = true)]
async fn a_refusal_says_how_long_and_counts_down() {
    let (circuit, service) = build(brittle());
    calls(&service, 1, || BAD).await;
    let first = call(&service, GOOD).await.unwrap_err().retry_after().unwrap();
    assert_eq!(circuit.snapshot().retry_after, Some(first));
    advance(100 * MS).await;
    let second = call(&service, GOOD).await.unwrap_err().retry_after().unwrap();
    assert_eq!(first, second + 100 * MS);
    advance(second).await;
    assert_eq!(call(&service, GOOD).await.unwrap(), 200);
}

#[tokio::test(start_paused = true)]
async fn open_sends_nothing_to_the_upstream() {
    let asked = Arc::new(AtomicUsize::new(0));
    let circuit = brittle().build().unwrap();
    let service = CircuitBreakerLayer::new(circuit).layer(tower::service_fn({
        let asked = Arc::clone(&asked);
        move |ask| {
            asked.fetch_add(1, Ordering::Relaxed);
            answer(ask)
        }
    }));
    for _ in 0..1000 {
        let _ = service.clone().oneshot(BAD).await;
    }
    assert_eq!(asked.load(Ordering::Relaxed), 1);
}

// ===== By hand =====

#[tokio::test(start_paused = true)]
async fn forced_open_refuses_until_it_is_reset_and_does_not_know_when() {
    let (circuit, service) = build(brittle());
    circuit.force_open();
    assert_eq!(circuit.state(), State::ForcedOpen);
    advance(1000 * SECOND).await;
    let error = call(&service, GOOD).await.unwrap_err();
    assert!(error.is_circuit_open());
    assert_eq!((error.retry_after(), circuit.snapshot().retry_after), (None, None));
    circuit.reset();
    assert_eq!(circuit.state(), State::Closed);
    assert_eq!(call(&service, GOOD).await.unwrap(), 200);
}

#[tokio::test(start_paused = true)]
async fn forced_closed_lets_everything_through_until_it_is_reset() {
    let (circuit, service) = build(brittle());
    circuit.force_closed();
    for _ in 0..100 {
        assert_eq!(call(&service, BAD).await.unwrap(), 503);
    }
    assert_eq!(circuit.state(), State::ForcedClosed);
    circuit.reset();
    calls(&service, 1, || BAD).await;
    assert_eq!(circuit.state(), State::Open);
}

#[tokio::test(start_paused = true)]
async fn an_open_circuit_can_be_forced_closed() {
    let (circuit, service) = build(brittle());
    calls(&service, 1, || BAD).await;
    circuit.force_closed();
    assert_eq!(call(&service, GOOD).await.unwrap(), 200);
}

#[tokio::test(start_paused = true)]
async fn a_reset_forgets_what_was_seen() {
    let (circuit, service) = build(half_of_ten().consecutive_failures(10, Duration::ZERO));
    calls(&service, 9, || BAD).await;
    circuit.reset();
    let seen = circuit.snapshot();
    assert_eq!((seen.window_calls, seen.consecutive_failures), (0, 0));
    calls(&service, 9, || BAD).await;
    assert_eq!(circuit.state(), State::Closed);
}

#[tokio::test(start_paused = true)]
async fn a_reset_closes_an_open_circuit_at_once() {
    let (circuit, service) = build(brittle());
    calls(&service, 1, || BAD).await;
    circuit.reset();
    assert_eq!(call(&service, GOOD).await.unwrap(), 200);
}

#[tokio::test(start_paused = true)]
async fn a_call_from_before_it_was_forced_says_nothing_after() {
    let (circuit, service) = build(brittle());
    let late = begin_later(&service);
    circuit.force_closed();
    circuit.reset();
    finish(late, 503);
    assert_eq!(circuit.state(), State::Closed);
}

// ===== Shadow =====

#[tokio::test(start_paused = true)]
async fn shadow_refuses_nothing_but_changes_state_and_counts() {
    let (circuit, service) = build(brittle().shadow(true).probes(1));
    let mut states = circuit.watch();
    for _ in 0..10 {
        assert_eq!(call(&service, BAD).await.unwrap(), 503);
    }
    let seen = circuit.snapshot();
    assert_eq!((seen.state, seen.trips, seen.refused), (State::Open, 1, 9));
    assert!(states.has_changed().unwrap());
    assert_eq!(*states.borrow_and_update(), State::Open);
}

#[tokio::test(start_paused = true)]
async fn shadow_judges_recovery_by_as_many_probes() {
    let (circuit, service) = build(brittle().shadow(true).probes(1));
    wait_for_probes(&circuit, &service).await;
    let probe = begin_later(&service);
    for _ in 0..10 {
        assert_eq!(call(&service, GOOD).await.unwrap(), 200);
    }
    assert_eq!(circuit.state(), State::HalfOpen, "those that would have been refused are no probes");
    finish(probe, 200);
    assert_eq!(circuit.state(), State::Closed);
}

#[tokio::test(start_paused = true)]
async fn shadow_refuses_nothing_even_when_forced_open() {
    let (circuit, service) = build(brittle().shadow(true));
    circuit.force_open();
    assert_eq!(call(&service, GOOD).await.unwrap(), 200);
    assert_eq!(circuit.snapshot().refused, 1);
}

// ===== Watching =====

#[tokio::test(start_paused = true)]
async fn a_watch_sees_every_change() {
    use State::{Closed, ForcedClosed, ForcedOpen, HalfOpen, Open};
    let (circuit, service) = build(brittle().probes(1));
    let mut states = circuit.watch();
    assert_eq!(*states.borrow_and_update(), State::Closed);
    let mut seen = Vec::new();
    let mut look = || {
        assert!(states.has_changed().unwrap());
        seen.push(*states.borrow_and_update());
    };
    calls(&service, 1, || BAD).await;
    look();
    wait_out(&circuit).await;
    let probe = begin_later(&service);
    look();
    finish(probe, 503);
    look();
    wait_out(&circuit).await;
    let probe = begin_later(&service);
    look();
    finish(probe, 200);
    look();
    circuit.force_open();
    look();
    circuit.force_closed();
    look();
    circuit.reset();
    look();
    assert_eq!(seen, [Open, HalfOpen, Open, HalfOpen, Closed, ForcedOpen, ForcedClosed, Closed]);
}

#[tokio::test(start_paused = true)]
async fn a_watch_is_not_woken_by_what_is_no_change() {
    let (circuit, service) = build(brittle());
    let states = circuit.watch();
    calls(&service, 100, || GOOD).await;
    circuit.reset();
    assert!(!states.has_changed().unwrap());
}

#[tokio::test(start_paused = true)]
async fn a_watch_that_starts_late_sees_the_present() {
    let (circuit, service) = build(brittle());
    calls(&service, 1, || BAD).await;
    assert_eq!(*circuit.watch().borrow(), State::Open);
}

#[tokio::test(start_paused = true)]
async fn a_circuit_is_in_one_state_at_a_time() {
    // Mistake 11: whoever exports the state takes it from one value, so the old one cannot stay set.
    let (circuit, service) = build(brittle());
    let states = circuit.watch();
    let agree = |state| {
        assert_eq!((circuit.state(), circuit.snapshot().state, *states.borrow()), (state, state, state));
    };
    agree(State::Closed);
    calls(&service, 1, || BAD).await;
    agree(State::Open);
    wait_out(&circuit).await;
    let probe = begin_later(&service);
    agree(State::HalfOpen);
    finish(probe, 200);
    agree(State::Closed);
}

#[test]
fn after_changes_that_race_a_watch_shows_the_latest() {
    let circuit = Circuit::builder().build().unwrap();
    let states = circuit.watch();
    for _ in 0..200 {
        std::thread::scope(|scope| {
            scope.spawn(|| circuit.force_open());
            scope.spawn(|| circuit.force_closed());
            scope.spawn(|| circuit.reset());
        });
        assert_eq!(*states.borrow(), circuit.state());
    }
}

/// Reacts to a change of state by using the circuit, inside the very call that changed it.
struct Meddler {
    circuit: Circuit,
    seen: Mutex<Vec<State>>,
}

impl Meddler {
    fn react(&self) {
        let snapshot = self.circuit.snapshot();
        self.seen.lock().unwrap().push(snapshot.state);
        if snapshot.state == State::Open {
            self.circuit.force_closed();
        }
    }
}

impl Wake for Meddler {
    fn wake(self: Arc<Self>) {
        self.react();
    }
}

#[tokio::test(start_paused = true)]
async fn a_watcher_that_uses_the_circuit_while_it_is_woken_does_not_deadlock() {
    // Mistake 9.
    let (circuit, service) = build(brittle());
    let mut states = circuit.watch();
    let meddler = Arc::new(Meddler { circuit: circuit.clone(), seen: Mutex::default() });
    let waker = Waker::from(Arc::clone(&meddler));
    let mut changed = Box::pin(states.changed());
    assert!(changed.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
    calls(&service, 1, || BAD).await;
    assert_eq!(*meddler.seen.lock().unwrap(), [State::Open]);
    assert_eq!(circuit.state(), State::ForcedClosed);
    assert_eq!(*circuit.watch().borrow(), State::ForcedClosed);
}

/// A subscriber that hands every event of the circuit breaker to a listener.
struct Events(Arc<Meddler>);

impl tracing::Subscriber for Events {
    fn enabled(&self, metadata: &tracing::Metadata<'_>) -> bool {
        metadata.target() == "steadfast::circuit_breaker"
    }
    fn event(&self, _event: &tracing::Event<'_>) {
        self.0.react();
    }
    fn new_span(&self, _span: &tracing::span::Attributes<'_>) -> tracing::span::Id {
        tracing::span::Id::from_u64(1)
    }
    fn record(&self, _span: &tracing::span::Id, _values: &tracing::span::Record<'_>) {}
    fn record_follows_from(&self, _span: &tracing::span::Id, _follows: &tracing::span::Id) {}
    fn enter(&self, _span: &tracing::span::Id) {}
    fn exit(&self, _span: &tracing::span::Id) {}
}

#[tokio::test(start_paused = true)]
async fn a_listener_to_its_events_may_use_the_circuit() {
    // Mistake 9.
    let (circuit, service) = build(brittle());
    let meddler = Arc::new(Meddler { circuit: circuit.clone(), seen: Mutex::default() });
    // `tracing` asks a lone subscriber only on the thread that first emits an event, and remembers the answer for
    // all; two are asked wherever they are. The first changes make both kinds of event known to it.
    let subscribers =
        [Arc::clone(&meddler), Arc::clone(&meddler)].map(|it| tracing::Dispatch::new(Events(it)));
    let _guard = tracing::dispatcher::set_default(&subscribers[0]);
    circuit.force_open();
    circuit.reset();
    calls(&service, 1, || BAD).await;
    assert_eq!(circuit.state(), State::ForcedClosed);
    circuit.reset();
    // What is emitted while another event is being handled, `tracing` itself leaves out.
    let seen = meddler.seen.lock().unwrap().clone();
    assert_eq!(seen, [State::ForcedOpen, State::Closed, State::Open, State::Closed]);
}

#[tokio::test(start_paused = true)]
async fn a_snapshot_says_what_there_is() {
    let builder = half_of_ten().consecutive_failures(100, Duration::ZERO).slow_calls(SECOND, 1.0);
    let (circuit, service) = build(builder.successes_to_close(2));
    calls(&service, 4, || GOOD).await;
    calls(&service, 2, || Ask::After(2 * SECOND)).await;
    calls(&service, 2, || BAD).await;
    let seen = circuit.snapshot();
    assert_eq!((seen.state, seen.window_calls, seen.consecutive_failures), (State::Closed, 8, 2));
    assert!((seen.failure_rate - 0.25).abs() < 1e-9 && (seen.slow_rate - 0.25).abs() < 1e-9);
    assert_eq!((seen.retry_after, seen.probes_in_flight, seen.refused, seen.trips), (None, 0, 0, 0));

    calls(&service, 20, || BAD).await;
    let seen = circuit.snapshot();
    assert_eq!((seen.state, seen.trips), (State::Open, 1));
    assert_eq!(seen.refused, 20 - 3, "the third of them made it five of ten");
    assert!(seen.retry_after.is_some_and(|wait| wait <= SECOND && wait >= SECOND / 2));

    wait_out(&circuit).await;
    let _probes = [begin(&service, Ask::Hang), begin(&service, Ask::Hang)];
    let seen = circuit.snapshot();
    assert_eq!((seen.state, seen.probes_in_flight, seen.retry_after), (State::HalfOpen, 2, None));
    calls(&service, 1, || BAD).await;
    assert_eq!(circuit.snapshot().trips, 1);
}

#[tokio::test(start_paused = true)]
async fn a_failed_round_of_probes_is_a_trip_too() {
    let (circuit, service) = build(brittle().probes(1));
    wait_for_probes(&circuit, &service).await;
    calls(&service, 1, || BAD).await;
    assert_eq!(circuit.snapshot().trips, 2);
}

// ===== Sharing =====

#[tokio::test(start_paused = true)]
async fn a_layer_that_is_applied_twice_shares_its_circuit() {
    // Mistake 8.
    let circuit = brittle().build().unwrap();
    let layer = CircuitBreakerLayer::new(circuit.clone());
    let (one, two) = (layer.layer(upstream()), layer.clone().layer(upstream()));
    calls(&one, 1, || BAD).await;
    assert!(call(&two, GOOD).await.unwrap_err().is_circuit_open());
}

#[tokio::test(start_paused = true)]
async fn clones_of_a_service_share_its_circuit() {
    // Mistake 8: a router clones the service for every request.
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

// ===== Calls that nobody waits for =====

#[tokio::test(start_paused = true)]
async fn a_black_hole_of_dropped_calls_trips() {
    // Mistake 6.
    let (circuit, service) = build(Circuit::builder().abandoned_after(SECOND));
    for _ in 0..10 {
        let outer = tokio::time::timeout(2 * SECOND, call(&service, Ask::Hang)).await;
        assert!(outer.is_err());
    }
    assert_eq!(circuit.state(), State::Open);
}

#[tokio::test(start_paused = true)]
async fn a_call_that_is_dropped_early_says_nothing() {
    let (circuit, service) = build(brittle().abandoned_after(SECOND));
    for _ in 0..100 {
        let outer = tokio::time::timeout(999 * MS, call(&service, Ask::Hang)).await;
        assert!(outer.is_err());
    }
    assert_eq!(circuit.state(), State::Closed);
    assert_eq!(circuit.snapshot().consecutive_failures, 0);
}

#[tokio::test(start_paused = true)]
async fn a_call_that_is_dropped_when_it_has_run_that_long_counts() {
    // Mistake 6.
    let (circuit, service) = build(brittle().abandoned_after(SECOND));
    let hung = begin(&service, Ask::Hang);
    advance(SECOND).await;
    drop(hung);
    assert_eq!(circuit.state(), State::Open);
}

#[tokio::test(start_paused = true)]
async fn a_call_that_was_never_sent_off_is_not_a_hang() {
    let (circuit, service) = build(brittle().abandoned_after(Duration::ZERO));
    let never_polled = service.clone().call(Ask::Hang);
    advance(10 * SECOND).await;
    drop(never_polled);
    assert_eq!(circuit.state(), State::Closed);
}

#[tokio::test(start_paused = true)]
async fn a_hang_of_an_older_generation_says_nothing() {
    // Mistakes 5 and 6.
    let (circuit, service) = build(brittle());
    let hung = begin(&service, Ask::Hang);
    circuit.reset();
    advance(10 * SECOND).await;
    drop(hung);
    assert_eq!(circuit.state(), State::Closed);
}

#[tokio::test(start_paused = true)]
async fn a_call_that_has_ended_counts_once() {
    let (circuit, service) = build(Circuit::builder().consecutive_failures(100, Duration::ZERO));
    let (answer, mut under_way) = begin_later(&service);
    advance(10 * SECOND).await;
    answer.send(503).unwrap();
    let response = assert_ready!(under_way.poll());
    drop(under_way);
    drop(response);
    assert_eq!(circuit.snapshot().consecutive_failures, 1);
}

#[tokio::test(start_paused = true)]
async fn a_panic_of_the_service_below_frees_a_probe() {
    let circuit = brittle().probes(1).build().unwrap();
    let service = CircuitBreakerLayer::new(circuit.clone()).layer(tower::service_fn(async |ask: Ask| {
        assert!(!matches!(ask, Ask::Reset), "a bug of someone else's");
        answer(ask).await
    }));
    let _ = service.clone().oneshot(BAD).await;
    wait_out(&circuit).await;
    let panicked = tokio::spawn(service.clone().oneshot(Ask::Reset)).await;
    assert!(panicked.unwrap_err().is_panic());
    assert_eq!(service.clone().oneshot(GOOD).await.unwrap().status(), 200);
    assert_eq!(circuit.state(), State::Closed);
}

// ===== The body =====

/// Trips on the second failure.
fn two_strikes() -> CircuitBuilder {
    Circuit::builder().consecutive_failures(2, Duration::ZERO)
}

#[tokio::test(start_paused = true)]
async fn a_body_that_breaks_after_its_head_adds_one_failure() {
    let (circuit, service) = build(two_strikes());
    let response = service.clone().oneshot(Ask::Pieces(vec![Ok("half"), Err(())])).await.unwrap();
    assert_eq!(circuit.snapshot().consecutive_failures, 0);
    assert!(response.into_body().collect().await.is_err());
    assert_eq!((circuit.state(), circuit.snapshot().consecutive_failures), (State::Closed, 1));
    let response = service.clone().oneshot(Ask::Pieces(vec![Err(())])).await.unwrap();
    assert!(response.into_body().collect().await.is_err());
    assert_eq!(circuit.snapshot().consecutive_failures, 1, "its head was a success, and ended the run");
}

#[tokio::test(start_paused = true)]
async fn bodies_that_break_trip() {
    let (circuit, service) = build(half_of_ten());
    for _ in 0..5 {
        let response = service.clone().oneshot(Ask::Pieces(vec![Ok("half"), Err(())])).await.unwrap();
        assert!(response.into_body().collect().await.is_err());
    }
    assert_eq!(circuit.state(), State::Open, "five heads and five failures");
}

#[tokio::test(start_paused = true)]
async fn a_body_that_goes_on_being_read_after_it_broke_adds_no_second_failure() {
    let (circuit, service) = build(two_strikes());
    let response = service.clone().oneshot(Ask::Pieces(vec![Err(()), Err(()), Err(())])).await.unwrap();
    let mut body = response.into_body();
    for _ in 0..3 {
        assert!(body.frame().await.unwrap().is_err());
    }
    assert_eq!(circuit.snapshot().consecutive_failures, 1);
}

#[tokio::test(start_paused = true)]
async fn a_body_that_breaks_in_a_later_generation_says_nothing() {
    // Mistake 5.
    let (circuit, service) = build(brittle());
    let response = service.clone().oneshot(Ask::Pieces(vec![Ok("half"), Err(())])).await.unwrap();
    circuit.reset();
    assert!(response.into_body().collect().await.is_err());
    assert_eq!(circuit.state(), State::Closed);
}

#[tokio::test(start_paused = true)]
async fn a_body_that_is_merely_dropped_says_nothing() {
    let (circuit, service) = build(brittle());
    let response = service.clone().oneshot(Ask::Pieces(vec![Ok("half"), Err(())])).await.unwrap();
    let mut body = response.into_body();
    assert!(body.frame().await.unwrap().is_ok());
    advance(100 * SECOND).await;
    drop(body);
    assert_eq!(circuit.state(), State::Closed);
}

#[tokio::test(start_paused = true)]
async fn a_body_that_arrives_whole_says_nothing_more() {
    let (circuit, service) = build(half_of_ten());
    let response = service.clone().oneshot(Ask::Pieces(vec![Ok("the "), Ok("whole")])).await.unwrap();
    assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), "the whole");
    assert_eq!(circuit.snapshot().window_calls, 1);
}

#[tokio::test(start_paused = true)]
async fn a_probe_has_had_its_say_with_the_head() {
    let (circuit, service) = build(brittle());
    wait_for_probes(&circuit, &service).await;
    let response = service.clone().oneshot(Ask::Pieces(vec![Ok("half"), Err(())])).await.unwrap();
    assert_eq!(circuit.state(), State::Closed);
    assert!(response.into_body().collect().await.is_err());
    assert_eq!(circuit.state(), State::Closed);
}

// ===== In the pipeline =====

#[tokio::test(start_paused = true)]
async fn an_attempt_timeout_below_counts() {
    let circuit = brittle().build().unwrap();
    let service = ServiceBuilder::new()
        .layer(CircuitBreakerLayer::new(circuit.clone()))
        .layer(TimeoutLayer::attempt(100 * MS))
        .service(upstream());
    assert!(service.oneshot(Ask::Hang).await.unwrap_err().is_timeout());
    assert_eq!(circuit.state(), State::Open);
}

/// The breaker, and below it an attempt timeout that is longer than the calls' deadlines.
fn with_deadlines(
    circuit: &Circuit,
) -> impl Service<Call<Ask>, Response = impl Send, Error = Error<io::Error>, Future = impl Send> + Clone {
    ServiceBuilder::new()
        .layer(CircuitBreakerLayer::new(circuit.clone()))
        .layer(TimeoutLayer::attempt(100 * SECOND))
        .map_request(Call::into_inner)
        .service(upstream())
}

#[tokio::test(start_paused = true)]
async fn an_attempt_cut_early_by_the_deadline_counts_like_one_that_was_dropped() {
    let circuit = brittle().abandoned_after(SECOND).build().unwrap();
    let service = with_deadlines(&circuit);
    let call = Call::new(Ask::Hang).deadline(Instant::now() + SECOND / 2);
    assert!(service.oneshot(call).await.err().unwrap().is_total_timeout());
    assert_eq!(circuit.state(), State::Closed);
}

#[tokio::test(start_paused = true)]
async fn an_attempt_cut_late_by_the_deadline_counts_like_one_that_was_dropped() {
    // Mistake 6.
    let circuit = brittle().abandoned_after(SECOND).build().unwrap();
    let service = with_deadlines(&circuit);
    let call = Call::new(Ask::Hang).deadline(Instant::now() + 2 * SECOND);
    assert!(service.oneshot(call).await.err().unwrap().is_total_timeout());
    assert_eq!(circuit.state(), State::Open);
}

#[tokio::test(start_paused = true)]
async fn a_probe_cut_early_by_the_deadline_frees_its_place() {
    // Mistake 3.
    let circuit = brittle().probes(1).abandoned_after(SECOND).build().unwrap();
    let service = with_deadlines(&circuit);
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
    // Mistake 6.
    let circuit = Circuit::builder().build().unwrap();
    let service = ServiceBuilder::new()
        .layer(TimeoutLayer::total(2 * SECOND))
        .layer(CircuitBreakerLayer::new(circuit.clone()))
        .map_request(Call::into_inner)
        .service(upstream());
    for _ in 0..10 {
        assert!(service.clone().oneshot(Call::new(Ask::Hang)).await.unwrap_err().is_total_timeout());
    }
    assert_eq!(circuit.state(), State::Open);
}

#[tokio::test(start_paused = true)]
async fn a_full_bulkhead_below_does_not_trip() {
    let circuit = brittle().build().unwrap();
    let compartment = Compartment::builder().max_concurrent(1).max_waiting(0).build().unwrap();
    let service = ServiceBuilder::new()
        .layer(CircuitBreakerLayer::new(circuit.clone()))
        .layer(BulkheadLayer::new(compartment))
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
    let compartment = Compartment::builder().max_concurrent(1).max_wait(100 * SECOND).build().unwrap();
    let service = ServiceBuilder::new()
        .layer(CircuitBreakerLayer::new(circuit.clone()))
        .layer(BulkheadLayer::new(compartment))
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
    let compartment = Compartment::builder().max_concurrent(1).max_wait(100 * SECOND).build().unwrap();
    let service = ServiceBuilder::new()
        .layer(CircuitBreakerLayer::new(circuit.clone()))
        .layer(BulkheadLayer::new(compartment))
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
    let error = service.oneshot(Ask::Pieces(vec![Ok("half"), Err(())])).await.unwrap_err();
    assert!(matches!(error, Error::Body(_)));
    assert_eq!(circuit.state(), State::Open);
}

/// A request that may be sent again, and gets the same status each time.
#[derive(Debug, Clone, Copy)]
struct Again(u16);

impl HasOptions for Again {
    fn options(&self) -> Options {
        Options::new()
    }
}

impl Resendable for Again {
    fn resend(&self) -> Resend {
        Resend::Always
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
    let circuit = Circuit::builder().consecutive_failures(3, Duration::ZERO).build().unwrap();
    let service = ServiceBuilder::new()
        .layer(retries(2))
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
        .layer(retries(10))
        .layer(CircuitBreakerLayer::new(circuit.clone()))
        .map_request(|Again(status)| Ask::Status(status))
        .service(upstream());
    assert_eq!(service.oneshot(Again(503)).await.unwrap().status(), 503);
    assert_eq!((circuit.state(), circuit.snapshot().refused), (State::Open, 0));
}

#[tokio::test(start_paused = true)]
async fn a_response_thrown_away_by_a_retry_adds_no_failure_when_its_leftovers_break() {
    let circuit = Circuit::builder().consecutive_failures(100, Duration::ZERO).build().unwrap();
    let service = ServiceBuilder::new()
        .layer(retries(1))
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
    let (inner, mut upstream) = mock::pair::<&'static str, &'static str>();
    let classify = |_: Result<&&'static str, &Error<steadfast::BoxError>>| Outcome::Success;
    let circuit = Circuit::builder().build().unwrap();
    let service = ServiceBuilder::new()
        .layer(CircuitBreakerLayer::new(circuit).classifier(classify).plain())
        .map_err(Error::Upstream)
        .service(inner);
    let mut service = tower_test::mock::Spawn::new(service);
    upstream.allow(0);
    assert_pending!(service.poll_ready());
    upstream.allow(1);
    assert_ready!(service.poll_ready()).unwrap();
    // The mock panics if it is called without having been polled ready.
    let mut call = task::spawn(service.call("hello"));
    assert_pending!(call.poll());
    let (request, respond) = upstream.next_request().await.unwrap();
    assert_eq!(request, "hello");
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
    // Mistake 10.
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
    // Mistake 4.
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
    // Mistake 12.
    let refused = |builder: CircuitBuilder| {
        let error = builder.build().unwrap_err();
        (error.field(), error.value().to_owned(), error.allowed().to_owned())
    };
    let expected = |field, value: &str, allowed: &str| (field, value.to_owned(), allowed.to_owned());
    let new = Circuit::builder;
    assert_eq!(refused(new().probes(0)), expected("circuit_breaker.probes", "0", "between 1 and 1000"));
    assert_eq!(
        refused(new().successes_to_close(0)),
        expected("circuit_breaker.successes_to_close", "0", "between 1 and 3, which is the number of probes")
    );
    assert_eq!(
        refused(new().open_for(Duration::ZERO)),
        expected("circuit_breaker.open_for", "0ns", "between 1ms and 4s, which is max_open_for")
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
    // Mistake 12.
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
