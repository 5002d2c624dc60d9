//! The last-known-good cache of the client, through real sockets.
#![cfg(feature = "reqwest")]

mod server;

use std::future::IntoFuture as _;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use server::{Reply, Server, message};
use steadfast::last_known_good::{Cause, LastKnownGood, PrefetchLayer, Store};
use steadfast::stores::MemoryStore;
use steadfast::{BoxError, Client, ClientBuilder, RequestBuilder, ResponseExt as _};
use tokio::sync::Notify;
use tokio::time::timeout;

fn builder(cache: &LastKnownGood) -> ClientBuilder {
    Client::builder().without_retry().last_known_good(cache.clone())
}

fn client(cache: &LastKnownGood) -> Client {
    builder(cache).build().unwrap()
}

/// The body that a caller gets, and the cause if the response is stale. `None` if the call fails.
async fn send(request: RequestBuilder) -> Option<(String, Option<Cause>)> {
    let response = request.send().await.ok()?;
    let cause = response.stale().map(|stale| stale.cause);
    Some((response.text().await.unwrap(), cause))
}

fn fresh(body: &str) -> (String, Option<Cause>) {
    (body.to_owned(), None)
}

fn stale(body: &str, cause: Cause) -> (String, Option<Cause>) {
    (body.to_owned(), Some(cause))
}

#[tokio::test]
async fn each_caller_is_served_their_own_stale_response() {
    let mut server = Server::new([Reply::ok("alice's"), Reply::ok("bob's"), Reply::ok("everybody's")]);
    let client = client(&LastKnownGood::default());
    let url = server.url("/me");
    let (alice, bob) =
        (|| client.get(&url).bearer_auth("alice"), || client.get(&url).basic_auth("bob", Some("b")));
    assert_eq!(send(alice()).await, Some(fresh("alice's")));
    assert_eq!(send(bob()).await, Some(fresh("bob's")));
    assert_eq!(send(client.get(&url)).await, Some(fresh("everybody's")));
    server.stop().await;
    assert_eq!(send(alice()).await, Some(stale("alice's", Cause::Transport)));
    assert_eq!(send(bob()).await, Some(stale("bob's", Cause::Transport)));
    assert_eq!(send(client.get(&url)).await, Some(stale("everybody's", Cause::Transport)));
    assert_eq!(send(client.get(&url).bearer_auth("carol")).await, None);
    // The same credentials, which reqwest takes from the URI.
    let in_uri = url.replace("http://", "http://bob:b@");
    assert_eq!(send(client.get(in_uri)).await, Some(stale("bob's", Cause::Transport)));
}

#[tokio::test]
async fn a_slow_call_is_answered_stale_and_its_late_answer_is_stored() {
    let gate = Arc::new(Notify::new());
    let late = Reply::Gate(Vec::new(), Arc::clone(&gate), message(200, &[], 6, b"better"));
    let server = Server::new([Reply::ok("good"), late, Reply::closed()]);
    let cache = LastKnownGood::builder().serve_stale_after(Duration::from_millis(20));
    let client = Client::builder().without_retry().last_known_good(cache).build().unwrap();
    let url = server.url("/");
    assert_eq!(send(client.get(&url)).await, Some(fresh("good")));
    assert_eq!(send(client.get(&url)).await, Some(stale("good", Cause::Slow)));
    gate.notify_one();
    let kept = async { while send(client.get(&url)).await != Some(stale("better", Cause::Transport)) {} };
    timeout(Duration::from_secs(30), kept).await.expect("the late answer is kept");
}

#[tokio::test]
async fn the_entries_of_a_store_outlive_the_client() {
    let mut server = Server::new([Reply::status(200, &[("etag", "\"1\"")], "good")]);
    let store = MemoryStore::new(1024 * 1024).unwrap();
    let cache = || LastKnownGood::builder().store(store.clone()).build().unwrap();
    assert_eq!(send(client(&cache()).get(server.url("/"))).await, Some(fresh("good")));
    server.stop().await;
    let next = client(&cache());
    let response = next.get(server.url("/")).send().await.unwrap();
    assert_eq!((response.status().as_u16(), response.url().as_str()), (200, server.url("/").as_str()));
    assert_eq!(response.headers()["etag"], "\"1\"");
    assert!(response.headers().contains_key("age") && response.headers().contains_key("cache-status"));
    assert_eq!(response.text().await.unwrap(), "good");
}

