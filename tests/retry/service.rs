//! The retry as a tower service: readiness, promises, services without HTTP, and composition.

use super::*;

// ===== Readiness =====

type MockUpstream = mock::Mock<Request<()>, Response<TestBody>>;
type MockHandle = mock::Handle<Request<()>, Response<TestBody>>;

fn mock_error(error: BoxError) -> Error<io::Error> {
    Error::from_upstream(io::Error::other(error))
}

/// A mock behind `layer`. The mock panics if it is called before it was polled ready.
fn mocked<L>(
    layer: L,
) -> (
    impl Service<Request<()>, Response = Response<HeldBody<TestBody>>, Error = Error<io::Error>> + Clone,
    MockHandle,
)
where
    L: Layer<tower::util::MapErr<MockUpstream, fn(BoxError) -> Error<io::Error>>>,
    L::Service:
        Service<Request<()>, Response = Response<HeldBody<TestBody>>, Error = Error<io::Error>> + Clone,
{
    let (mock, handle) = mock::pair();
    let mock = mock.map_err(mock_error as fn(_) -> _);
    (layer.layer(mock), handle)
}

fn answer(code: u16) -> Response<TestBody> {
    Response::builder().status(code).body(Script::of(&[]).sized().start()).unwrap()
}

#[tokio::test(start_paused = true)]
async fn the_service_that_was_polled_ready_is_the_one_called() {
    // Known mistake 24: a clone is called instead of the ready service. A clone of the mock panics.
    let (mut service, mut handle) = mocked(retry());
    handle.allow(1);
    let ready = std::future::poll_fn(|cx| service.poll_ready(cx)).await;
    ready.unwrap();
    let mut call = tokio_test::task::spawn(service.call(get()));
    assert!(call.poll().is_pending());
    handle.next_request().await.unwrap().1.send_response(answer(200));
    assert_eq!(call.await.unwrap().status(), 200);
}

#[tokio::test(start_paused = true)]
async fn each_call_waits_until_its_own_service_is_ready() {
    let (mut service, mut handle) = mocked(retry());
    handle.allow(1);
    let _first = Box::pin(service.call(get()));
    let mut second = tokio_test::task::spawn(service.call(get()));
    assert!(second.poll().is_pending());
    assert!(handle.next_request().await.is_some() && handle.poll_request().is_pending());
    handle.allow(1);
    assert!(second.is_woken() && second.poll().is_pending());
    handle.next_request().await.unwrap().1.send_response(answer(200));
    assert_eq!(second.await.unwrap().status(), 200);
}

#[tokio::test(start_paused = true)]
async fn the_deadline_bounds_the_wait_for_a_service_that_never_becomes_ready() {
    let (service, mut handle) = mocked(retry());
    handle.allow(0);
    let mut request = get();
    request.extensions_mut().insert(CallOptions::new().deadline(Instant::now() + SECOND));
    let began = Instant::now();
    let error = service.oneshot(request).await.unwrap_err();
    assert!(error.is_total_timeout(), "{error:?}");
    assert_eq!((error.attempts(), error.maybe_sent(), began.elapsed()), (0, false, SECOND));
}

#[tokio::test(start_paused = true)]
async fn the_service_is_polled_ready_again_before_each_further_attempt() {
    // Known mistake 24.
    let (service, mut handle) = mocked(retry());
    handle.allow(1);
    let mut call = tokio_test::task::spawn(service.oneshot(get()));
    assert!(call.poll().is_pending());
    for code in [503, 503, 503] {
        handle.next_request().await.unwrap().1.send_response(answer(code));
        assert!(call.poll().is_pending());
        tokio::time::advance(SECOND).await;
        assert!(call.poll().is_pending());
        assert!(handle.poll_request().is_pending(), "sent to a service that is not ready");
        handle.allow(1);
        assert!(call.is_woken());
        assert!(call.poll().is_pending());
    }
    handle.next_request().await.unwrap().1.send_response(answer(200));
    assert_eq!(call.await.unwrap().status(), 200);
}

