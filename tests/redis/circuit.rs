//! The circuit breaker of the Redis store.

use steadfast::circuit_breaker::State;

use super::*;
use crate::server::server;

const HOUR: Duration = Duration::from_secs(3600);

#[tokio::test]
async fn a_server_that_hangs_is_left_alone_after_three_operations() {
    let Some(server) = server().await else { return };
    // The default settings, except that the circuit stays open for an hour.
    let circuit =
        CircuitBreaker::builder().consecutive_failures(3, Duration::ZERO).max_open_for(HOUR).open_for(HOUR);
    let store = RedisStore::builder(server.url()).circuit_breaker(circuit).build().unwrap();
    eventually("it works", async || works(&store).await).await;
    let sets = server.calls("set").await;
    // On a slow machine, an operation may have failed before.
    store.circuit_breaker().reset();

    server.stop();
    for _ in 0..3 {
        assert!(error(store.get("works").await).is_timeout());
    }
    assert_eq!(store.circuit_breaker().state(), State::Open);
    for _ in 0..100 {
        let refused = error(store.put("key", value("value"), MINUTE).await);
        assert!(refused.is_circuit_open() && refused.retry_after().is_some());
    }
    server.resume();
    assert_eq!(server.calls("set").await, sets, "nothing was sent");
    store.circuit_breaker().reset();
    eventually("it works", async || works(&store).await).await;
}

#[tokio::test]
async fn a_server_that_is_back_is_used_again_by_itself() {
    let Some(mut server) = server().await else { return };
    // The default settings, except that the circuit stays open for only 50 ms.
    let short = Duration::from_millis(50);
    let circuit = CircuitBreaker::builder()
        .consecutive_failures(3, Duration::ZERO)
        .probes(1)
        .open_for(short)
        .max_open_for(short);
    let store = RedisStore::builder(server.url()).circuit_breaker(circuit).build().unwrap();
    eventually("it works", async || works(&store).await).await;
    for kill in [true, false] {
        if kill {
            server.kill();
        } else {
            server.stop();
        }
        eventually("it is open", async || {
            assert!(store.get("works").await.is_err());
            store.circuit_breaker().state() == State::Open
        })
        .await;
        if kill {
            server.restart().await;
        } else {
            server.resume();
        }
        eventually("it works again", async || works(&store).await).await;
        eventually("it is closed", async || {
            works(&store).await && store.circuit_breaker().state() == State::Closed
        })
        .await;
    }
}

#[tokio::test]
async fn by_default_the_circuit_trips_after_three_failures_and_has_a_name() {
    let Some(mut server) = server().await else { return };
    let store = RedisStore::builder(server.url()).build().unwrap();
    assert_eq!(store.circuit_breaker().name(), Some("redis"));
    server.kill();
    for _ in 0..3 {
        assert_eq!(store.circuit_breaker().snapshot().trips, 0);
        assert!(error(store.get("key").await).inner().is_some());
    }
    assert_eq!(store.circuit_breaker().snapshot().trips, 1);
}

#[tokio::test]
async fn operations_that_are_dropped_while_the_server_hangs_count() {
    let Some(server) = server().await else { return };
    let store = RedisStore::builder(server.url()).timeout(Duration::from_millis(600)).build().unwrap();
    eventually("it works", async || works(&store).await).await;
    server.stop();
    // The caller's timeout is shorter than the store's.
    for _ in 0..3 {
        assert_eq!(store.circuit_breaker().snapshot().trips, 0);
        let patience = Duration::from_millis(350);
        assert!(tokio::time::timeout(patience, store.get("works")).await.is_err());
    }
    assert_eq!(store.circuit_breaker().snapshot().trips, 1);
}

#[tokio::test]
async fn a_circuit_that_is_forced_open_makes_no_connection() {
    let Some(server) = server().await else { return };
    let store = patient(server.url()).build().unwrap();
    let before = server.connections().await;
    store.clone().circuit_breaker().force_open();
    assert!(error(store.get("key").await).is_circuit_open());
    assert_eq!(server.connections().await - before, 1, "the one that asks");
    store.circuit_breaker().reset();
    assert!(works(&store).await);
}
