//! No caller is served the answer of another. Each answer names the caller in its body, so that a mix-up shows.

use std::io;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Request, Response};
use http_body_util::{BodyExt as _, Full};
use rand::rngs::SmallRng;
use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};
use steadfast::Error;
use steadfast::last_known_good::{LastKnownGood, LastKnownGoodBuilder, LastKnownGoodLayer, Stale};
use steadfast::stores::MemoryStore;
use tower::{Layer as _, ServiceExt as _};

use crate::heads::{LANGUAGES, TENANTS};

const STEPS: usize = 100_000;
const URIS: [&str; 4] = [
    "http://sku.internal/a",
    "http://sku.internal/a?b",
    "http://other.internal/a",
    "http://127.0.0.1:4140/a",
];
const HOSTS: [&str; 3] = ["", "one.internal", "two.internal"];
const CREDENTIALS: [&str; 5] = ["authorization", "cookie", "x-api-key", "x-user", "a user in the URI"];

/// The state of the upstream.
struct Upstream {
    is_down: AtomicBool,
    /// The version of all resources, which each change increments.
    version: AtomicUsize,
    rng: Mutex<SmallRng>,
}

impl Upstream {
    fn answer(&self, request: &Request<String>) -> Result<Response<Full<Bytes>>, Error<io::Error>> {
        if request.method() == "DELETE" {
            self.version.fetch_add(1, Ordering::Relaxed);
            return Ok(Response::default());
        }
        if self.is_down.load(Ordering::Relaxed) {
            return Err(Error::from_upstream(io::ErrorKind::ConnectionRefused.into()));
        }
        let rng = &mut *self.rng.lock().unwrap();
        let vary =
            *["", "", "Accept-Language", "x-tenant, accept-language", "authorization"].choose(rng).unwrap();
        let cache_control =
            *["public", "public, max-age=60", "", "", "stale-if-error=600", "private"].choose(rng).unwrap();
        let version = self.version.load(Ordering::Relaxed);
        let response = Response::builder().header("vary", vary).header("cache-control", cache_control);
        Ok(response
            .header("x-version", version)
            .body(Full::new(caller_and_variant(request, vary).into()))
            .unwrap())
    }
}

/// The caller and the variant that an answer with this `Vary` is for.
fn caller_and_variant(request: &Request<String>, vary: &str) -> String {
    let names: Vec<_> = vary.split(", ").map(str::to_lowercase).collect();
    let counts = |name: &str, value: &HeaderValue| {
        value.is_sensitive()
            || name == "host"
            || CREDENTIALS.contains(&name)
            || names.iter().any(|it| it == name)
    };
    let mut lines: Vec<_> =
        request.headers().iter().filter(|(name, value)| counts(name.as_str(), value)).collect();
    lines.sort_by_key(|(name, _)| name.as_str());
    let lines: Vec<_> = lines.iter().map(|(name, value)| (name.as_str(), value.as_bytes())).collect();
    format!("{} {} {lines:?}", request.method(), request.uri())
}

/// A random request of one of 40 callers.
fn request(rng: &mut SmallRng) -> Request<String> {
    let caller: u32 = if rng.random_bool(0.3) { 0 } else { rng.random_range(0..40) };
    let kind = CREDENTIALS[caller as usize % CREDENTIALS.len()];
    let mut uri = (*URIS.choose(rng).unwrap()).to_owned();
    if caller > 0 && kind == CREDENTIALS[4] {
        uri = uri.replacen("://", &format!("://user{caller}@"), 1);
    }
    let method = ["GET", "GET", "GET", "HEAD"].choose(rng).unwrap();
    let mut request = Request::builder().method(*method).uri(uri).body(String::new()).unwrap();
    let mut add = |name: &'static str, value: String, is_sensitive: bool| {
        let mut value = HeaderValue::try_from(value).unwrap();
        value.set_sensitive(is_sensitive);
        request.headers_mut().append(HeaderName::from_static(name), value);
    };
    let host = HOSTS.choose(rng).unwrap();
    if !host.is_empty() {
        add("host", (*host).to_owned(), false);
    }
    if caller > 0 && kind != CREDENTIALS[4] {
        add(kind, format!("user{caller}"), rng.random());
    }
    for language in LANGUAGES[rng.random_range(0..LANGUAGES.len())] {
        add("accept-language", (*language).to_owned(), false);
    }
    let is_sensitive = rng.random_bool(0.1);
    for tenant in TENANTS[rng.random_range(0..TENANTS.len())] {
        add("x-tenant", (*tenant).to_owned(), is_sensitive);
    }
    request
}

