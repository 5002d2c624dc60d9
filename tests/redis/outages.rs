//! Outages: the server is absent, goes away, hangs or is full, and comes back.

use futures_util::future::join_all;

use super::*;
use crate::server::server;

#[tokio::test]
async fn a_server_that_comes_later_is_found_by_the_same_handle() {
    let Some(mut server) = server().await else { return };
    server.kill();
    let store = patient(server.url()).build().unwrap();
    for _ in 0..3 {
        let down = error(store.get("key").await);
        assert!(down.inner().unwrap().is_connection_refusal(), "{down:?}");
    }
    server.restart().await;
    assert!(works(&store).await);
}

#[tokio::test]
async fn a_server_that_was_killed_and_restarted_is_found_again() {
    let Some(mut server) = server().await else { return };
    let store = patient(server.url()).build().unwrap();
    for _ in 0..3 {
        assert!(works(&store).await);
        server.kill();
        assert!(store.get("works").await.is_err());
        assert!(store.put("works", value("no"), MINUTE).await.is_err());
        server.restart().await;
        assert_eq!(store.get("works").await.unwrap(), None, "it has forgotten");
    }
    assert!(works(&store).await);
}

#[tokio::test]
async fn a_restart_between_two_operations_causes_no_error() {
    let Some(mut server) = server().await else { return };
    let store = patient(server.url()).build().unwrap();
    assert!(works(&store).await);
    server.kill();
    server.restart().await;
    assert!(works(&store).await);
}

#[tokio::test]
async fn a_kill_ends_all_operations_under_way() {
    let Some(mut server) = server().await else { return };
    let store = patient(server.url()).build().unwrap();
    assert!(works(&store).await);
    server.stop();
    let under_way = (0..50).map(|_| store.get("works"));
    let (results, ()) = tokio::join!(join_all(under_way), async { server.kill() });
    for result in results {
        let cut = error(result);
        assert!(cut.inner().unwrap().is_connection_dropped(), "{cut:?}");
    }
    server.restart().await;
    assert!(works(&store).await);
}

#[tokio::test]
async fn a_server_that_hangs_times_out_and_is_used_again_once_it_resumes() {
    let Some(server) = server().await else { return };
    let store = patient(server.url()).timeout(Duration::from_millis(200)).build().unwrap();
    eventually("it works", async || works(&store).await).await;
    server.stop();
    let hanging = join_all([store.get("works"), store.get("works"), store.get("another")]).await;
    for result in hanging {
        assert!(error(result).is_timeout());
    }
    // A new connection hangs as well: the system accepts the connection, but the server does not answer.
    assert!(error(store.put("key", value("stored"), MINUTE).await).is_timeout());
    server.resume();
    eventually("it works again", async || works(&store).await).await;
    assert!(works(&store).await);
    server.has_clients(2).await;
}

#[tokio::test]
async fn a_full_server_is_still_read() {
    let Some(server) = server().await else { return };
    let store = patient(server.url())
        .circuit_breaker(CircuitBreaker::builder().consecutive_failures(1, Duration::ZERO));
    let store = store.build().unwrap();
    let used = server.info("memory", "used_memory").await;
    let _: String = server.ask(&["CONFIG", "SET", "maxmemory-policy", "noeviction"]).await;
    let _: String = server.ask(&["CONFIG", "SET", "maxmemory", &(used + 8 * 1024 * 1024).to_string()]).await;
    let mut stored = Vec::new();
    let full = loop {
        let key = format!("key {}", stored.len());
        match store.put(&key, Bytes::from(vec![7; 1024 * 1024]), MINUTE).await {
            Ok(()) => stored.push(key),
            Err(full) => break error(Err::<(), _>(full)),
        }
        assert!(stored.len() < 100, "it never gets full");
    };
    assert_eq!(full.inner().unwrap().code(), Some("OOM"), "{full:?}");
    assert!(!stored.is_empty());
    for key in &stored {
        assert_eq!(store.get(key).await.unwrap().unwrap().len(), 1024 * 1024);
    }
    assert_eq!(store.circuit_breaker().snapshot().trips, 0, "Redis can be talked to");
    let _: String = server.ask(&["CONFIG", "SET", "maxmemory", "0"]).await;
    assert!(works(&store).await);
}
