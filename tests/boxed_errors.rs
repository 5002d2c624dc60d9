//! tower's own layers box errors. Between two layers of this crate, the boxes change no property of an error.

mod support;

use std::io;
use std::time::Duration;

use http::{Request, Response};
use steadfast::bulkhead::{Bulkhead, BulkheadLayer};
use steadfast::circuit_breaker::{CircuitBreaker, CircuitBreakerLayer, State};
use steadfast::last_known_good::{LastKnownGood, LastKnownGoodLayer};
use steadfast::retry::{RetryBudget, RetryLayer, RetryPolicy};
use steadfast::{BoxError, Error, ErrorInfo, ErrorKind, ResponseExt, StopReason, TimeoutScope};
use support::{SECOND, Script, Step, Upstream, fault, get, hang, send, status};
use tower::{Layer, Service, ServiceBuilder, ServiceExt};

fn open() -> CircuitBreaker {
    let circuit = CircuitBreaker::builder().name("http://sku.internal").build().unwrap();
    circuit.force_open();
    circuit
}

/// From the outside in: retry, `map_err`, `tower::timeout`, and a circuit that is open.
#[tokio::test(start_paused = true)]
async fn a_refusal_below_a_timeout_of_tower_is_one_refusal_and_no_retry() {
    let (circuit, budget) = (open(), RetryBudget::default());
    let service = ServiceBuilder::new()
        .layer(RetryLayer::new(RetryPolicy::default()).budget(budget.clone()))
        .map_err(Error::from_boxed)
        .timeout(SECOND)
        .layer(CircuitBreakerLayer::new(circuit.clone()))
        .service(Upstream::answering([status(200)]));
    let error = send(&service, get()).await.unwrap_err();
    assert!(error.is_circuit_open());
    assert_eq!((error.upstream(), error.attempts()), (Some("http://sku.internal"), 0));
    assert_eq!(error.stop_reason(), Some(StopReason::CircuitOpen));
    assert_eq!((circuit.snapshot().refused, budget.retries()), (1, 0));
    assert!((budget.tokens() - 2.0).abs() < f64::EPSILON, "it cost nothing");
}

/// A circuit breaker above `load_shed`, which sheds 30 calls.
#[tokio::test(start_paused = true)]
async fn a_call_shed_by_tower_does_not_count_against_the_upstream() {
    let circuit = CircuitBreaker::builder().consecutive_failures(1, Duration::ZERO).build().unwrap();
    let service = ServiceBuilder::new()
        .layer(CircuitBreakerLayer::new(circuit.clone()))
        .map_err(Error::from_boxed)
        .load_shed()
        .concurrency_limit(1)
        .service(Upstream::answering([hang()]));
    let mut busy = tokio_test::task::spawn(send(&service, get()));
    assert!(busy.poll().is_pending());
    for _ in 0..30 {
        let error = send(&service, get()).await.unwrap_err();
        assert_eq!((error.kind(), error.attempts(), error.maybe_sent()), (ErrorKind::Overloaded, 0, false));
        assert!(error.is_refusal());
    }
    assert_eq!((circuit.state(), circuit.snapshot().consecutive_failures), (State::Closed, 0));
}

#[tokio::test(start_paused = true)]
async fn a_call_shed_by_tower_is_not_retried_and_is_answered_stale() {
    let cache = LastKnownGood::default();
    let upstream =
        Upstream::answering([status(200).body(&Script::of(&[Step::Data("good".into())]).sized()), hang()]);
    let service = ServiceBuilder::new()
        .layer(LastKnownGoodLayer::new(cache))
        .layer(RetryLayer::new(RetryPolicy::default()))
        .map_err(Error::from_boxed)
        .load_shed()
        .concurrency_limit(1)
        .map_request(|request: Request<http_body_util::Empty<bytes::Bytes>>| request.map(drop))
        .service(upstream);
    let get = || Request::get("http://sku.internal/").body(http_body_util::Empty::new()).unwrap();
    let read =
        async |response: Response<_>| http_body_util::BodyExt::collect(response.into_body()).await.unwrap();
    read(service.clone().oneshot(get()).await.unwrap()).await;
    let mut busy = tokio_test::task::spawn(service.clone().oneshot(get()));
    assert!(busy.poll().is_pending());
    let response = service.clone().oneshot(get()).await.unwrap();
    assert_eq!(
        (response.stale().unwrap().cause.to_string().as_str(), response.attempts()),
        ("a load-shedding layer refused", 0)
    );
}

#[tokio::test(start_paused = true)]
async fn a_timeout_of_tower_is_a_timeout_and_a_failure_of_the_attempt() {
    let circuit = CircuitBreaker::builder().consecutive_failures(1, Duration::ZERO).build().unwrap();
    let service = ServiceBuilder::new()
        .layer(CircuitBreakerLayer::new(circuit.clone()))
        .map_err(Error::from_boxed)
        .timeout(SECOND)
        .map_err(BoxError::from)
        .service(Upstream::answering([hang()]));
    let error = send(&service, get()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Timeout { scope: TimeoutScope::Other, after: None });
    assert!(error.is_timeout() && error.maybe_sent() && !error.is_refusal());
    assert_eq!((error.attempts(), circuit.state()), (1, State::Open));
}

