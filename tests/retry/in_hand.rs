//! The response in hand: the caller gets it if the retry after it is refused locally.

use std::pin::Pin;
use std::task::Context;

use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};
use http_body_util::combinators::BoxBody;
use steadfast::ErrorKind;
use steadfast::buffer_body::BufferBodyLayer;
use steadfast::circuit_breaker::State;
use tower::load_shed::error::Overloaded;

use super::*;

const FULL: ErrorKind = ErrorKind::BulkheadFull { max_concurrent: 1 };

/// Gives the answers in turn, and then refuses every request.
fn refusing_after(
    answers: impl IntoIterator<Item = support::Answer, IntoIter: ExactSizeIterator>,
) -> impl Service<Request<()>, Response = Response<TestBody>, Error = Error<io::Error>> + Clone {
    let answers = answers.into_iter();
    let count = answers.len();
    let upstream = Upstream::answering(answers);
    tower::service_fn(move |request| {
        let upstream = upstream.clone();
        async move {
            if upstream.count() == count {
                return Err(Error::new(FULL));
            }
            upstream.oneshot(request).await
        }
    })
}

/// Makes a call whose first attempt is answered by a 503 with this body, and whose retry is refused.
async fn refused_with(body: &Script) -> Result<Response<HeldBody<TestBody>>, Error<io::Error>> {
    send(&retry().layer(refusing_after([status(503).body(body)])), get()).await
}

fn made_and_stopped<B>(response: &Response<B>) -> (u32, Option<StopReason>) {
    let attempts = attempts(response).unwrap();
    (attempts.made, attempts.stop_reason)
}

async fn read<B: Body<Error: std::fmt::Debug>>(response: Response<B>) -> Bytes {
    response.into_body().collect().await.unwrap().to_bytes()
}

/// Asserts that the caller gets the refusal, with the number of attempts before it.
fn assert_refused<R: std::fmt::Debug>(result: Result<R, Error<io::Error>>, attempts: u32) {
    let error = result.unwrap_err();
    assert!(error.is_bulkhead_full(), "{error:?}");
    let found = (error.attempts(), error.maybe_sent(), error.stop_reason());
    assert_eq!(found, (attempts, true, Some(StopReason::BulkheadFull)));
}

// ===== The refusals =====

#[tokio::test(start_paused = true)]
async fn a_full_bulkhead_that_refuses_the_retry_leaves_the_503_and_costs_no_token() {
    let bulkhead = Bulkhead::builder().max_concurrent(1).max_waiting(0).build().unwrap();
    let budget = RetryBudget::builder().per_failure(0.0).build().unwrap();
    let body = Script::pieces(&["down ", "for maintenance"]);
    let answer = status(503).header("retry-after", "1").body(&body);
    let service = ServiceBuilder::new()
        .layer(retry().budget(budget.clone()))
        .layer(BulkheadLayer::new(bulkhead.clone()))
        .service(Upstream::answering([answer, hang()]));
    let mut call = tokio_test::task::spawn(send(&service, get()));
    assert!(call.poll().is_pending());
    assert_eq!(bulkhead.in_flight(), 0, "the permit returns before the wait");
    let mut other = tokio_test::task::spawn(send(&service, get()));
    assert!(other.poll().is_pending());
    let response = call.await.unwrap();
    assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(response.headers()["retry-after"], "1");
    assert_eq!(made_and_stopped(&response), (1, Some(StopReason::BulkheadFull)));
    assert_eq!(read(response).await, "down for maintenance");
    assert_eq!((bulkhead.refused(), bulkhead.in_flight()), (1, 1));
    approximately(budget.tokens(), 2.0);
}

#[tokio::test(start_paused = true)]
async fn an_open_circuit_that_refuses_the_retry_leaves_the_503() {
    let circuit = CircuitBreaker::builder().consecutive_failures(1, Duration::ZERO).build().unwrap();
    let body = Script::pieces(&["down"]);
    let service = ServiceBuilder::new()
        .layer(retry())
        .layer(CircuitBreakerLayer::new(circuit.clone()))
        .service(Upstream::answering([status(503).body(&body)]));
    let response = send(&service, get()).await.unwrap();
    assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(made_and_stopped(&response), (1, Some(StopReason::CircuitOpen)));
    assert_eq!(read(response).await, "down");
    assert_eq!(circuit.snapshot().refused, 1);
}

