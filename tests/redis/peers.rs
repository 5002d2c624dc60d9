//! Peers that are not Redis, or that behave like a Redis in trouble. These tests need no `redis-server`.

use std::iter;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use futures_util::FutureExt;
use futures_util::future::join_all;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::*;

/// Starts a peer that sends `greeting` after its first read, and `answer` after each later read. On `None`, the peer
/// hangs up. Returns the peer's URL and the number of accepted connections.
async fn peer(greeting: Reply, answer: Reply) -> (String, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("redis://{}", listener.local_addr().unwrap());
    let accepted = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&accepted);
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            count.fetch_add(1, Ordering::Relaxed);
            tokio::spawn(async move {
                let mut buffer = [0; 4096];
                for reply in iter::once(greeting).chain(iter::repeat(answer)) {
                    let read = stream.read(&mut buffer).await;
                    let (Ok(1..), Some(reply)) = (read, reply) else { break };
                    if stream.write_all(reply).await.is_err() {
                        break;
                    }
                }
            });
        }
    });
    (url, accepted)
}

type Reply = Option<&'static [u8]>;
/// The redis crate greets with two commands.
const WELCOME: Reply = Some(b"+OK\r\n+OK\r\n");
const NOTHING: Reply = Some(b"");

#[tokio::test]
async fn a_connection_without_an_answer_is_not_used_again() {
    for (greeting, answer) in [(NOTHING, NOTHING), (WELCOME, NOTHING)] {
        let (url, accepted) = peer(greeting, answer).await;
        let store = patient(url).connections(1).timeout(Duration::from_millis(50)).build().unwrap();
        for connections in 1..=3 {
            assert!(error(store.get("key").await).is_timeout());
            eventually("a new one", async || accepted.load(Ordering::Relaxed) == connections).await;
        }
    }
}

#[tokio::test]
async fn a_connection_whose_operation_was_dropped_is_not_used_again() {
    let (url, accepted) = peer(WELCOME, NOTHING).await;
    let store = patient(url).connections(1).build().unwrap();
    for connections in 1..=3 {
        let mut get = Box::pin(store.get("key"));
        eventually("it is under way", async || {
            assert!((&mut get).now_or_never().is_none());
            accepted.load(Ordering::Relaxed) == connections
        })
        .await;
    }
}

#[tokio::test]
async fn a_peer_that_announces_more_than_it_sends_times_out() {
    let (url, _) = peer(WELCOME, Some(b"$9223372036854775807\r\nnot so much")).await;
    let store = patient(url).timeout(Duration::from_millis(50)).build().unwrap();
    assert!(error(store.get("key").await).is_timeout());
}

#[tokio::test]
async fn a_peer_that_speaks_another_protocol_is_an_error() {
    let deep: &[u8] = b"*1\r\n".repeat(10_000).leak();
    let replies: [&[u8]; 3] = [b"HTTP/1.1 400 Bad Request\r\n\r\n", b"\0\xff\xfe\r\n", deep];
    for reply in replies {
        for (greeting, answer) in [(Some(reply), None), (WELCOME, Some(reply))] {
            let (url, _) = peer(greeting, answer).await;
            let circuit = CircuitBreaker::builder().consecutive_failures(1, Duration::ZERO);
            let store = patient(url).circuit_breaker(circuit).build().unwrap();
            assert!(error(store.get("key").await).inner().is_some(), "{}", reply.escape_ascii());
            assert_eq!(store.circuit_breaker().snapshot().trips, 1, "{}", reply.escape_ascii());
        }
    }
}

#[tokio::test]
async fn an_answer_of_another_type_is_an_error() {
    for reply in [&b"+OK\r\n"[..], b":1\r\n", b"*0\r\n"] {
        let (url, _) = peer(WELCOME, Some(reply)).await;
        let store = patient(url).build().unwrap();
        let refused = error(store.get("key").await);
        assert_eq!(refused.inner().unwrap().kind(), redis::ErrorKind::UnexpectedReturnType);
    }
}

#[tokio::test]
async fn a_server_that_is_loading_counts_as_down_and_one_that_refuses_a_command_does_not() {
    let replies: [(&[u8], _); 5] = [
        (b"-LOADING Redis is loading the dataset in memory\r\n", 1),
        (b"-MASTERDOWN Link with MASTER is down\r\n", 1),
        (b"-CLUSTERDOWN The cluster is down\r\n", 1),
        (b"-NOPERM this user has no permissions\r\n", 0),
        (b"-ERR unknown command\r\n", 0),
    ];
    for (reply, trips) in replies {
        let (url, accepted) = peer(WELCOME, Some(reply)).await;
        let circuit = CircuitBreaker::builder().consecutive_failures(2, Duration::ZERO);
        let store = patient(url).connections(1).circuit_breaker(circuit).build().unwrap();
        for _ in 0..2 {
            assert!(error(store.get("key").await).inner().is_some());
        }
        assert_eq!(store.circuit_breaker().snapshot().trips, trips, "{}", reply.escape_ascii());
        assert_eq!(accepted.load(Ordering::Relaxed), 1, "the connection is fine");
    }
}

#[tokio::test]
async fn operations_that_wait_for_a_connection_share_one_attempt_and_its_result() {
    let (url, accepted) = peer(None, None).await;
    let store = patient(url).connections(2).build().unwrap();
    let results = join_all((0..100).map(|_| store.get("key"))).await;
    assert!(results.into_iter().all(|result| error(result).inner().is_some()));
    assert_eq!(accepted.load(Ordering::Relaxed), 2, "one for each connection");
}
