//! Every event names its upstream, and the events of a call that was given up state the reason.
//!
//! The tests have a process of their own, because other tests have no subscriber. `tracing` decides whether an event
//! is enabled when the event first occurs, once for the whole process.

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::io::ErrorKind::{ConnectionRefused, ConnectionReset};
#[cfg(feature = "reqwest")]
use std::sync::atomic::AtomicBool;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, StatusCode, Uri};
use http_body_util::Empty;
use steadfast::bulkhead::{Bulkhead, BulkheadLayer};
use steadfast::circuit_breaker::{CircuitBreaker, CircuitBreakerLayer};
use steadfast::endpoints::{Change, EndpointState, Endpoints, EndpointsService, fixed};
use steadfast::http::HttpClassifier;
use steadfast::last_known_good::{LastKnownGood, LastKnownGoodLayer, Store};
use steadfast::retry::{RetryLayer, RetryPolicy};
use steadfast::{BoxError, Error, Outcome};
use tower::{Layer, ServiceBuilder, ServiceExt};

use support::{Upstream, fault, get, hang, post, send, status};

fn retry(name: &str) -> RetryLayer {
    RetryLayer::new(RetryPolicy::builder().seed(1).build().unwrap()).without_budget().name(name)
}

/// The collected fields of an event: message, upstream, and reason.
type EventFields = (String, Option<String>, Option<String>);

/// Collects every event of the crate.
struct Events(Arc<Mutex<Vec<EventFields>>>);

impl tracing::Subscriber for Events {
    fn enabled(&self, metadata: &tracing::Metadata<'_>) -> bool {
        metadata.target().starts_with("steadfast::")
    }

