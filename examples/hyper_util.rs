//! Around hyper-util's client: a streaming body that is sent again, because what passed by was kept.
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

    // hyper-util's own retry is for requests that it knows were not sent. One layer retries, not two.
    let client = Client::builder(TokioExecutor::new()).retry_canceled_requests(false).build_http();

    let circuit = CircuitBreaker::default();
    let service = ServiceBuilder::new()
        .layer(DeadlineLayer::new(Duration::from_secs(3)))
        // Without it, a streaming body is sent once: there is nothing to send a second time. A body of more than
        // 64 KiB is still sent, but not again.
        .layer(ReplayBodyLayer::new(64 * 1024))
        .layer(RetryLayer::new(RetryPolicy::default()).advised_by(circuit.clone()))
        .layer(CircuitBreakerLayer::new(circuit))
        .layer(TimeoutLayer::new(Duration::from_secs(1)))
        // Where the client's own error joins in.
        .map_err(Error::from_upstream)
        .service(client);

    // A body of which nobody knows the length before it has been sent.
    let pieces =
        ["what ", "was ", "streamed"].map(|piece| Ok::<_, Infallible>(Frame::data(Bytes::from(piece))));
    let mut request = Request::put(url).body(StreamBody::new(stream::iter(pieces)))?;
    // An `http::Request` carries the options of its call in its extensions.
    request.extensions_mut().insert(CallOptions::new().timeout(Duration::from_secs(2)));

    let response = service.oneshot(request).await?;
    println!("{} after {} attempts", response.status(), response.attempts());
    let body = response.into_body().collect().await?.to_bytes();
    println!("the upstream received: {}", String::from_utf8_lossy(&body));
    Ok(())
}

/// A service on this machine, which reads its first request and says 503, and echoes the others.
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