#[tokio::test(start_paused = true)]
async fn a_service_that_fails_to_become_ready_ends_the_call() {
    let budget = RetryBudget::builder().per_failure(0.0).build().unwrap();
    let (service, mut handle) = mocked(retry().budget(budget.clone()));
    let mut call = tokio_test::task::spawn(service.oneshot(get()));
    assert!(call.poll().is_pending());
    handle.next_request().await.unwrap().1.send_response(answer(503));
    handle.send_error("closed");
    let error = call.await.unwrap_err();
    assert_eq!(error.inner().unwrap().to_string(), "closed");
    approximately(budget.tokens(), 2.0);
    assert_eq!(budget.retries(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_call_that_is_dropped_while_the_service_is_not_ready_gives_its_token_back() {
    // Promise: dropping any future leaks nothing.
    let budget = RetryBudget::builder().per_failure(0.0).build().unwrap();
    let (service, mut handle) = mocked(retry().budget(budget.clone()));
    handle.allow(1);
    let mut call = tokio_test::task::spawn(service.oneshot(get()));
    assert!(call.poll().is_pending());
    handle.next_request().await.unwrap().1.send_response(answer(503));
    assert!(call.poll().is_pending());
    tokio::time::advance(SECOND).await;
    assert!(call.poll().is_pending());
    approximately(budget.tokens(), 1.0);
    drop(call);
    approximately(budget.tokens(), 2.0);
}

#[tokio::test(start_paused = true)]
async fn the_retry_is_ready_at_once_whatever_the_service_below() {
    let (service, mut handle) = mocked(retry());
    handle.allow(0);
    let mut service = tokio_test::task::spawn(service);
    let poll = service.enter(|cx, mut service| service.poll_ready(cx).map(|ready| ready.is_ok()));
    assert_eq!(poll, Poll::Ready(true));
    handle.send_error("closed");
    let error = service.enter(|_, mut service| service.call(get())).await.unwrap_err();
    assert_eq!((error.attempts(), error.maybe_sent()), (0, false), "{error:?}");
}

// ===== Promises =====

#[tokio::test(start_paused = true)]
async fn a_call_that_is_dropped_drops_what_it_was_doing() {
    // Promise: dropping any future leaks nothing. The first call is dropped during an attempt, the second during a
    // wait in which a response is read.
    let stalling = Script::of(&[Step::Stall]);
    let bulkhead = Bulkhead::builder().max_concurrent(1).max_waiting(0).build().unwrap();
    let service = ServiceBuilder::new()
        .layer(retry())
        .layer(BulkheadLayer::new(bulkhead.clone()))
        .service(Upstream::answering([hang(), status(503).body(&stalling)]));
    for _ in 0..2 {
        let mut call = tokio_test::task::spawn(send(&service, get()));
        assert!(call.poll().is_pending());
        drop(call);
        assert_eq!(bulkhead.in_flight(), 0);
    }
    assert_eq!(stalling.dropped(), 1);
}

#[tokio::test(start_paused = true)]
async fn nothing_is_spawned() {
    // Promise: no background task.
    let tasks = || tokio::runtime::Handle::current().metrics().num_alive_tasks();
    let before = tasks();
    let body = Script::of(&[Step::Stall]);
    let service = ServiceBuilder::new()
        .layer(DeadlineLayer::new(10 * SECOND))
        .layer(retry())
        .layer(TimeoutLayer::new(SECOND))
        .service(Upstream::answering([status(503).body(&body), hang(), status(200)]));
    let mut call = tokio_test::task::spawn(send(&service, get()));
    for _ in 0..2 {
        assert!(call.poll().is_pending());
        assert_eq!(tasks(), before);
        tokio::time::advance(100 * MS).await;
    }
    call.await.unwrap();
    assert_eq!(tasks(), before);
}

#[tokio::test(start_paused = true)]
async fn a_future_and_its_service_can_go_to_another_thread() {
    fn is_send<T: Send>(value: T) -> T {
        value
    }
    let service = is_send(retry().layer(Upstream::answering([status(200)])));
    assert_eq!(is_send(send(&service, get())).await.unwrap().status(), 200);
}

// ===== Not HTTP =====

#[derive(Debug, PartialEq)]
enum Answer {
    Found,
    Busy,
}

#[derive(Clone)]
struct Lookup;

impl HasCallOptions for Lookup {}

impl RetryableRequest for Lookup {
    fn retry_safety(&self) -> RetrySafety {
        RetrySafety::Idempotent
    }

    fn try_clone(&self) -> Option<Self> {
        Some(self.clone())
    }
}

fn judge(result: Result<&Answer, &ErrorInfo>) -> Outcome {
    match result {
        Ok(Answer::Found) => Outcome::Success,
        Ok(Answer::Busy) | Err(_) => Outcome::transient(),
    }
}

#[tokio::test(start_paused = true)]
async fn any_service_is_retried_by_a_classifier_of_its_own() {
    for (busy, expected, took) in [(2, Answer::Found, 300), (9, Answer::Busy, 700)] {
        let left = Arc::new(AtomicU32::new(busy));
        let service = ServiceBuilder::new()
            .layer(retry().classifier(classify::from_fn(judge)).non_http())
            .map_err(Error::from_upstream)
            .service_fn(move |_: Lookup| {
                let busy =
                    left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1));
                async move { Ok::<_, io::Error>(if busy.is_ok() { Answer::Busy } else { Answer::Found }) }
            });
        let began = Instant::now();
        assert_eq!(send(&service, Lookup).await.unwrap(), expected);
        assert_eq!(began.elapsed(), took * MS);
    }
}

#[tokio::test(start_paused = true)]
async fn a_non_http_call_has_options_and_a_deadline_like_any_other() {
    let service = ServiceBuilder::new()
        .layer(DeadlineLayer::new(SECOND).non_http())
        .layer(retry().classifier(classify::from_fn(judge)).non_http())
        .layer(TimeoutLayer::new(100 * MS))
        .map_err(Error::from_upstream)
        .service_fn(async |_: Call<Lookup>| {
            tokio::time::sleep(SECOND).await;
            Ok::<_, io::Error>(Answer::Busy)
        });
    // Attempts of 100 ms begin at 0, 200 and 500 ms. The next attempt, at 1,000 ms, would come too late.
    let began = Instant::now();
    let error = send(&service, Call::new(Lookup)).await.unwrap_err();
    assert!(error.is_timeout() && !error.is_total_timeout());
    assert_eq!(began.elapsed(), 600 * MS);

    let began = Instant::now();
    let call = Call::new(Lookup).retry_safety(RetrySafety::Never);
    send(&service, call).await.unwrap_err();
    assert_eq!(began.elapsed(), 100 * MS);
}

// ===== Composition =====

#[tokio::test(start_paused = true)]
async fn the_layers_compose_without_naming_a_type() {
    // Known mistake 37.
    let circuit = CircuitBreaker::builder().build().unwrap();
    let bulkhead = Bulkhead::builder().build().unwrap();
    let service = ServiceBuilder::new()
        .layer(DeadlineLayer::new(3 * SECOND))
        .layer(RetryLayer::new(RetryPolicy::default()).advised_by(circuit.clone()))
        .layer(CircuitBreakerLayer::new(circuit))
        .layer(BulkheadLayer::new(bulkhead))
        .layer(TimeoutLayer::new(SECOND))
        .map_err(Error::from_upstream)
        .service_fn(async |_: Request<Full<Bytes>>| {
            Ok::<_, io::Error>(Response::new(Full::new(Bytes::from_static(b"fine"))))
        });
    let response = service.oneshot(Request::new(Full::default())).await.unwrap();
    assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), "fine");
}