#[tokio::test(start_paused = true)]
async fn a_half_open_circuit_that_refuses_the_retry_leaves_the_503() {
    let circuit = CircuitBreaker::builder()
        .consecutive_failures(1, Duration::ZERO)
        .open_for(SECOND)
        .probes(1)
        .build()
        .unwrap();
    let answer = status(503).header("retry-after", "2").body(&Script::pieces(&["down"]));
    let service = ServiceBuilder::new()
        .layer(retry().advised_by(circuit.clone()))
        .layer(CircuitBreakerLayer::new(circuit.clone()))
        .service(Upstream::answering([answer, hang()]));
    let mut call = tokio_test::task::spawn(send(&service, get()));
    assert!(call.poll().is_pending());
    tokio::time::advance(2 * SECOND).await;
    let mut probe = tokio_test::task::spawn(send(&service, get()));
    assert!(probe.poll().is_pending());
    assert_eq!(circuit.state(), State::HalfOpen);
    let response = call.await.unwrap();
    assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(made_and_stopped(&response), (1, Some(StopReason::CircuitOpen)));
    assert_eq!(read(response).await, "down");
}

#[tokio::test(start_paused = true)]
async fn a_load_shedder_that_refuses_to_become_ready_leaves_the_503() {
    let (mock, mut handle) = mock::pair();
    let service = retry().layer(mock.map_err(Error::<BoxError>::from_boxed));
    let mut call = tokio_test::task::spawn(service.oneshot(get()));
    assert!(call.poll().is_pending());
    let answer = Response::builder().status(503).body(Script::pieces(&["down"]).start()).unwrap();
    handle.next_request().await.unwrap().1.send_response(answer);
    handle.send_error(Overloaded::new());
    let response = call.await.unwrap();
    assert_eq!(made_and_stopped(&response), (1, Some(StopReason::Overloaded)));
    assert_eq!(read(response).await, "down");
}

#[tokio::test(start_paused = true)]
async fn the_deadline_is_no_refusal() {
    let service = ServiceBuilder::new()
        .layer(DeadlineLayer::new(SECOND))
        .layer(retry())
        .service(Upstream::answering([status(503), hang()]));
    let error = send(&service, get()).await.unwrap_err();
    assert!(error.is_total_timeout());
    assert_eq!(error.attempts(), 2);
}

// ===== The latest result counts =====

#[tokio::test(start_paused = true)]
async fn the_latest_response_is_the_one_in_hand() {
    let answer = |number: &str| status(503).header("x-attempt", number);
    let service = retry().layer(refusing_after([answer("1"), answer("2")]));
    let response = send(&service, get()).await.unwrap();
    assert_eq!(response.headers()["x-attempt"], "2");
    assert_eq!(made_and_stopped(&response), (2, Some(StopReason::BulkheadFull)));
}

#[tokio::test(start_paused = true)]
async fn an_error_after_a_response_leaves_nothing_in_hand() {
    let service = retry().layer(refusing_after([status(503), fault(ConnectionReset)]));
    assert_refused(send(&service, get()).await, 2);
}

#[tokio::test(start_paused = true)]
async fn a_response_in_hand_is_freed_when_the_retry_ends() {
    let in_hand = Arc::new(());
    let answers = Mutex::new(vec![Err(io::Error::from(ConnectionReset)), Ok(Arc::clone(&in_hand))]);
    let service = ServiceBuilder::new()
        .layer(
            retry().classifier(classify::from_fn(|_: Result<&Arc<()>, &_>| Outcome::transient())).non_http(),
        )
        .map_err(Error::from_upstream)
        .service(tower::service_fn({
            let answers = Arc::new(answers);
            move |_: Request<()>| {
                let answer = answers.lock().unwrap().pop().unwrap();
                async move {
                    tokio::time::sleep(SECOND).await;
                    answer
                }
            }
        }));
    let mut call = tokio_test::task::spawn(send(&service, get()));
    let mut after = async |time| {
        tokio::time::advance(time).await;
        assert!(call.poll().is_pending());
        Arc::strong_count(&in_hand)
    };
    assert_eq!(after(Duration::ZERO).await, 2);
    assert_eq!(after(SECOND).await, 2, "during the wait");
    assert_eq!(after(100 * MS).await, 2, "during the retry");
    assert_eq!(after(SECOND).await, 1, "after the retry");
}

#[tokio::test(start_paused = true)]
async fn a_response_that_is_not_http_is_kept_whole() {
    let calls = Arc::new(AtomicU32::new(0));
    let service =
        ServiceBuilder::new()
            .layer(
                retry()
                    .classifier(classify::from_fn(|_: Result<&String, &_>| Outcome::transient()))
                    .non_http(),
            )
            .service_fn(move |_: Request<()>| {
                let is_first = calls.fetch_add(1, Ordering::Relaxed) == 0;
                async move {
                    if is_first { Ok("busy".repeat(100_000)) } else { Err(Error::<io::Error>::new(FULL)) }
                }
            });
    assert_eq!(send(&service, get()).await.unwrap().len(), 400_000);
}

