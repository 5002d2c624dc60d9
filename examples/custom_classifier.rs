//! What counts as a failure is yours to say: of an HTTP response by a function, of anything else by a trait.
//!
//! `cargo run --example custom_classifier`

use std::io;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use axum::{Router, routing::get};
use steadfast::circuit_breaker::{CircuitBreaker, CircuitBreakerLayer};
use steadfast::http::HttpClassifier;
use steadfast::{Classify, Client, Error, Judge, Outcome, ResponseExt};
use tokio::net::TcpListener;
use tower::{ServiceBuilder, ServiceExt};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    http().await?;
    non_http().await
}

/// An upstream that answers 200 with half of the answer, and says so in a header: worth another attempt.
async fn http() -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    static REQUESTS: AtomicU32 = AtomicU32::new(0);
    let item = async || match REQUESTS.fetch_add(1, Ordering::Relaxed) {
        0 => ([("x-answer", "partial")], "half"),
        _ => ([("x-answer", "whole")], "all of it"),
    };
    let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
    let url = format!("http://{}/", listener.local_addr()?);
    tokio::spawn(axum::serve(listener, Router::new().route("/", get(item))).into_future());

    // Every layer has the same opinion: this answer is retried, counts against the upstream, and would not be kept.
    let classifier = HttpClassifier::new().on_response(|_status, headers| {
        let is_partial = headers.get("x-answer").is_some_and(|value| value == "partial");
        // `None` leaves the answer to the usual table of statuses.
        is_partial.then(Outcome::transient)
    });
    let response = Client::builder().classifier(classifier).build()?.get(url).send().await?;
    println!("http:  {} attempts gave {:?}", response.attempts(), response.text().await?);
    Ok(())
}

/// What a key-value service answers: no HTTP, no status, no error even when it is too busy.
#[derive(Debug)]
enum Answer {
    Found,
    Missing,
    Busy,
}

/// The opinion of what that means. One this small could be a function (`classify::from_fn`); a type can hold
/// configuration, look at the request first, and be tested.
#[derive(Clone, Copy)]
struct Opinion;

impl<Req> Classify<Req, Answer, io::Error> for Opinion {
    type Judge = Self;

    fn judge(&self, _request: &Req) -> Self {
        *self
    }
}

impl Judge<Answer, io::Error> for Opinion {
    fn classify(&self, result: Result<&Answer, &Error<io::Error>>) -> Outcome {
        match result {
            Ok(Answer::Found | Answer::Missing) => Outcome::Success,
            Ok(Answer::Busy) | Err(_) => Outcome::transient(),
        }
    }
}

async fn non_http() -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let circuit = CircuitBreaker::builder().consecutive_failures(2, Duration::ZERO).build()?;
    let service = ServiceBuilder::new()
        .layer(CircuitBreakerLayer::new(circuit.clone()).classifier(Opinion).non_http())
        .map_err(Error::from_upstream)
        .service_fn(async |key: &'static str| match key {
            "sku-42" => Ok::<_, io::Error>(Answer::Found),
            "sku-7" => Ok(Answer::Missing),
            _ => Ok(Answer::Busy),
        });
    for key in ["sku-42", "sku-7", "sku-99", "sku-99", "sku-42"] {
        let answer = service.clone().oneshot(key).await;
        println!("plain: {key}: {answer:?}, and the circuit is {:?}", circuit.state());
    }
    Ok(())
}
