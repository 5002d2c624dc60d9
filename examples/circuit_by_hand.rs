//! A circuit is a handle: watched, read, forced open for a planned outage, and reset, while calls go on.
//!
//! `cargo run --example circuit_by_hand`

use std::io;
use std::time::Duration;

use steadfast::circuit_breaker::{CircuitBreaker, CircuitBreakerLayer, State};
use steadfast::{Error, ErrorInfo, Outcome, classify};
use tower::{Service, ServiceBuilder, ServiceExt};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    // Three failures in a row, however fast, and it opens for an hour: nothing here is left to time.
    let hour = Duration::from_secs(3600);
    let circuit = CircuitBreaker::builder()
        .name("sku")
        .consecutive_failures(3, Duration::ZERO)
        .max_open_for(hour)
        .open_for(hour)
        .build()?;

    // Every change of state wakes whoever watches: a gauge, a health check, a pager.
    let mut states = circuit.watch();
    let mut seen = vec![*states.borrow()];
    let watcher = tokio::spawn(async move {
        // It ends when the last handle to the circuit is gone.
        while states.changed().await.is_ok() {
            seen.push(*states.borrow_and_update());
        }
        seen
    });

    // A service that is asked whether to succeed. It is not HTTP, so the layer is told what its results mean.
    let judge = classify::from_fn(is_failure);
    let mut service = ServiceBuilder::new()
        .layer(CircuitBreakerLayer::new(circuit.clone()).classifier(judge).non_http())
        .map_err(Error::from_upstream)
        .service_fn(async |works: bool| if works { Ok("pong") } else { Err(io::Error::other("no route")) });

    println!("closed:      {:?}", service.ready().await?.call(true).await);
    circuit.force_open();
    println!("forced open: {:?}", service.ready().await?.call(true).await);
    // The watcher's turn: who looks late sees the latest state, and not every one.
    tokio::task::yield_now().await;
    circuit.reset();
    println!("reset:       {:?}", service.ready().await?.call(true).await);
    tokio::task::yield_now().await;

    while circuit.state() == State::Closed {
        println!("failing:     {:?}", service.ready().await?.call(false).await);
    }
    // It would work now, but is not asked; the error says when it will be.
    println!("open:        {:?}", service.ready().await?.call(true).await);
    println!("{:#?}", circuit.snapshot());

    drop((circuit, service));
    println!("watched:     {:?}", watcher.await?);
    Ok(())
}

fn is_failure(result: Result<&&str, &ErrorInfo>) -> Outcome {
    if result.is_ok() { Outcome::Success } else { Outcome::Failure }
}
