//! The client's stack, built by hand: each part is a tower layer, and all shared state is a handle that you create.
//!
//! `cargo run --example tower_stack`

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use axum::{Router, http::StatusCode, routing::get};
use http_body_util::BodyExt;
use steadfast::bulkhead::{Bulkhead, BulkheadLayer};
use steadfast::circuit_breaker::{CircuitBreaker, CircuitBreakerLayer};
use steadfast::deadline::DeadlineLayer;
use steadfast::last_known_good::{LastKnownGood, LastKnownGoodLayer};
use steadfast::retry::{RetryBudget, RetryLayer, RetryPolicy};
use steadfast::timeout::TimeoutLayer;
use steadfast::{Call, ReqwestService, ResponseExt};
use tokio::net::TcpListener;
use tower::{ServiceBuilder, ServiceExt};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let url = start_upstream().await?;

    // One handle of each kind per upstream. Keep the handles to inspect and control the layers.
    let circuit = CircuitBreaker::builder().name("sku").build()?;
    let bulkhead = Bulkhead::builder().max_concurrent(64).build()?;
    let budget = RetryBudget::builder().build()?;
    let cache = LastKnownGood::builder().max_bytes(16 * 1024 * 1024).build()?;

    // One layer retries, not two: reqwest's own retries are switched off.
    let client = reqwest::Client::builder().retry(reqwest::retry::never()).build()?;

    // The order matters:
    // - The deadline bounds the whole call, reads of the store included.
    // - The breaker sees every attempt and advises the retry layer when a retry is useless.
    // - No permit is held while a retry waits.
    // - The attempt timeout is below the breaker, so the breaker counts a hang as a failure.
    let retry = RetryLayer::new(RetryPolicy::default());
    let service = ServiceBuilder::new()
        .layer(DeadlineLayer::new(Duration::from_secs(3)))
        .layer(LastKnownGoodLayer::new(cache.clone()))
        .layer(retry.budget(budget.clone()).advised_by(circuit.clone()))
        .layer(CircuitBreakerLayer::new(circuit.clone()))
        .layer(BulkheadLayer::new(bulkhead.clone()))
        .layer(TimeoutLayer::new(Duration::from_millis(700)))
        .service(ReqwestService::new(client.clone()));

    for number in 1..=3 {
        // The options of a call travel with the request.
        let call = Call::new(client.get(&url).build()?).timeout(Duration::from_secs(2));
        let response = service.clone().oneshot(call).await?;
        let (status, attempts, stale) = (response.status(), response.attempts(), response.stale().copied());
        let body = response.into_body().collect().await?.to_bytes();
        println!("call {number}: {status}, {attempts} attempts, {} bytes, stale: {stale:?}", body.len());
        // From now on the circuit refuses, as if the upstream were down, so the cache has to answer.
        if number == 2 {
            circuit.force_open();
        }
    }

    println!("circuit:     {:?}", circuit.snapshot());
    println!("bulkhead:    {} of {} in flight", bulkhead.in_flight(), bulkhead.max_concurrent());
    println!("budget:      {} tokens after {} retries", budget.tokens(), budget.retries());
    println!("cache:       {} entry, {} bytes", cache.len(), cache.bytes());
    Ok(())
}

/// Starts a server on loopback that answers the first request with 503.
async fn start_upstream() -> std::io::Result<String> {
    static REQUESTS: AtomicU32 = AtomicU32::new(0);
    async fn item() -> (StatusCode, &'static str) {
        match REQUESTS.fetch_add(1, Ordering::Relaxed) {
            0 => (StatusCode::SERVICE_UNAVAILABLE, "come back later"),
            _ => (StatusCode::OK, r#"{"sku":42,"price":"9.99"}"#),
        }
    }
    let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
    let url = format!("http://{}/v1/items/42", listener.local_addr()?);
    tokio::spawn(axum::serve(listener, Router::new().route("/v1/items/42", get(item))).into_future());
    Ok(url)
}
