//! Addresses come and go.

use std::task::Poll;

use futures_util::StreamExt as _;
use futures_util::stream;
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};

use super::*;

type News = Result<Change<usize>, BoxError>;

/// Instances whose addresses change by the sender.
pub(super) fn changing(count: usize) -> (Upstream, UnboundedSender<News>) {
    let (changes, mut receiver) = unbounded_channel::<News>();
    let changing = stream::poll_fn(move |cx| receiver.poll_recv(cx));
    (Upstream::discovered(count, changing, |builder| builder), changes)
}

#[tokio::test(start_paused = true)]
async fn an_added_address_gets_its_share() {
    let (upstream, changes) = changing(4);
    (0..2).for_each(|address| changes.send(Ok(Change::Insert(address))).unwrap());
    upstream.calls(100).await;
    assert_eq!(upstream.requests()[2..], [0, 0]);
    (2..4).for_each(|address| changes.send(Ok(Change::Insert(address))).unwrap());
    changes.send(Ok(Change::Insert(2))).unwrap();
    upstream.calls(400).await;
    let requests = upstream.requests();
    assert!(requests[2..].iter().all(|requests| *requests >= 75), "{requests:?}");
    assert_eq!(upstream.endpoints.list().len(), 4);
}

#[tokio::test(start_paused = true)]
async fn a_removed_address_gets_no_new_attempt_and_its_attempts_end() {
    let (upstream, changes) = changing(2);
    changes.send(Ok(Change::Insert(0))).unwrap();
    upstream.instances[0].set(Well(500 * MS));
    let in_flight = tokio::spawn({
        let service = upstream.service();
        async move { send(&service, get()).await.is_ok() }
    });
    sleep(100 * MS).await;
    changes.send(Ok(Change::Insert(1))).unwrap();
    changes.send(Ok(Change::Remove(0))).unwrap();
    changes.send(Ok(Change::Remove(7))).unwrap();
    upstream.calls(50).await;
    assert_eq!(upstream.requests(), [1, 50]);
    assert!(in_flight.await.unwrap());
    // A late fault of the removed endpoint says nothing about the one in its place.
    changes.send(Ok(Change::Insert(0))).unwrap();
    upstream.calls(10).await;
    assert_eq!(upstream.endpoints.list().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn an_error_of_the_discovery_keeps_the_endpoints() {
    let (upstream, changes) = changing(2);
    changes.send(Ok(Change::Insert(0))).unwrap();
    upstream.calls(10).await;
    changes.send(Err("the registry is down".into())).unwrap();
    assert_eq!(upstream.calls(10).await, 10);
    drop(changes);
    assert_eq!(upstream.calls(10).await, 10);
}

#[tokio::test(start_paused = true)]
async fn thousands_of_addresses_wait_for_a_place() {
    let (upstream, changes) = changing(2000);
    (0..2000).for_each(|address| changes.send(Ok(Change::Insert(address))).unwrap());
    upstream.calls(50).await;
    assert_eq!(upstream.endpoints.list().len(), 64);
    (0..1990).for_each(|address| changes.send(Ok(Change::Remove(address))).unwrap());
    // Tokio lets a task take 128 messages at a time.
    upstream.calls(50).await;
    assert_eq!(upstream.endpoints.list().len(), 10);
    assert_eq!(upstream.calls(10).await, 10);
}

#[tokio::test(start_paused = true)]
async fn a_stream_of_changes_without_end_blocks_no_call() {
    let mut number = 0;
    let endless = stream::poll_fn(move |_| {
        number += 1;
        let news = if number == 5000 { Ok(Change::Insert(0)) } else { Err(BoxError::from("again")) };
        Poll::Ready(Some(news))
    });
    let upstream = Upstream::discovered(1, endless, |builder| builder);
    let call = async { upstream.calls(10).await };
    assert_eq!(tokio::time::timeout(10_000 * MS, call).await, Ok(10));
}

#[tokio::test(start_paused = true)]
async fn a_call_waits_for_the_first_address() {
    let (upstream, changes) = changing(1);
    let call = |deadline: Duration| {
        let service = upstream.service();
        let mut request = get();
        let options = steadfast::CallOptions::new().deadline(Instant::now() + deadline);
        request.extensions_mut().insert(options);
        tokio::spawn(async move { send(&service, request).await.map(|response| response.status()) })
    };
    let (short, long) = (call(50 * MS), call(1000 * MS));
    sleep(100 * MS).await;
    changes.send(Ok(Change::Insert(0))).unwrap();
    let error = short.await.unwrap().unwrap_err();
    assert!(error.is_total_timeout() && !error.maybe_sent() && error.attempts() == 0);
    assert_eq!(long.await.unwrap().unwrap(), 200);
}

#[tokio::test(start_paused = true)]
async fn a_discovery_that_ends_without_an_address_refuses_calls() {
    let none = stream::empty::<Result<Change<usize>, Infallible>>();
    let upstream = Upstream::discovered(0, none.map(|never| never), |builder| builder);
    let error = send(&upstream.stack(None), get()).await.map(drop).unwrap_err();
    assert_eq!((error.kind(), error.attempts(), error.maybe_sent()), (ErrorKind::NoEndpoint, 0, false));
    assert_eq!(error.to_string(), "sku: no endpoint known (0 attempts)");
}

#[tokio::test(start_paused = true)]
async fn endpoints_beyond_the_bound_wait_for_a_place() {
    let (changes, mut receiver) = unbounded_channel::<News>();
    let changing = stream::poll_fn(move |cx| receiver.poll_recv(cx));
    let upstream = Upstream::discovered(4, changing, |builder| builder.max_endpoints(2));
    (0..4).for_each(|address| changes.send(Ok(Change::Insert(address))).unwrap());
    upstream.calls(100).await;
    let requests = upstream.requests();
    assert!(requests[0] > 0 && requests[1] > 0 && requests[2..] == [0, 0], "{requests:?}");
    changes.send(Ok(Change::Remove(2))).unwrap();
    changes.send(Ok(Change::Remove(0))).unwrap();
    upstream.calls(100).await;
    let requests = upstream.requests();
    assert!(requests[0] == 0 && requests[1] > 0 && requests[2] == 0 && requests[3] > 0, "{requests:?}");
}