#[tokio::test(start_paused = true)]
async fn an_upstream_that_cannot_fail_composes_too() {
    let service = ServiceBuilder::new().layer(retry()).map_err(Error::from_upstream).service_fn(
        async |_: Call<Request<()>>| Ok::<_, Infallible>(Response::new(Full::<Bytes>::default())),
    );
    let result: Result<_, Error<Infallible>> = service.oneshot(Call::new(get())).await;
    assert_eq!(result.unwrap().status(), 200);
}

/// A service that is ready for the first request at once, and for further requests only after a second.
#[derive(Clone)]
struct SlowToReady {
    upstream: Upstream,
    wait: Arc<Mutex<Option<std::pin::Pin<Box<tokio::time::Sleep>>>>>,
}

impl Service<Request<()>> for SlowToReady {
    type Response = Response<TestBody>;
    type Error = Error<io::Error>;
    type Future = <Upstream as Service<Request<()>>>::Future;

    fn poll_ready(&mut self, cx: &mut std::task::Context<'_>) -> Poll<Result<(), Self::Error>> {
        if self.upstream.count() > 0 {
            let mut wait = self.wait.lock().unwrap();
            let wait = wait.get_or_insert_with(|| Box::pin(tokio::time::sleep(SECOND)));
            std::task::ready!(wait.as_mut().poll(cx));
        }
        self.upstream.poll_ready(cx)
    }

    fn call(&mut self, request: Request<()>) -> Self::Future {
        self.upstream.call(request)
    }
}

#[tokio::test(start_paused = true)]
async fn a_deadline_that_passes_between_two_attempts_sends_nothing_and_costs_nothing() {
    let budget = RetryBudget::builder().initial(2.0).per_failure(0.0).build().unwrap();
    let upstream = Upstream::answering([fault(ConnectionRefused)]);
    let slow = SlowToReady { upstream: upstream.clone(), wait: Arc::default() };
    let mut service = retry().budget(budget.clone()).layer(slow);
    let request = with(post(), CallOptions::new().deadline(Instant::now() + SECOND / 2));
    let mut call = std::pin::pin!(service.ready().await.unwrap().call(request));
    let error = call.as_mut().await.unwrap_err();
    assert!(error.is_total_timeout());
    assert_eq!((error.attempts(), error.maybe_sent(), upstream.count()), (1, false, 1));
    approximately(budget.tokens(), 2.0);
}

#[tokio::test(start_paused = true)]
async fn the_stop_reason_of_the_inner_retry_wins() {
    for answer in [status(503), fault(ConnectionReset)] {
        let service =
            RetryLayer::new(policy(0)).layer(RetryLayer::new(policy(1)).layer(Upstream::answering([answer])));
        let stop = match send(&service, get()).await {
            Ok(response) => stopped(&response),
            Err(error) => error.stop_reason(),
        };
        assert_eq!(stop, Some(StopReason::Exhausted));
    }
}
