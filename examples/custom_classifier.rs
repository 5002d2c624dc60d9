//! Decide yourself which results are failures: with a function for HTTP responses, with a trait for other protocols.
//!
//! `cargo run --example custom_classifier`

use std::io;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use axum::{Router, routing::get};
use steadfast::circuit_breaker::{CircuitBreaker, CircuitBreakerLayer};
use steadfast::http::HttpClassifier;
use steadfast::{Call, Classify, Client, Error, Judge, Outcome, ResponseExt};
use tokio::net::TcpListener;
use tower::{ServiceBuilder, ServiceExt};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    http().await?;
    non_http().await
}

/// The upstream's first response is 200 with half of the body, and a header says so. Such a response is retried.
async fn http() -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    static REQUESTS: AtomicU32 = AtomicU32::new(0);
    let item = async || match REQUESTS.fetch_add(1, Ordering::Relaxed) {
        0 => ([("x-answer", "partial")], "half"),
        _ => ([("x-answer", "whole")], "all of it"),
    };
    let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
    let url = format!("http://{}/", listener.local_addr()?);
    tokio::spawn(axum::serve(listener, Router::new().route("/", get(item))).into_future());

    // One classifier serves every layer: a partial response is retried, counts as a failure and is not stored.
    let classifier = HttpClassifier::new().on_response(|_status, headers| {
        let is_partial = headers.get("x-answer").is_some_and(|value| value == "partial");
        // `None` means: classify by status, as usual.
        is_partial.then(Outcome::transient)
    });
    let response = Client::builder().classifier(classifier).build()?.get(url).send().await?;
    let attempts = response.attempts();
    println!("HTTP: {:?} after {attempts} attempts", response.text().await?);
    Ok(())
}

/// The answer of a key-value service. The protocol is not HTTP, and a busy service answers `Busy` instead of an
/// error.
#[derive(Debug)]
enum Answer {
    Found,
    Missing,
    Busy,
}

/// Classifies the answers. A function (`classify::from_fn`) would do here; a type can also hold configuration and
/// look at the request first.
#[derive(Clone, Copy)]
struct AnswerClassifier;

impl<Req> Classify<Req, Answer, io::Error> for AnswerClassifier {
    type Judge = Self;

    fn judge(&self, _request: &Req) -> Self {
        *self
    }
}

impl Judge<Answer, io::Error> for AnswerClassifier {
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
        .layer(CircuitBreakerLayer::new(circuit.clone()).classifier(AnswerClassifier).non_http())
        .map_err(Error::from_upstream)
        .service_fn(async |call: Call<&'static str>| match call.into_inner() {
            "sku-42" => Ok::<_, io::Error>(Answer::Found),
            "sku-7" => Ok(Answer::Missing),
            _ => Ok(Answer::Busy),
        });
    for key in ["sku-42", "sku-7", "sku-99", "sku-99", "sku-42"] {
        let answer = service.clone().oneshot(Call::new(key)).await;
        println!("non-HTTP: {key}: {answer:?}, circuit: {:?}", circuit.state());
    }
    Ok(())
}
