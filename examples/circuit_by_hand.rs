//! A circuit breaker is a handle: watch it, read it, force it open for a planned outage and reset it, while calls go
//! on.
//!
//! `cargo run --example circuit_by_hand`

use std::io;
use std::time::Duration;

use steadfast::circuit_breaker::{CircuitBreaker, CircuitBreakerLayer, State};
use steadfast::{Call, Error, ErrorInfo, Outcome, classify};
use tower::{Service, ServiceBuilder, ServiceExt};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    // The circuit opens after three failures in a row, however fast, and stays open for an hour, so that timing does
    // not affect the output.
    let hour = Duration::from_secs(3600);
    let circuit = CircuitBreaker::builder()
        .name("sku")
        .consecutive_failures(3, Duration::ZERO)
        .max_open_for(hour)
        .open_for(hour)
        .build()?;

    // Each change of state wakes the watchers: a gauge, a health check, a pager.
    let mut states = circuit.watch();
    let mut seen = vec![*states.borrow()];
    let watcher = tokio::spawn(async move {
        // `changed` fails when the last handle to the circuit is dropped.
        while states.changed().await.is_ok() {
            seen.push(*states.borrow_and_update());
        }
        seen
    });

    // The request says whether the call succeeds. The service is not HTTP, so the layer needs a classifier.
    let classifier = classify::from_fn(classify_pong);
    let mut service = ServiceBuilder::new()
        .layer(CircuitBreakerLayer::new(circuit.clone()).classifier(classifier).non_http())
        .map_err(Error::from_upstream)
        .service_fn(
            async |call: Call<bool>| {
                if call.into_inner() { Ok("pong") } else { Err(io::Error::other("no route")) }
            },
        );

    println!("closed:      {:?}", service.ready().await?.call(Call::new(true)).await);
    circuit.force_open();
    println!("forced open: {:?}", service.ready().await?.call(Call::new(true)).await);
    // Lets the watcher run: a watch channel holds only the latest state, so a late watcher misses states.
    tokio::task::yield_now().await;
    circuit.reset();
    println!("reset:       {:?}", service.ready().await?.call(Call::new(true)).await);
    tokio::task::yield_now().await;

    while circuit.state() == State::Closed {
        println!("failing:     {:?}", service.ready().await?.call(Call::new(false)).await);
    }
    // The service would succeed now, but the open circuit refuses the call. The error says when to retry.
    println!("open:        {:?}", service.ready().await?.call(Call::new(true)).await);
    println!("{:#?}", circuit.snapshot());

    drop((circuit, service));
    println!("watched:     {:?}", watcher.await?);
    Ok(())
}

fn classify_pong(result: Result<&&str, &ErrorInfo>) -> Outcome {
    if result.is_ok() { Outcome::Success } else { Outcome::transient() }
}