    fn event(&self, event: &tracing::Event<'_>) {
        #[derive(Default)]
        struct Fields(BTreeMap<&'static str, String>);
        impl tracing::field::Visit for Fields {
            fn record_debug(&mut self, field: &tracing::field::Field, value: &dyn std::fmt::Debug) {
                self.0.insert(field.name(), format!("{value:?}").trim_matches('"').to_owned());
            }
        }
        let mut fields = Fields::default();
        event.record(&mut fields);
        let mut field = |name| fields.0.remove(name);
        let collected = (field("message").unwrap(), field("upstream"), field("reason"));
        self.0.lock().unwrap().push(collected);
    }

    fn new_span(&self, _: &tracing::span::Attributes<'_>) -> tracing::span::Id {
        tracing::span::Id::from_u64(1)
    }
    fn record(&self, _: &tracing::span::Id, _: &tracing::span::Record<'_>) {}
    fn record_follows_from(&self, _: &tracing::span::Id, _: &tracing::span::Id) {}
    fn enter(&self, _: &tracing::span::Id) {}
    fn exit(&self, _: &tracing::span::Id) {}
}

#[tokio::test(start_paused = true)]
async fn every_event_names_its_upstream_and_each_call_that_ends_its_reason() {
    let events = Arc::default();
    let _guard = tracing::subscriber::set_default(Events(Arc::clone(&events)));
    let upstream = |answers: &[support::Answer]| Upstream::answering(answers.iter().cloned());

    let open = CircuitBreaker::builder().name("open").build().unwrap();
    open.force_open();
    let retry_above = retry("open").advised_by(open.clone());
    let service = ServiceBuilder::new().layer(retry_above).layer(CircuitBreakerLayer::new(open));
    send(&service.service(upstream(&[status(200)])), get()).await.unwrap_err();

    let full = Bulkhead::builder().name("full").max_concurrent(1).max_waiting(0).build().unwrap();
    let service = ServiceBuilder::new().layer(retry("full")).layer(BulkheadLayer::new(full));
    let service = service.service(upstream(&[hang()]));
    let mut busy = tokio_test::task::spawn(send(&service, get()));
    assert!(busy.poll().is_pending());
    send(&service, get()).await.unwrap_err();

    let trips =
        CircuitBreaker::builder().name("trips").consecutive_failures(1, Duration::ZERO).build().unwrap();
    let service = CircuitBreakerLayer::new(trips).layer(upstream(&[status(503)]));
    send(&service, get()).await.unwrap();

    let reset = retry("reset").layer(upstream(&[fault(ConnectionReset)]));
    send(&reset, get()).await.unwrap_err();
    send(&reset, post()).await.unwrap_err();
    send(&retry("sku").layer(upstream(&[status(503), status(200)])), get()).await.unwrap();
    let classifier = HttpClassifier::new().on_response(|status, _| {
        (status == StatusCode::MISDIRECTED_REQUEST).then_some(Outcome::NotProcessed)
    });
    let unprocessed = retry("resent").classifier(classifier).layer(upstream(&[status(421), status(200)]));
    send(&unprocessed, get()).await.unwrap();

    // A cache that serves an entry from memory while the store fails.
    let cache = LastKnownGood::builder().store(Broken).build().unwrap();
    let uri: Uri = "http://cached.internal/v1/items/42?secret".parse().unwrap();
    cache.insert(&uri, Response::new("good".into())).await.unwrap();
    let service =
        LastKnownGoodLayer::new(cache).layer(tower::service_fn(async |_: Request<Empty<Bytes>>| {
            Err::<Response<Empty<Bytes>>, _>(Error::from_upstream(std::io::Error::from(ConnectionReset)))
        }));
    service.oneshot(Request::get(uri).body(Empty::new()).unwrap()).await.unwrap();

    let events = std::mem::take(&mut *events.lock().unwrap());
    let expected = [
        ("the circuit changed its state", "open"),
        ("the bulkhead refused a call: no permit was free", "full"),
        ("the circuit opened; calls are refused", "trips"),
        ("the call ends without a further retry", "reset"),
        ("a retry follows after the backoff", "sku"),
        ("the attempt is sent again at once: the upstream did not process it", "resent"),
        ("the store failed or timed out; the cache goes on without it", "http://cached.internal"),
        ("served a stale response", "http://cached.internal"),
    ];
    assert_named(&events, &expected);
    let reasons: Vec<_> = events.iter().filter_map(|(_, _, reason)| reason.as_deref()).collect();
    assert_eq!(reasons, ["circuit_open", "bulkhead_full", "exhausted", "not_idempotent"]);
}

/// Asserts that each event names its upstream, and that the expected ones are among them.
fn assert_named(events: &[EventFields], expected: &[(&str, &str)]) {
    let nameless: Vec<_> =
        events.iter().filter(|(_, upstream, _)| upstream.as_deref().is_none_or(str::is_empty)).collect();
    assert!(nameless.is_empty(), "{nameless:?}");
    let names: BTreeSet<_> = events
        .iter()
        .filter_map(|(message, upstream, _)| Some((message.as_str(), upstream.as_deref()?)))
        .collect();
    for expected in expected {
        assert!(names.contains(expected), "{expected:?} is not in {names:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn every_event_about_endpoints_names_its_upstream() {
    let events = Arc::default();
    let _guard = tracing::subscriber::set_default(Events(Arc::clone(&events)));
    let refusing = Upstream::answering([fault(ConnectionRefused), fault(ConnectionRefused), status(200)]);
    let well = Upstream::answering([status(200)]);
    let changes = [
        Ok(Change::Insert("10.0.0.1")),
        Ok(Change::Insert("10.0.0.2")),
        Err("the registry does not answer"),
        Ok(Change::Insert("10.0.0.2")),
        Ok(Change::Insert("10.0.0.3")),
        Ok(Change::Remove("10.0.0.3")),
    ];
    let make = move |address: &&str| if *address == "10.0.0.1" { refusing.clone() } else { well.clone() };
    let endpoints = Endpoints::builder().name("replicas").seed(1);
    let endpoints = endpoints.build(futures_util::stream::iter(changes), make).unwrap();
    let service = EndpointsService::new(endpoints.clone());
    // The first endpoint is ejected once, and comes back after the second probe.
    for _ in 0..300 {
        let _ = send(&service, get()).await;
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(endpoints.list().iter().all(|endpoint| endpoint.state() == EndpointState::Available));

    let events = std::mem::take(&mut *events.lock().unwrap());
    let expected = [
        ("the discovery failed; the known endpoints are kept", "replicas"),
        ("the endpoint is added", "replicas"),
        ("the endpoint is removed", "replicas"),
        (
            "the endpoint is ejected; it gets probes, and attempts only if no other endpoint looks well",
            "replicas",
        ),
        ("the probe of the endpoint failed; it stays ejected", "replicas"),
        ("the endpoint is available again", "replicas"),
    ];
    assert_named(&events, &expected);
    assert_eq!(events.len(), 8, "three are added: {events:?}");
}

#[tokio::test(start_paused = true)]
async fn every_event_about_lanes_names_its_upstream() {
    let events = Arc::default();
    let _guard = tracing::subscriber::set_default(Events(Arc::clone(&events)));
    let lanes_made = AtomicUsize::new(0);
    let refusing = Upstream::answering([fault(ConnectionRefused)]);
    let (busy, well) = (Upstream::answering([status(200), hang()]), Upstream::answering([status(200)]));
    // The second lane refuses connections until it has been renewed several times.
    let make = move |_: &&str| match lanes_made.fetch_add(1, Relaxed) {
        0 => busy.clone(),
        1..=3 => refusing.clone(),
        _ => well.clone(),
    };
    let endpoints = Endpoints::builder().name("vip").seed(1).max_lanes(2);
    let endpoints = endpoints.build(fixed(["10.0.0.1"]), make).unwrap();
    let service = EndpointsService::new(endpoints.clone());
    tokio::time::sleep(Duration::from_millis(20)).await;
    send(&service, get()).await.unwrap();
    let busy_service = service.clone();
    let busy = tokio::spawn(async move { send(&busy_service, get()).await.is_ok() });
    tokio::task::yield_now().await;
    for _ in 0..300 {
        let _ = send(&service, get()).await;
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    busy.abort();
    let events = std::mem::take(&mut *events.lock().unwrap());
    let expected = [
        ("the endpoint is added", "vip"),
        ("a lane is added, or replaced by one with new connections", "vip"),
        ("the lane is ejected", "vip"),
        ("the endpoint is removed", "vip"),
    ];
    assert_named(&events, &expected);
}

#[cfg(feature = "reqwest")]
#[tokio::test]
async fn every_event_about_the_addresses_of_a_name_names_its_upstream() {
    const NONE_KNOWN: &str = "the look-up of the addresses failed; no address is known";
    const KEPT: &str = "the look-up of the addresses failed; the known addresses stay in use";
    const RECOVERED: &str = "the look-up of the addresses succeeds again";

    let events = Arc::default();
    let _guard = tracing::subscriber::set_default(Events(Arc::clone(&events)));
    let registry = Arc::new(Registry::default());
    let client = steadfast::Client::builder()
        .no_proxy()
        .dns_resolver(Arc::clone(&registry))
        .refresh_addresses(Duration::from_millis(100))
        .without_retry()
        .without_circuit_breaker()
        .build()
        .unwrap();
    for (is_up, message) in [(false, NONE_KNOWN), (true, RECOVERED), (false, KEPT), (true, RECOVERED)] {
        registry.is_up.store(is_up, Relaxed);
        let mut calls = 0;
        // Nothing listens on port 1. The calls only keep the name in use.
        while events.lock().unwrap().last().is_none_or(|(last, _, _): &EventFields| last != message) {
            assert!(calls < 50_000, "no event says: {message}");
            calls += 1;
            client.get("http://sku.test:1/").send().await.unwrap_err();
            tokio::task::yield_now().await;
            let is_about_a_name = |(message, _, _): &EventFields| message.starts_with("the look-up");
            events.lock().unwrap().retain(is_about_a_name);
        }
    }
    let events = std::mem::take(&mut *events.lock().unwrap());
    let upstream = "http://sku.test:1";
    assert_named(&events, &[(NONE_KNOWN, upstream), (KEPT, upstream), (RECOVERED, upstream)]);
    assert_eq!(events.len(), 4, "only the first failure and the first success are logged: {events:?}");
}

/// A resolver that fails at times.
#[cfg(feature = "reqwest")]
#[derive(Default)]
struct Registry {
    is_up: AtomicBool,
}

#[cfg(feature = "reqwest")]
impl reqwest::dns::Resolve for Registry {
    fn resolve(&self, _: reqwest::dns::Name) -> reqwest::dns::Resolving {
        let address = std::net::SocketAddr::from(([127, 0, 0, 1], 0));
        let answer = self.is_up.load(Relaxed).then(|| Box::new(std::iter::once(address)) as _);
        Box::pin(std::future::ready(answer.ok_or_else(|| "the registry does not answer".into())))
    }
}

/// A store that fails.
struct Broken;

impl Store for Broken {
    async fn get(&self, _: &str) -> Result<Option<Bytes>, BoxError> {
        Err("broken".into())
    }

    async fn put(&self, _: &str, _: Bytes, _: Duration) -> Result<(), BoxError> {
        Err("broken".into())
    }
}
