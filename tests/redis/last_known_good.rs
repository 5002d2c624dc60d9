//! Last-known-good caches over a store in Redis, as the replicas of a service have them.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use http::{Request, Response};
use http_body_util::{BodyExt as _, Full};
use steadfast::last_known_good::{LastKnownGood, LastKnownGoodLayer, Stale};
use tower::{Layer as _, ServiceExt as _, service_fn};

use super::*;
use crate::server::server;

/// A replica with a cache of its own, and an upstream that can be down.
struct Replica {
    cache: LastKnownGood,
    is_down: Arc<AtomicBool>,
}

impl Replica {
    fn new(store: RedisStore) -> Self {
        let cache = LastKnownGood::builder()
            .store(store)
            .store_timeout(Duration::from_secs(10))
            .renew_after(Duration::ZERO);
        Self { cache: cache.build().unwrap(), is_down: Arc::default() }
    }

    /// The body that a caller gets, and whether the response is stale. `None` if the call fails.
    async fn call(&self, method: &str) -> Option<(Bytes, bool)> {
        let is_down = Arc::clone(&self.is_down);
        let upstream = service_fn(move |_: Request<String>| {
            let answer = if is_down.load(Ordering::Relaxed) {
                Err(Error::from_upstream(io::Error::from(io::ErrorKind::ConnectionRefused)))
            } else {
                Ok(Response::new(Full::new(value("good"))))
            };
            std::future::ready(answer)
        });
        let request = Request::builder().method(method).uri("http://sku.internal/v1/items/42");
        let service = LastKnownGoodLayer::new(self.cache.clone()).layer(upstream);
        let response = service.oneshot(request.body(String::new()).unwrap()).await.ok()?;
        let is_stale = response.extensions().get::<Stale>().is_some();
        Some((response.into_body().collect().await.unwrap().to_bytes(), is_stale))
    }

    fn goes_down(&self) {
        self.is_down.store(true, Ordering::Relaxed);
    }
}

#[tokio::test]
async fn a_replica_serves_the_entry_of_another_replica() {
    let Some(server) = server().await else { return };
    let replica = || Replica::new(patient(server.url()).build().unwrap());
    let (one, other) = (replica(), replica());
    other.goes_down();
    assert_eq!(other.call("GET").await, None);
    assert_eq!(one.call("GET").await, Some((value("good"), false)));
    assert_eq!(other.call("GET").await, Some((value("good"), true)));
    // An invalidation by one replica holds for all replicas.
    assert_eq!(one.call("DELETE").await, Some((value("good"), false)));
    assert_eq!(other.call("GET").await, None);
}

#[tokio::test]
async fn a_redis_that_is_killed_fails_no_call_and_takes_nothing_from_memory() {
    let Some(mut server) = server().await else { return };
    let replica = Replica::new(RedisStore::builder(server.url()).build().unwrap());
    assert_eq!(replica.call("GET").await, Some((value("good"), false)));
    server.kill();
    assert_eq!(replica.call("GET").await, Some((value("good"), false)));
    replica.goes_down();
    assert_eq!(replica.call("GET").await, Some((value("good"), true)));
    assert!(replica.cache.store_failures() > 0);
}
