//! Around hyper-util's client: a streaming body is sent again, because its frames were kept while they were sent.
//!
//! `cargo run --example hyper_util --features hyper`

use std::convert::Infallible;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use axum::{Router, http::StatusCode, routing::put};
use bytes::Bytes;
use futures_util::stream;
use http::Request;
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use steadfast::circuit_breaker::{CircuitBreaker, CircuitBreakerLayer};
use steadfast::deadline::DeadlineLayer;
use steadfast::http::ReplayBodyLayer;
use steadfast::retry::{RetryLayer, RetryPolicy};
use steadfast::timeout::TimeoutLayer;
use steadfast::{CallOptions, Error, ResponseExt};
use tokio::net::TcpListener;
use tower::{ServiceBuilder, ServiceExt};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let url = start_upstream().await?;

    // hyper-util can retry requests that were not sent. It is switched off: only the `RetryLayer` retries.
    let client = Client::builder(TokioExecutor::new()).retry_canceled_requests(false).build_http();

    let circuit = CircuitBreaker::default();
    let service = ServiceBuilder::new()
        .layer(DeadlineLayer::new(Duration::from_secs(3)))
        // Without this layer, a streaming body cannot be replayed and is sent once. A body of more than 64 KiB is
        // also sent only once.
        .layer(ReplayBodyLayer::new(64 * 1024))
        .layer(RetryLayer::new(RetryPolicy::default()).advised_by(circuit.clone()))
        .layer(CircuitBreakerLayer::new(circuit))
        .layer(TimeoutLayer::new(Duration::from_secs(1)))
        // Wraps the client's own error.
        .map_err(Error::from_upstream)
        .service(client);

    // A streaming body of unknown length.
    let pieces =
        ["what ", "was ", "streamed"].map(|piece| Ok::<_, Infallible>(Frame::data(Bytes::from(piece))));
    let mut request = Request::put(url).body(StreamBody::new(stream::iter(pieces)))?;
    // The options of the call are carried in the request's extensions.
    request.extensions_mut().insert(CallOptions::new().timeout(Duration::from_secs(2)));

    let response = service.oneshot(request).await?;
    println!("{} after {} attempts", response.status(), response.attempts());
    let body = response.into_body().collect().await?.to_bytes();
    println!("the upstream received: {}", String::from_utf8_lossy(&body));
    Ok(())
}

/// Starts a server on loopback that reads and answers the first request with 503, and echoes the later ones.
async fn start_upstream() -> std::io::Result<String> {
    static REQUESTS: AtomicU32 = AtomicU32::new(0);
    async fn store(body: String) -> (StatusCode, String) {
        match REQUESTS.fetch_add(1, Ordering::Relaxed) {
            0 => (StatusCode::SERVICE_UNAVAILABLE, String::new()),
            _ => (StatusCode::OK, body),
        }
    }
    let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
    let url = format!("http://{}/v1/notes/42", listener.local_addr()?);
    tokio::spawn(axum::serve(listener, Router::new().route("/v1/notes/42", put(store))).into_future());
    Ok(url)
}
