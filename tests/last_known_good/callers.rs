//! No caller can get the answer of another, whatever their requests look like.

use std::collections::BTreeMap;

use http::{HeaderName, HeaderValue};
use steadfast::last_known_good::Store;
use steadfast::stores::MemoryStore;

use super::*;

/// A request: method and URI, and headers. A `!` before a header name marks the value as sensitive.
type RequestSpec = (&'static str, &'static [(&'static str, &'static [u8])]);

/// Requests of which no two may share an entry.
const DISTINCT_REQUESTS: [RequestSpec; 74] = [
    ("GET http://sku.internal/", &[]),
    ("HEAD http://sku.internal/", &[]),
    // Different credentials, and the same credential in different headers.
    ("GET http://sku.internal/", &[("authorization", b"alice")]),
    ("HEAD http://sku.internal/", &[("authorization", b"alice")]),
    ("GET http://sku.internal/", &[("authorization", b"bob")]),
    ("GET http://sku.internal/", &[("authorization", b"Alice")]),
    ("GET http://sku.internal/", &[("authorization", b"alice ")]),
    ("GET http://sku.internal/", &[("authorization", b"\talice")]),
    ("GET http://sku.internal/", &[("authorization", b"alice\xff")]),
    ("GET http://sku.internal/", &[("authorization", b"")]),
    ("GET http://sku.internal/", &[("proxy-authorization", b"alice")]),
    ("GET http://sku.internal/", &[("proxy-authorization", b"")]),
    ("GET http://sku.internal/", &[("cookie", b"alice")]),
    ("GET http://sku.internal/", &[("x-api-key", b"alice")]),
    ("GET http://sku.internal/", &[("api-key", b"alice")]),
    ("GET http://sku.internal/", &[("x-user", b"alice")]),
    ("GET http://sku.internal/", &[("x-user", b"")]),
    ("GET http://sku.internal/", &[("!x-tenant", b"alice")]),
    ("GET http://sku.internal/", &[("!x-tenant", b"")]),
    ("GET http://sku.internal/", &[("!x-other", b"alice")]),
    // Several credentials, and the boundaries between them.
    ("GET http://sku.internal/", &[("authorization", b"alice"), ("authorization", b"alice")]),
    ("GET http://sku.internal/", &[("authorization", b"alice"), ("authorization", b"")]),
    ("GET http://sku.internal/", &[("authorization", b"alice"), ("authorization", b"bob")]),
    ("GET http://sku.internal/", &[("authorization", b"bob"), ("authorization", b"alice")]),
    ("GET http://sku.internal/", &[("authorization", b"alice, bob")]),
    ("GET http://sku.internal/", &[("authorization", b"alice,bob")]),
    ("GET http://sku.internal/", &[("authorization", b"alice"), ("cookie", b"bob")]),
    ("GET http://sku.internal/", &[("authorization", b"bob"), ("cookie", b"alice")]),
    ("GET http://sku.internal/", &[("authorization", b"alicecookie"), ("cookie", b"bob")]),
    ("GET http://sku.internal/", &[("authorization", b"alicecookiebob")]),
    ("GET http://sku.internal/", &[("authorization", b"alice"), ("cookie", b"")]),
    ("GET http://sku.internal/", &[("authorization", b"alice"), ("x-user", b"bob")]),
    ("GET http://sku.internal/", &[("authorization", b"alice"), ("!x-tenant", b"bob")]),
    ("GET http://sku.internal/", &[("cookie", b"a=1; b=2")]),
    ("GET http://sku.internal/", &[("cookie", b"a=1;b=2")]),
    ("GET http://sku.internal/", &[("cookie", b"b=2; a=1")]),
    ("GET http://sku.internal/", &[("cookie", b"a=1"), ("cookie", b"b=2")]),
    ("GET http://sku.internal/", &[("cookie", b"b=2"), ("cookie", b"a=1")]),
    ("GET http://sku.internal/", &[("cookie", b"a=1"), ("cookie", b"b=2"), ("cookie", b"")]),
    // A user in the URI.
    ("GET http://alice@sku.internal/", &[]),
    ("HEAD http://alice@sku.internal/", &[]),
    ("GET http://ALICE@sku.internal/", &[]),
    ("GET http://%61lice@sku.internal/", &[]),
    ("GET http://alice:@sku.internal/", &[]),
    ("GET http://alice:pw@sku.internal/", &[]),
    ("GET http://alice%3Apw@sku.internal/", &[]),
    ("GET http://bob@sku.internal/", &[]),
    ("GET http://alice@sku.internal/", &[("authorization", b"alice")]),
    ("GET http://sku.internal/", &[("authorization", b"Basic YWxpY2U6cHc=")]),
    // Other URIs.
    ("GET http://sku.internal/?", &[]),
    ("GET http://sku.internal/?a", &[]),
    ("GET http://sku.internal/A", &[]),
    ("GET http://sku.internal/a", &[]),
    ("GET http://sku.internal/%61", &[]),
    ("GET http://sku.internal//", &[]),
    ("GET http://sku.internal/a%3Fa", &[]),
    ("GET http://sku.internal/alice@sku.internal/", &[]),
    ("GET http://sku.internal:81/", &[]),
    ("GET http://sku.internal./", &[]),
    ("GET https://sku.internal/", &[]),
    ("GET http://sku/", &[]),
    // Other virtual hosts at the same URI.
    ("GET http://sku.internal/", &[("host", b"one")]),
    ("GET http://sku.internal/", &[("host", b"one.")]),
    ("GET http://sku.internal/", &[("host", b"one:81")]),
    ("GET http://sku.internal/", &[("host", b"two")]),
    ("GET http://sku.internal/", &[("host", b"sku.internal.")]),
    ("GET http://sku.internal/", &[("host", b"sku.internal:81")]),
    ("GET http://sku.internal/", &[("host", b"a")]),
    ("GET http://sku.internal/", &[("host", b"one"), ("authorization", b"alice")]),
    ("GET http://sku.internal/o", &[("host", b"ne")]),
    ("GET http://sku.internal/one", &[]),
    ("GET /", &[]),
    ("GET /", &[("host", b"one")]),
    ("GET /", &[("host", b"sku.internal")]),
];

