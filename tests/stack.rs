//! Combinations of layers: properties that no layer has alone, or that show only in the long run.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use steadfast::circuit_breaker::{CircuitBreaker, CircuitBreakerLayer, State};
use steadfast::last_known_good::{Cause, LastKnownGood, LastKnownGoodLayer};
use steadfast::retry::{RetryLayer, RetryPolicy};
use steadfast::{Error, ResponseExt};
use tokio::time::{Instant, advance, sleep};
use tower::{ServiceBuilder, ServiceExt};

const MS: Duration = Duration::from_millis(1);
const HOUR: Duration = Duration::from_secs(3600);

type Body = Full<Bytes>;

fn answer(status: u16) -> Response<Body> {
    Response::builder().status(status).body(Full::new(Bytes::from_static(b"x"))).unwrap()
}

fn get(uri: &str) -> Request<Body> {
    Request::get(uri).body(Full::default()).unwrap()
}

fn brittle(failures: u16) -> CircuitBreaker {
    CircuitBreaker::builder().consecutive_failures(failures, Duration::ZERO).build().unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_circuit_trips_again_after_a_day_of_outage() {
    let circuit = brittle(3);
    let status = Arc::new(AtomicU16::new(503));
    let upstream = Arc::clone(&status);
    let service = ServiceBuilder::new().layer(CircuitBreakerLayer::new(circuit.clone())).service_fn(
        move |_: Request<Body>| {
            std::future::ready(Ok::<_, Error<io::Error>>(answer(upstream.load(Ordering::Relaxed))))
        },
    );
    let three_calls = async || {
        for _ in 0..3 {
            let _ = service.clone().oneshot(get("http://a/")).await;
        }
    };
    let began = Instant::now();
    three_calls().await;
    while began.elapsed() < 24 * HOUR {
        advance(circuit.snapshot().retry_after.unwrap() + MS).await;
        three_calls().await;
        assert_eq!(circuit.state(), State::Open);
    }
    status.store(200, Ordering::Relaxed);
    advance(5000 * MS).await;
    three_calls().await;
    assert_eq!(circuit.state(), State::Closed);
    status.store(503, Ordering::Relaxed);
    three_calls().await;
    assert_eq!(circuit.state(), State::Open);
}

#[tokio::test(start_paused = true)]
async fn a_circuit_whose_open_time_is_over_ends_no_retry() {
    let circuit = brittle(2);
    let slow_calls = Arc::new(AtomicUsize::new(0));
    let service = ServiceBuilder::new()
        .layer(RetryLayer::new(RetryPolicy::default()).without_budget().advised_by(circuit.clone()))
        .layer(CircuitBreakerLayer::new(circuit.clone()))
        .service_fn(move |request: Request<Body>| {
            let slow_calls = Arc::clone(&slow_calls);
            async move {
                let slow = request.uri().path() == "/slow";
                if slow && slow_calls.fetch_add(1, Ordering::Relaxed) == 0 {
                    sleep(5000 * MS).await;
                    return Ok::<_, Error<io::Error>>(answer(503));
                }
                Ok(answer(if slow { 200 } else { 503 }))
            }
        });
    let mut slow = tokio_test::task::spawn(service.clone().oneshot(get("http://a/slow")));
    assert!(slow.poll().is_pending());
    for _ in 0..2 {
        let _ = service.clone().oneshot(get("http://a/")).await;
    }
    assert_eq!(circuit.state(), State::Open);
    assert_eq!(slow.await.unwrap().status(), 200);
}

#[tokio::test(start_paused = true)]
async fn a_retry_across_circuits_goes_on_to_another_replica() {
    let replica = |status| {
        ServiceBuilder::new()
            .layer(CircuitBreakerLayer::new(brittle(1)))
            .service_fn(move |_: Request<Body>| std::future::ready(Ok::<_, Error<io::Error>>(answer(status))))
    };
    let (dead, alive) = (replica(503), replica(200));
    let turn = Arc::new(AtomicUsize::new(0));
    let service = ServiceBuilder::new().layer(RetryLayer::new(RetryPolicy::default())).service_fn(
        move |request: Request<Body>| {
            let first = turn.fetch_add(1, Ordering::Relaxed) == 0;
            if first { dead.clone() } else { alive.clone() }.oneshot(request)
        },
    );
    assert_eq!(service.oneshot(get("http://a/")).await.unwrap().status(), 200);
}

#[tokio::test(start_paused = true)]
async fn removals_of_other_keys_do_not_keep_the_cache_empty() {
    let cache = LastKnownGood::default();
    let service = LastKnownGoodLayer::new(cache.clone());
    let service = ServiceBuilder::new().layer(service).service_fn(|request: Request<Body>| async move {
        if request.method().is_safe() {
            sleep(100 * MS).await;
        }
        Ok::<_, Error<io::Error>>(answer(200))
    });
    let posting = service.clone();
    let writes = tokio::spawn(async move {
        for item in 0.. {
            let post = Request::post(format!("http://metrics/{item}")).body(Full::default()).unwrap();
            posting.clone().oneshot(post).await.unwrap().into_body().collect().await.unwrap();
            sleep(MS).await;
        }
    });
    for item in 0..200 {
        let response = service.clone().oneshot(get(&format!("http://sku/{item}"))).await.unwrap();
        response.into_body().collect().await.unwrap();
    }
    writes.abort();
    assert!(cache.len() > 150, "{} of 200 are kept", cache.len());
}

#[tokio::test(start_paused = true)]
async fn a_cache_serves_its_entry_because_of_the_503_whose_retry_was_refused() {
    let calls = Arc::new(AtomicUsize::new(0));
    let service = ServiceBuilder::new()
        .layer(LastKnownGoodLayer::new(LastKnownGood::default()))
        .layer(RetryLayer::new(RetryPolicy::default()).without_budget())
        .layer(CircuitBreakerLayer::new(brittle(1)))
        .service_fn(move |_: Request<Body>| {
            let status = if calls.fetch_add(1, Ordering::Relaxed) == 0 { 200 } else { 503 };
            std::future::ready(Ok::<_, Error<io::Error>>(answer(status)))
        });
    for cause in [None, Some(Cause::Status(StatusCode::SERVICE_UNAVAILABLE)), Some(Cause::CircuitOpen)] {
        let response = service.clone().oneshot(get("http://a/")).await.unwrap();
        assert_eq!(response.stale().map(|stale| stale.cause), cause);
        assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), "x");
    }
}