/// Makes random calls to two replicas. Returns the number of stale responses. `must_be_current` if all responses must
/// have the current version, because each replica learns of every change.
async fn call_replicas(must_be_current: bool, replicas: [LastKnownGoodBuilder; 2]) -> usize {
    let state = Arc::new(Upstream {
        is_down: AtomicBool::new(false),
        version: AtomicUsize::new(0),
        rng: Mutex::new(SmallRng::seed_from_u64(1)),
    });
    let services = replicas.map(|builder| {
        let cache = builder.private_header(HeaderName::from_static("x-user")).build().unwrap();
        let state = Arc::clone(&state);
        let upstream = tower::service_fn(move |request| std::future::ready(state.answer(&request)));
        (LastKnownGoodLayer::new(cache.clone()).layer(upstream), cache)
    });
    let rng = &mut SmallRng::seed_from_u64(2);
    let (mut served, mut most_bytes) = (0, 0);
    for step in 0..STEPS {
        match rng.random_range(0..100) {
            0..4 => _ = state.is_down.fetch_xor(true, Ordering::Relaxed),
            4..14 => tokio::time::advance(Duration::from_millis(rng.random_range(0..20_000))).await,
            14 if rng.random_ratio(1, 10) => {
                // Each resource changes, through each replica.
                for (uri, host) in URIS.iter().flat_map(|uri| HOSTS.map(|host| (uri, host))) {
                    for (service, _) in &services {
                        let mut delete = Request::delete(*uri).body(String::new()).unwrap();
                        if !host.is_empty() {
                            delete.headers_mut().insert("host", HeaderValue::from_static(host));
                        }
                        service.clone().oneshot(delete).await.unwrap();
                    }
                }
            }
            _ => {
                let (service, cache) = services.choose(rng).unwrap();
                let request = request(rng);
                let mut copy = Request::builder()
                    .method(request.method())
                    .uri(request.uri())
                    .body(String::new())
                    .unwrap();
                copy.headers_mut().clone_from(request.headers());
                let Ok(response) = service.clone().oneshot(copy).await else { continue };
                let is_stale = response.extensions().get::<Stale>().is_some();
                let (head, body) = response.into_parts();
                let body = body.collect().await.unwrap().to_bytes();
                let vary = head.headers["vary"].to_str().unwrap();
                assert_eq!(body, caller_and_variant(&request, vary), "step {step}: {request:?}");
                let version: usize = head.headers["x-version"].to_str().unwrap().parse().unwrap();
                assert!(
                    !must_be_current || version == state.version.load(Ordering::Relaxed),
                    "step {step}: {request:?}"
                );
                served += usize::from(is_stale);
                most_bytes = most_bytes.max(cache.bytes());
            }
        }
    }
    // The cache was full, so that entries were evicted.
    assert!((MAX_BYTES - 1024..=MAX_BYTES).contains(&most_bytes), "{most_bytes}");
    served
}

const MAX_BYTES: u64 = 16 * 1024;

fn small() -> LastKnownGoodBuilder {
    LastKnownGood::builder().max_bytes(MAX_BYTES).renew_after(Duration::from_secs(1))
}

fn store() -> MemoryStore {
    MemoryStore::new(2 * MAX_BYTES).unwrap()
}

#[tokio::test(start_paused = true)]
async fn no_caller_is_served_the_answer_of_another() {
    let served = call_replicas(true, [small().seed(1), small().seed(2)]).await;
    assert!(served > 1000, "{served}");
}

#[tokio::test(start_paused = true)]
async fn no_caller_is_served_the_answer_of_another_by_a_replica_with_the_same_key() {
    let store = store();
    let served =
        call_replicas(false, [1, 2].map(|seed| small().store(store.clone()).digest_key([7; 32]).seed(seed)))
            .await;
    assert!(served > 1000, "{served}");
}

#[tokio::test(start_paused = true)]
async fn no_caller_is_served_the_answer_of_another_by_a_replica_with_a_key_of_its_own() {
    let store = store();
    let served = call_replicas(false, [1, 2].map(|seed| small().store(store.clone()).seed(seed))).await;
    assert!(served > 1000, "{served}");
}
