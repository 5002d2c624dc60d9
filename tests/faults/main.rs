//! The client when the network or the upstream fails: real faults on loopback.
#![cfg(feature = "reqwest")]

mod bodies;
mod covered;
mod guards;
mod retries;
mod time;

#[path = "../server/mod.rs"]
mod server;

use std::convert::Infallible;
use std::error::Error as StdError;
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream;
use http::StatusCode;
use http_body::Frame;
use http_body_util::StreamBody;
use reqwest::redirect;
use steadfast::buffer_body::BufferBodyLayer;
use steadfast::bulkhead::Bulkhead;
use steadfast::circuit_breaker::{CircuitBreaker, State};
use steadfast::endpoints::Endpoints;
use steadfast::http::{Fault, TransportError};
use steadfast::last_known_good::{Cause, LastKnownGood};
use steadfast::retry::{Attempts, Backoff, Jitter, RetryBudget, RetryPolicy};
use steadfast::{
    Client, ClientBuilder, Error, ErrorKind, RequestBuilder, ResponseExt, RetrySafety, StopReason,
    TimeoutScope,
};
use tokio::sync::Notify;

use self::server::{Reply, Server, chunk, chunked_head, message};

const MINUTE: Duration = Duration::from_secs(60);
const SHORT: Duration = Duration::from_millis(80);

/// A builder of a client that retries three times at once, without a budget, and has a last-known-good cache.
fn eager() -> ClientBuilder {
    let policy = RetryPolicy::builder().backoff(Backoff::new().base(Duration::ZERO));
    Client::builder()
        .last_known_good(LastKnownGood::builder())
        .total_timeout(MINUTE)
        .attempt_timeout(MINUTE)
        .retry(policy)
        .without_retry_budget()
}

fn client() -> Client {
    eager().build().unwrap()
}

/// Panics after 15 s, so that no test hangs.
async fn soon<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(MINUTE / 4, future).await.expect("it ends")
}

async fn prime_cache(client: &Client, url: &str) {
    let response = client.get(url).send().await.unwrap();
    assert_eq!(response.text().await.unwrap(), "good");
}

/// The circuit's number of consecutive failures.
fn failures(client: &Client, url: &str) -> u16 {
    client.upstream_at(url).unwrap().circuit_breaker().unwrap().snapshot().consecutive_failures
}

fn stopped(response: &reqwest::Response) -> Option<StopReason> {
    response.extensions().get::<Attempts>().and_then(|attempts| attempts.stop_reason)
}

fn streaming(pieces: &[&'static str]) -> reqwest::Body {
    let frames: Vec<_> =
        pieces.iter().map(|piece| Ok::<_, Infallible>(Frame::data(Bytes::from(*piece)))).collect();
    reqwest::Body::wrap(StreamBody::new(stream::iter(frames)))
}