#[tokio::test]
async fn a_304_to_a_conditional_request_renews_the_entry() {
    let headers = |stale_if_error| [("etag", "\"1\""), ("cache-control", stale_if_error)];
    let not_modified = Reply::Answer(
        b"HTTP/1.1 304 Not Modified\r\netag: \"1\"\r\ncache-control: stale-if-error=1000\r\n\r\n".to_vec(),
    );
    let server = Server::new([Reply::status(200, &headers("stale-if-error=100"), "good"), not_modified]);
    let cache = LastKnownGood::default();
    let client = client(&cache);
    assert_eq!(send(client.get(server.url("/"))).await, Some(fresh("good")));
    let left = || cache.entries()[0].left.as_secs();
    assert!(left() < 100);
    let response = client.get(server.url("/")).header("if-none-match", "\"1\"").send().await.unwrap();
    assert_eq!((response.status().as_u16(), response.stale()), (304, None));
    assert!((900..1000).contains(&left()));
}

#[tokio::test]
async fn an_inserted_entry_is_served_stale_until_it_is_invalidated() {
    let server = Server::absent();
    let client = client(&LastKnownGood::default());
    let (url, cache) = (server.url("/items/42"), client.last_known_good().unwrap());
    assert_eq!(send(client.get(&url)).await, None);
    let uri: http::Uri = url.parse().unwrap();
    cache.insert(&uri, http::Response::new(Bytes::from_static(b"pushed"))).await.unwrap();
    assert_eq!(send(client.get(&url)).await, Some(stale("pushed", Cause::Transport)));
    cache.invalidate(&uri).await;
    assert_eq!(send(client.get(&url)).await, None);
}

#[tokio::test]
async fn a_uri_called_once_is_prefetched() {
    let server = Server::new([Reply::ok("good")]);
    let client = Client::builder()
        .last_known_good(LastKnownGood::builder())
        .prefetch(PrefetchLayer::builder().every(Duration::from_secs(1)))
        .build()
        .unwrap();
    assert_eq!(send(client.get(server.url("/")).header("accept", "text/html")).await, Some(fresh("good")));
    assert_eq!(client.prefetched_uris(), [server.url("/")]);
    server.has_received(2).await;
    assert_eq!(server.last().header("accept"), Some("text/html"));
}

/// A store whose operations take several polls.
struct Later(MemoryStore);

impl Store for Later {
    async fn get(&self, key: &str) -> Result<Option<Bytes>, BoxError> {
        tokio::task::yield_now().await;
        self.0.get(key).await
    }

    async fn put(&self, key: &str, value: Bytes, keep_for: Duration) -> Result<(), BoxError> {
        for _ in 0..10 {
            tokio::task::yield_now().await;
        }
        self.0.put(key, value, keep_for).await
    }
}

/// A server drops a body once the stated length is written.
#[tokio::test]
async fn responses_forwarded_by_a_server_are_written_to_the_store() {
    let answers = [
        Reply::ok("of a stated length"),
        Reply::chunked(200, &[b"of ", b"none"]),
        Reply::status(204, &[], ""),
    ];
    let mut upstream = Server::new(answers);
    let store = MemoryStore::new(1024 * 1024).unwrap();
    let cache = || LastKnownGood::builder().store(Later(store.clone())).build().unwrap();
    let (client_of_proxy, url) = (client(&cache()), upstream.url(""));
    let proxy = axum::Router::new().fallback(async move |uri: http::Uri| {
        let answer = client_of_proxy.get(format!("{url}{uri}")).send().await.unwrap();
        http::Response::from(answer).map(axum::body::Body::new)
    });
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let proxy_url = format!("http://{}", listener.local_addr().unwrap());
    let serving = tokio::spawn(axum::serve(listener, proxy).into_future());
    for path in ["/a", "/b", "/c"] {
        reqwest::get(format!("{proxy_url}{path}")).await.unwrap().bytes().await.unwrap();
    }
    upstream.stop().await;
    let next = client(&cache());
    for (path, body) in [("/a", "of a stated length"), ("/b", "of none"), ("/c", "")] {
        assert_eq!(
            send(next.get(upstream.url(path))).await,
            Some((body.to_owned(), Some(Cause::Transport))),
            "{path}"
        );
    }
    serving.abort();
}