/// The stack has a buffer, which clones errors of its worker, and a limit.
#[tokio::test(start_paused = true)]
async fn an_error_keeps_its_facts_through_every_layer_of_tower() {
    let bulkhead = Bulkhead::builder().name("sku").max_concurrent(1).max_waiting(0).build().unwrap();
    let upstream = Upstream::answering([hang()]);
    let service = ServiceBuilder::new()
        .map_err(Error::from_boxed)
        .buffer(8)
        .concurrency_limit(8)
        .load_shed()
        .timeout(SECOND)
        .layer(BulkheadLayer::new(bulkhead))
        .service(upstream.clone());
    let mut busy = tokio_test::task::spawn(send(&service, get()));
    assert!(busy.poll().is_pending());
    tokio::task::yield_now().await;
    assert!(busy.poll().is_pending());
    let error = send(&service, get()).await.unwrap_err();
    assert_eq!(error.to_string(), "sku: bulkhead full, 1 attempts in flight (0 attempts)");
    assert_eq!((error.is_bulkhead_full(), error.maybe_sent(), upstream.count()), (true, false, 1));
}

#[tokio::test(start_paused = true)]
async fn a_retry_whose_errors_are_boxed_keeps_its_counts() {
    let inner = RetryLayer::new(RetryPolicy::default())
        .name("sku")
        .without_budget()
        .layer(Upstream::answering([fault(io::ErrorKind::ConnectionReset)]));
    let service = ServiceBuilder::new().map_err(Error::from_boxed).timeout(60 * SECOND).service(inner);
    let error = send(&service, get()).await.unwrap_err();
    assert_eq!((error.attempts(), error.stop_reason()), (4, Some(StopReason::Exhausted)));
    assert_eq!(error.upstream(), Some("sku"));
}

/// Code that knows neither the client nor the stack, such as an error handler, finds the facts, too.
#[tokio::test(start_paused = true)]
async fn error_info_is_found_in_any_box() {
    let service = ServiceBuilder::new()
        .timeout(SECOND)
        .layer(CircuitBreakerLayer::new(open()))
        .service(Upstream::answering([status(200)]));
    let boxed: BoxError = send(&service, get()).await.unwrap_err();
    let info = boxed.source().and_then(|source| source.downcast_ref::<ErrorInfo>()).unwrap();
    assert!(info.is_circuit_open());
    assert_eq!(info.upstream(), Some("http://sku.internal"));
}

/// An error of `poll_ready` can be a refusal, too.
#[tokio::test(start_paused = true)]
async fn an_error_of_readiness_counts_the_earlier_attempts() {
    /// A service that is ready once.
    #[derive(Clone)]
    struct Once(bool);
    impl Service<Request<()>> for Once {
        type Response = Response<http_body_util::Empty<bytes::Bytes>>;
        type Error = Error<io::Error>;
        type Future = std::future::Ready<Result<Self::Response, Self::Error>>;
        fn poll_ready(&mut self, _: &mut std::task::Context<'_>) -> std::task::Poll<Result<(), Self::Error>> {
            std::task::Poll::Ready(if std::mem::take(&mut self.0) {
                Ok(())
            } else {
                Err(Error::new(ErrorKind::CircuitOpen { retry_after: None }))
            })
        }
        fn call(&mut self, _: Request<()>) -> Self::Future {
            std::future::ready(Err(Error::from_upstream(io::ErrorKind::ConnectionReset.into())))
        }
    }
    let budget = RetryBudget::default();
    let service =
        RetryLayer::new(RetryPolicy::default()).name("sku").budget(budget.clone()).layer(Once(true));
    let error = send(&service, get()).await.unwrap_err();
    assert_eq!((error.is_circuit_open(), error.attempts()), (true, 1));
    assert_eq!((error.stop_reason(), error.upstream()), (Some(StopReason::CircuitOpen), Some("sku")));
    assert!(error.maybe_sent(), "the attempt before it may have been sent");
    assert!((budget.tokens() - 1.7).abs() < 1e-9, "the token of the retry that was not sent is back");
}

/// Much code turns every error into an `io::Error::other`.
#[test]
fn an_io_error_around_another_error_hides_nothing() {
    let elapsed = io::Error::other(tower::timeout::error::Elapsed::new());
    assert!(Error::from_boxed(elapsed).is_timeout());
    let overloaded = io::Error::other(tower::load_shed::error::Overloaded::new());
    assert_eq!(Error::from_boxed(overloaded).kind(), ErrorKind::Overloaded);
    let refusal = Error::<io::Error>::new(ErrorKind::CircuitOpen { retry_after: None }).with_upstream("sku");
    let error = Error::from_upstream(io::Error::other(refusal));
    assert_eq!(error.to_string(), "sku: circuit open (0 attempts)");
    let refused = Error::from_upstream(io::Error::other(io::Error::from(io::ErrorKind::ConnectionRefused)));
    assert_eq!((refused.is_connect(), refused.maybe_sent()), (true, false));
}

#[cfg(feature = "reqwest")]
#[tokio::test]
async fn an_error_of_reqwest_in_any_wrapper_keeps_its_meaning_and_its_secrets() {
    /// A wrapper like that of thiserror's `#[error(transparent)]`.
    #[derive(Debug)]
    struct Transparent(reqwest::Error);
    impl std::fmt::Display for Transparent {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            self.0.fmt(f)
        }
    }
    impl std::error::Error for Transparent {
        fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
            self.0.source()
        }
    }
    let bad = async || reqwest::get("ftp://user:secret@127.0.0.1/?token=secret").await.unwrap_err();
    let errors = [
        Error::from_boxed(io::Error::other(bad().await)),
        Error::from_boxed(Transparent(bad().await)),
        Error::from_boxed(bad().await),
    ];
    for error in errors {
        assert!(!error.to_string().contains("secret"), "{error}");
    }
    let wrapped = Error::from_upstream(io::Error::other(bad().await));
    assert_eq!((wrapped.attempts(), wrapped.maybe_sent()), (0, false));
}
