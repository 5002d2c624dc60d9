//! The store in Redis, against a real server that each test starts, stops, kills and fills as needed, and against
//! peers that only look like Redis.
//!
//! Without a `redis-server` on the machine, the tests that need a server are left out, and a warning appears on the
//! terminal. With `STEADFAST_REQUIRE_REDIS=1`, these tests fail instead.

#![cfg(unix)]

mod circuit;
mod config;
mod connections;
#[path = "../stores/contract.rs"]
mod contract;
mod last_known_good;
mod outages;
mod peers;
mod server;
mod values;

use std::time::Duration;

use bytes::Bytes;
use redis::RedisError;
use steadfast::circuit_breaker::CircuitBreaker;
use steadfast::last_known_good::Store;
use steadfast::stores::{RedisStore, RedisStoreBuilder};
use steadfast::{BoxError, Error};

const MINUTE: Duration = Duration::from_secs(60);

/// A store with a timeout that suffices on a slow machine, and a circuit that never trips.
fn patient(url: impl Into<String>) -> RedisStoreBuilder {
    RedisStore::builder(url)
        .timeout(Duration::from_secs(10))
        .circuit_breaker(CircuitBreaker::builder().without_consecutive_failures())
}

/// A value with this text.
fn value(text: &str) -> Bytes {
    Bytes::copy_from_slice(text.as_bytes())
}

/// The error of a failed operation.
fn error<T: std::fmt::Debug>(result: Result<T, BoxError>) -> Error<RedisError> {
    *result.unwrap_err().downcast().expect("operations fail with an error of this crate")
}

/// The `Display` and `Debug` texts of an error and of all its causes.
fn all_of(error: &(dyn std::error::Error + 'static)) -> String {
    let causes = std::iter::successors(Some(error), |error| (*error).source());
    causes.map(|error| format!("{error} {error:?}")).collect::<Vec<_>>().join("\n")
}

/// Waits until `holds` returns true. Panics after 30 s.
async fn eventually(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let bounded = tokio::time::timeout(Duration::from_secs(30), async {
        while !holds().await {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    });
    assert!(bounded.await.is_ok(), "never came true: {what}");
}

/// True if a value can be written and read back.
async fn works(store: &RedisStore) -> bool {
    store.put("works", value("yes"), MINUTE).await.is_ok()
        && store.get("works").await.is_ok_and(|found| found == Some(value("yes")))
}