fn request_of((line, headers): RequestSpec) -> Request<String> {
    let (method, uri) = line.split_once(' ').unwrap();
    let mut request = Request::builder().method(method).uri(uri).body(String::new()).unwrap();
    for (name, value) in headers {
        let mut value = HeaderValue::from_bytes(value).unwrap();
        value.set_sensitive(name.starts_with('!'));
        request.headers_mut().append(name.trim_start_matches('!'), value);
    }
    request
}

fn builder() -> LastKnownGoodBuilder {
    LastKnownGood::builder().private_header(HeaderName::from_static("x-user")).renew_after(Duration::ZERO)
}

fn service_of(builder: LastKnownGoodBuilder) -> (Upstream, Layered) {
    service(&LastKnownGoodLayer::new(builder.build().unwrap()))
}

/// Two replicas that share a store, with these digest keys for credentials.
fn replicas(keys: [Option<[u8; 32]>; 2]) -> [(Upstream, Layered); 2] {
    let store = MemoryStore::new(1 << 20).unwrap();
    keys.map(|key| {
        let builder = builder().store(store.clone());
        service_of(if let Some(key) = key { builder.digest_key(key) } else { builder })
    })
}

const PUBLIC: &[(&str, &str)] = &[("cache-control", "public, max-age=60")];
const VARYING: &[(&str, &str)] = &[("vary", "Authorization, X-User, Cookie, X-Tenant, Host")];

