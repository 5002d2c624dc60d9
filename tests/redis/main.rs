//! The store in Redis, against a real server that each test starts, stops, kills and fills as it needs, and against peers
//! that only look like one.
//!
//! Where there is no `redis-server`, what needs one is left out, which is said on the terminal; with
//! `STEADFAST_REQUIRE_REDIS=1` it fails instead.

#![cfg(unix)]

mod circuit;
mod config;
mod connections;
#[path = "../stores/contract.rs"]
mod contract;
mod fallback;
mod outages;
mod peers;
mod server;
mod values;

use std::time::Duration;

use bytes::Bytes;
use redis::RedisError;
use steadfast::circuit_breaker::CircuitBreaker;
use steadfast::last_known_good::Store;
use steadfast::{BoxError, Error, RedisStore, RedisStoreBuilder};

const MINUTE: Duration = Duration::from_secs(60);

/// A store that a slow machine does not fail, and whose circuit stays out of the way.
fn patient(url: impl Into<String>) -> RedisStoreBuilder {
    RedisStore::builder(url)
        .timeout(Duration::from_secs(10))
        .circuit(CircuitBreaker::builder().without_consecutive_failures())
}

/// A value that is told from others.
fn value(text: &str) -> Bytes {
    Bytes::copy_from_slice(text.as_bytes())
}

/// What an operation failed with.
fn error<T: std::fmt::Debug>(result: Result<T, BoxError>) -> Error<RedisError> {
    *result.unwrap_err().downcast().expect("operations fail with an error of this crate")
}

/// All that a person could be shown of an error.
fn all_of(error: &(dyn std::error::Error + 'static)) -> String {
    let causes = std::iter::successors(Some(error), |error| (*error).source());
    causes.map(|error| format!("{error} {error:?}")).collect::<Vec<_>>().join("\n")
}

/// Waits until `holds`, and fails if it never does.
async fn eventually(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let bounded = tokio::time::timeout(Duration::from_secs(30), async {
        while !holds().await {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    });
    assert!(bounded.await.is_ok(), "never came true: {what}");
}

/// Keeps something and finds it again.
async fn works(store: &RedisStore) -> bool {
    store.put("works", value("yes"), MINUTE).await.is_ok()
        && store.get("works").await.is_ok_and(|found| found == Some(value("yes")))
}