// ===== The body =====

#[tokio::test(start_paused = true)]
async fn a_body_of_64_kib_is_kept_and_a_longer_one_is_not() {
    let frames = |bytes: usize| {
        let data = |length| Step::Data(vec![7; length].into());
        let steps: Vec<_> = vec![data(1000); bytes / 1000].into_iter().chain([data(bytes % 1000)]).collect();
        steps
    };
    for body in [Script::of(&frames(65_536)), Script::of(&frames(65_536)).sized()] {
        let body = body.then(Step::Data(Bytes::new())).then(Step::Trailers(trailers()));
        let response = refused_with(&body).await.unwrap();
        assert_eq!(response.body().size_hint().exact(), Some(65_536));
        assert_eq!(read(response).await, vec![7; 65_536]);
        assert_eq!(body.dropped(), 1);
    }
    for body in [Script::of(&frames(65_537)), Script::of(&frames(65_537)).sized()] {
        assert_refused(refused_with(&body).await, 1);
        assert_eq!(body.dropped(), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn a_body_that_is_slower_than_the_wait_or_breaks_is_not_kept() {
    let in_time = Script::pieces(&["down "]).then(Step::Wait(99 * MS)).then(Step::Data("again".into()));
    assert_eq!(read(refused_with(&in_time).await.unwrap()).await, "down again");
    let late = Script::pieces(&["down "]).then(Step::Wait(102 * MS)).then(Step::Data("again".into()));
    let stalled = Script::pieces(&["down"]).then(Step::Stall);
    let broken = Script::pieces(&["down"]).then(Step::Fail);
    for body in [late, stalled, broken] {
        assert_refused(refused_with(&body).await, 1);
        assert_eq!(body.dropped(), 1);
    }
}

fn trailers() -> HeaderMap {
    HeaderMap::from_iter([("checksum".parse().unwrap(), "42".parse().unwrap())])
}

#[tokio::test(start_paused = true)]
async fn trailers_are_kept() {
    let body = Script::pieces(&["down"]).then(Step::Trailers(trailers()));
    let body = refused_with(&body).await.unwrap().into_body().collect().await.unwrap();
    assert_eq!(body.trailers(), Some(&trailers()));
    assert_eq!(body.to_bytes(), "down");
}

/// The body of a response to a HEAD request: it states the length that a GET would have, and has no data.
struct Absent;

impl Body for Absent {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        _cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready(None)
    }

    fn is_end_stream(&self) -> bool {
        true
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(42)
    }
}

#[tokio::test(start_paused = true)]
async fn a_response_without_a_body_is_kept_with_the_length_that_it_states() {
    type MakeBody = fn() -> BoxBody<Bytes, Infallible>;
    let absent: MakeBody = || BoxBody::new(Absent);
    let empty: MakeBody = || BoxBody::new(Full::default());
    for (body, stated) in [(absent, 42), (empty, 0)] {
        let calls = Arc::new(AtomicU32::new(0));
        let service = ServiceBuilder::new().layer(retry()).service_fn(move |_: Request<()>| {
            let is_first = calls.fetch_add(1, Ordering::Relaxed) == 0;
            let response = Response::builder().status(503).body(body()).unwrap();
            async move { if is_first { Ok(response) } else { Err(Error::<io::Error>::new(FULL)) } }
        });
        let response = send(&service, get()).await.unwrap();
        let body = response.body();
        assert_eq!((body.is_end_stream(), body.size_hint().exact()), (true, Some(stated)));
        assert!(read(response).await.is_empty());
    }
}

#[tokio::test(start_paused = true)]
async fn a_response_whose_body_broke_off_is_kept_and_fails_where_it_broke() {
    let body = Script::pieces(&["down for "]).then(Step::Fail).stating(20);
    let answer = status(503).header("x-attempt", "1").body(&body);
    let service =
        ServiceBuilder::new().layer(retry()).layer(BufferBodyLayer::new()).service(refusing_after([answer]));
    let response = send(&service, get()).await.unwrap();
    assert_eq!(response.headers()["x-attempt"], "1");
    assert_eq!(made_and_stopped(&response), (1, Some(StopReason::BulkheadFull)));
    assert_eq!(response.body().size_hint().exact(), Some(20));
    let mut body = response.into_body();
    assert_eq!(body.frame().await.unwrap().unwrap().into_data().unwrap(), "down for ");
    body.frame().await.unwrap().unwrap_err();
    assert!(body.frame().await.is_none() && body.is_end_stream());
}