#[tokio::test(start_paused = true)]
async fn distinct_requests_share_no_entry() {
    let same_key = Some([7; 32]);
    for headers in [&[][..], PUBLIC, VARYING, &[("cache-control", "private")]] {
        for (at, one) in DISTINCT_REQUESTS.into_iter().enumerate() {
            let alone = service_of(builder());
            let [first, second] = replicas([same_key; 2]);
            for both in [&alone, &first] {
                give(both, request_of(one), good(headers)).await;
            }
            for (other_at, other) in
                DISTINCT_REQUESTS.into_iter().enumerate().filter(|(other, _)| *other != at)
            {
                for both in [&alone, &first, &second] {
                    let got = stale(both, request_of(other)).await;
                    assert!(got.is_none(), "{other_at} {other:?} got what was for {at} {one:?}, {headers:?}");
                }
            }
            if headers != [("cache-control", "private")] {
                assert!(
                    stale(&second, request_of(one)).await.is_some(),
                    "{at} {one:?} is known, {headers:?}"
                );
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn equivalent_requests_share_an_entry() {
    let same: [(RequestSpec, RequestSpec); 5] = [
        (
            ("GET http://sku.internal/", &[("Authorization", b"alice"), ("cookie", b"a=1")]),
            ("GET HTTP://SKU.internal:80/", &[("COOKIE", b"a=1"), ("AUTHORIZATION", b"alice")]),
        ),
        (("GET http://sku.internal/", &[]), ("GET http://sku.internal/", &[("host", b"SKU.internal:80")])),
        (
            ("GET http://sku.internal/", &[("host", b"one")]),
            ("GET http://sku.internal/", &[("Host", b"ONE")]),
        ),
        (("GET http://alice@sku.internal/", &[]), ("GET http://alice@SKU.internal/", &[])),
        (
            ("GET http://sku.internal/", &[("authorization", b"alice")]),
            ("GET http://sku.internal/", &[("!authorization", b"alice")]),
        ),
    ];
    for (one, other) in same {
        let both = service_of(builder());
        give(&both, request_of(one), good(&[])).await;
        assert!(stale(&both, request_of(other)).await.is_some(), "{one:?} {other:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn replicas_with_different_digest_keys_share_no_answers_to_credentials() {
    let alice = || request("GET", &[("authorization", "alice")]);
    for keys in [[Some([1; 32]), Some([2; 32])], [Some([1; 32]), None], [None, Some([1; 32])], [None, None]] {
        let [one, other] = replicas(keys);
        give(&one, alice(), good(PUBLIC)).await;
        assert!(stale(&other, alice()).await.is_none(), "{keys:?}");
        // Answers to requests without credentials are shared.
        give(&one, get(), good(PUBLIC)).await;
        assert!(stale(&other, get()).await.is_some(), "{keys:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn vary_compares_the_lines_of_a_header_exactly() {
    let lines: [&[(&str, &str)]; 9] = [
        &[],
        &[("x-tenant", "")],
        &[("x-tenant", "a")],
        &[("x-tenant", "A")],
        &[("x-tenant", "a ")],
        &[("x-tenant", "a, b")],
        &[("x-tenant", "a,b")],
        &[("x-tenant", "a"), ("x-tenant", "b")],
        &[("x-tenant", "b"), ("x-tenant", "a")],
    ];
    for vary in [&[("vary", "x-tenant")][..], &[("vary", "X-Tenant , accept"), ("vary", "x-tenant")]] {
        for (at, one) in lines.iter().enumerate() {
            let both = service_of(builder());
            give(&both, request("GET", one), good(vary)).await;
            for (other, headers) in lines.iter().enumerate() {
                assert_eq!(
                    stale(&both, request("GET", headers)).await.is_some(),
                    at == other,
                    "{at} {other}"
                );
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_304_to_one_caller_does_not_renew_the_entry_of_another() {
    let of = |name: &'static str| request("GET", &[("authorization", name)]);
    let both = service_of(builder());
    for name in ["alice", "bob"] {
        give(&both, of(name), good(&[("etag", "\"1\"")])).await;
    }
    advance(MINUTE).await;
    give(&both, of("alice"), answer(304, &[("etag", "\"1\""), ("x-for", "alice")], "")).await;
    for (name, age) in [("alice", Duration::ZERO), ("bob", MINUTE)] {
        let response = ask(&both.1, of(name)).await.unwrap();
        assert_eq!(response.extensions().get::<Stale>().unwrap().age, age, "{name}");
        assert_eq!(response.headers().contains_key("x-for"), name == "alice");
    }
}

// ===== invalidation across callers and hosts =====

const POISONED_LOCATIONS: [&str; 10] = [
    "http://sku.internal/v1/items/42",
    "http://sku.internal:80/v1/items/42",
    "HTTP://SKU.INTERNAL/v1/items/42",
    "//sku.internal/v1/items/42",
    "///sku.internal/v1/items/42",
    "\\\\sku.internal/v1/items/42",
    "http://evil.internal@sku.internal/v1/items/42",
    "http:/v1/items/42",
    "/v1/items/42",
    "/v1/../v1/items/42#x",
];

#[tokio::test(start_paused = true)]
async fn an_answer_of_one_origin_removes_nothing_of_another() {
    for name in ["location", "content-location"] {
        for to in POISONED_LOCATIONS {
            for evil in [
                "http://evil.internal/",
                "https://sku.internal/",
                "http://sku.internal:81/",
                "http://sku.internal@evil.internal/",
            ] {
                let both = service_of(builder());
                let bob = || request("GET", &[("authorization", "bob")]);
                give(&both, bob(), good(&[])).await;
                let post = Request::post(evil).body(String::new()).unwrap();
                give(&both, post, answer(201, &[(name, to)], "")).await;
                assert!(stale(&both, bob()).await.is_some(), "{evil} {name}: {to}");
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn an_answer_of_one_host_behind_a_proxy_removes_nothing_of_another() {
    let to = |method: &'static str, host: &'static str, path: &str| {
        let request = Request::builder().method(method).uri(format!("http://127.0.0.1:4140{path}"));
        request.header("host", host).body(String::new()).unwrap()
    };
    for location in ["/x", "http://127.0.0.1:4140/x", "http://bank.internal/x", "//bank.internal/x"] {
        let both = service_of(builder());
        give(&both, to("GET", "bank.internal", "/x"), good(&[])).await;
        give(&both, to("POST", "evil.internal", "/"), answer(201, &[("location", location)], "")).await;
        assert!(stale(&both, to("GET", "bank.internal", "/x")).await.is_some(), "{location}");
    }
}

// ===== the store =====

/// A store that records every key and value, and can return the value of another key.
#[derive(Debug, Clone, Default)]
struct Spy {
    values: Arc<Mutex<BTreeMap<String, Bytes>>>,
    /// Every key and value that the store was ever given.
    recorded: Arc<Mutex<Vec<u8>>>,
    /// The distance, in key order, from the requested key to the key whose value is returned.
    shift: Arc<Mutex<usize>>,
}

impl Store for Spy {
    async fn get(&self, key: &str) -> Result<Option<Bytes>, BoxError> {
        self.recorded.lock().unwrap().extend(key.as_bytes());
        let (values, shift) = (self.values.lock().unwrap(), *self.shift.lock().unwrap());
        let Some(at) = values.keys().position(|it| it == key) else { return Ok(None) };
        Ok(values.values().nth((at + shift) % values.len()).cloned())
    }

    async fn put(&self, key: &str, value: Bytes, _keep_for: Duration) -> Result<(), BoxError> {
        let mut recorded = self.recorded.lock().unwrap();
        recorded.extend(key.as_bytes());
        recorded.extend(&*value);
        self.values.lock().unwrap().insert(key.to_owned(), value);
        Ok(())
    }
}

#[tokio::test(start_paused = true)]
async fn a_store_that_mixes_up_its_values_gives_no_caller_the_answer_of_another() {
    let names = ["alice", "bob", "carol", "dave"];
    let of = |name: &'static str| request("GET", &[("authorization", name)]);
    let spy = Spy::default();
    let replica = || service_of(builder().store(spy.clone()).digest_key([7; 32]));
    let one = replica();
    for name in names {
        give(&one, of(name), answer(200, &[], name)).await;
    }
    give(&one, get(), answer(200, &[], "everybody")).await;
    for shift in 1..5 {
        *spy.shift.lock().unwrap() = shift;
        let other = replica();
        for name in names {
            assert_eq!(stale(&other, of(name)).await, None, "{name} {shift}");
        }
        assert_eq!(stale(&other, get()).await, None, "{shift}");
    }
    *spy.shift.lock().unwrap() = 0;
    assert_eq!(stale(&replica(), of("bob")).await.unwrap(), "bob");
}

#[tokio::test(start_paused = true)]
async fn no_credential_reaches_the_store_or_debug_output() {
    let spy = Spy::default();
    let builder = builder().store(spy.clone()).digest_key([0x5e; 32]);
    let builder_shown = format!("{builder:?}");
    let cache = builder.build().unwrap();
    let layer = LastKnownGoodLayer::new(cache.clone());
    let both = service(&layer);
    let secret = || {
        request_of((
            "GET http://hush-user:hush-password@sku.internal/",
            &[
                ("authorization", b"Bearer hush-token"),
                ("proxy-authorization", b"hush-proxy"),
                ("cookie", b"session=hush-cookie"),
                ("x-api-key", b"hush-key"),
                ("x-user", b"hush-private"),
                ("!x-tenant", b"hush-sensitive"),
                ("accept-language", b"de"),
            ],
        ))
    };
    let vary = "authorization, proxy-authorization, cookie, x-api-key, x-user, x-tenant, accept-language";
    let called = both.1.clone().call(secret());
    give(&both, secret(), good(&[("vary", vary)])).await;
    assert!(stale(&both, secret()).await.is_some());
    give(&both, secret(), answer(200, &[("etag", "\"1\""), ("vary", vary)], "better")).await;
    give(&both, secret(), answer(304, &[("etag", "\"1\"")], "")).await;
    let served = ask(&both.1, secret()).await.unwrap();
    cache.invalidate(&secret()).await;
    let refused = cache.insert(&secret(), Response::builder().status(500).body(Bytes::new()).unwrap()).await;
    cache.insert(&secret(), Response::new(Bytes::from("inserted"))).await.unwrap();
    let (entries, error) =
        (cache.entries(), ask(&both.1, request_of(("DELETE http://hush-user@x/", &[]))).await.err());
    let shown: [&dyn Debug; 8] = [&cache, &layer, &both.1, &served, &called, &entries, &refused, &error];
    let shown = format!("{shown:?} {builder_shown} {:?}", spy.values.lock().unwrap().keys());
    assert!(!shown.contains("hush") && !shown.contains("94, 94"), "{shown}");
    let recorded = spy.recorded.lock().unwrap();
    assert!(recorded.windows(2).any(|it| it == b"de"), "a value that is no credential is recorded");
    assert!(!recorded.windows(4).any(|it| it == b"hush"), "{}", String::from_utf8_lossy(&recorded));
}

// ===== Unusual headers =====

fn with_lines(uri: &str, name: &'static str, lines: &[(&[u8], bool)]) -> Request<String> {
    let mut request = Request::get(uri).body(String::new()).unwrap();
    for (value, is_sensitive) in lines {
        let mut value = HeaderValue::from_bytes(value).unwrap();
        value.set_sensitive(*is_sensitive);
        request.headers_mut().append(name, value);
    }
    request
}

#[tokio::test(start_paused = true)]
async fn a_host_that_is_no_text_is_another_host() {
    let of = |host: &'static [u8]| with_lines("http://127.0.0.1:4140/", "host", &[(host, false)]);
    for (one, other) in [(&b"bank\xff"[..], &b"evil\xff"[..]), (b"bank\xff", b"127.0.0.1:4140")] {
        let both = service(&layer());
        give(&both, of(one), answer(200, &[], "the bank's")).await;
        assert_eq!(stale(&both, of(other)).await, None, "{other:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_repeated_host_header_is_another_host() {
    let of = |hosts: &[(&[u8], bool)]| with_lines("http://127.0.0.1:4140/", "host", hosts);
    let both = service(&layer());
    give(&both, of(&[(b"one", false), (b"bank", false)]), answer(200, &[], "the bank's")).await;
    assert_eq!(stale(&both, of(&[(b"one", false)])).await, None);
    assert_eq!(stale(&both, of(&[(b"one", false), (b"evil", false)])).await, None);
}

#[tokio::test(start_paused = true)]
async fn the_order_of_lines_counts_where_some_are_sensitive() {
    let of = |lines: &[(&[u8], bool)]| with_lines(URI, "x-tenant", lines);
    let both = service(&layer());
    give(&both, of(&[(b"alice", true), (b"bob", false)]), good(&[("vary", "x-tenant")])).await;
    assert_eq!(stale(&both, of(&[(b"bob", false), (b"alice", true)])).await, None);
}

#[tokio::test(start_paused = true)]
async fn a_path_that_ends_like_a_host_is_another_resource() {
    let at = |method: &str, path: &str| {
        Request::builder().method(method).uri(format!("http://127.0.0.1:4140{path}"))
    };
    let bob = || {
        let request = at("GET", "/").header("host", "bank.internal").header("authorization", "bob");
        request.body(String::new()).unwrap()
    };
    let both = service(&layer());
    give(&both, bob(), good(&[])).await;
    give(&both, at("POST", "/bank.internal").body(String::new()).unwrap(), answer(200, &[], "")).await;
    assert!(stale(&both, bob()).await.is_some());
}
