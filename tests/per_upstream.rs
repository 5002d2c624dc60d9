//! A stack for each upstream, tested through its public API.
//!
//! Known mistakes are listed in `docs/known_mistakes.md`.

use std::collections::HashSet;
use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::Full;
use steadfast::bulkhead::{Bulkhead, BulkheadLayer};
use steadfast::circuit_breaker::{CircuitBreaker, CircuitBreakerLayer, State};
use steadfast::per_upstream::{KeyExtractor, MakeStack, PerUpstreamLayer, PerUpstreamService, UpstreamKey};
use steadfast::{Call, Error, ErrorKind, HasCallOptions, TimeoutScope};
use tokio::sync::{Barrier, Notify};
use tokio::time::Instant;
use tokio_test::{assert_pending, assert_ready_ok, task};
use tower::layer::util::Identity;
use tower::{Layer, Service, ServiceBuilder, ServiceExt};

// ===== Helpers =====

type Answer = Result<Response<Full<Bytes>>, Error<io::Error>>;

/// An upstream that answers 503 for hosts that begin with `down`, and 200 otherwise.
async fn answer(request: Request<String>) -> Answer {
    let mut response = Response::new(Full::default());
    if request.uri().host().is_some_and(|host| host.starts_with("down")) {
        *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
    }
    Ok(response)
}

fn get(uri: &str) -> Request<String> {
    Request::get(uri).body(String::new()).unwrap()
}

/// Makes a circuit for each upstream, which trips on the first failure.
fn circuits() -> impl MakeStack<Layer = CircuitBreakerLayer, Handles = CircuitBreaker> + Clone {
    let pattern = CircuitBreaker::builder().consecutive_failures(1, Duration::ZERO).seed(1).build().unwrap();
    move |upstream: &UpstreamKey| {
        let circuit = pattern.fresh(upstream.to_string());
        (CircuitBreakerLayer::new(circuit.clone()), circuit)
    }
}

/// Makes stacks without layers, whose handles are consecutive numbers.
fn numbered(made: &Arc<AtomicUsize>) -> impl MakeStack<Layer = Identity, Handles = usize> + Clone + use<> {
    let made = Arc::clone(made);
    move |_: &UpstreamKey| (Identity::new(), made.fetch_add(1, Ordering::SeqCst))
}

/// Returns the sorted names of the known upstreams.
fn names<S, R, K>(service: &PerUpstreamService<S, R, K>) -> Vec<String>
where
    S: Clone,
    R: MakeStack,
    R::Layer: Layer<S>,
{
    let mut names: Vec<_> = service.upstreams().into_iter().map(|(key, _)| key.to_string()).collect();
    names.sort();
    names
}

// ===== Isolation =====

#[tokio::test(start_paused = true)]
async fn the_open_circuit_of_one_upstream_does_not_refuse_the_calls_to_another() {
    let service = PerUpstreamLayer::new(circuits()).layer(tower::service_fn(answer));
    let status = service.clone().oneshot(get("http://down.internal/")).await.unwrap().status();
    assert_eq!(status, 503);
    let refused = service.clone().oneshot(get("http://down.internal/")).await;
    assert!(refused.unwrap_err().is_circuit_open());
    let status = service.clone().oneshot(get("http://sku.internal/")).await.unwrap().status();
    assert_eq!(status, 200);
}

#[tokio::test(start_paused = true)]
async fn the_full_bulkhead_of_one_upstream_does_not_refuse_the_calls_to_another() {
    let pattern = Bulkhead::builder().max_concurrent(1).max_waiting(0).build().unwrap();
    let service = PerUpstreamLayer::new(move |_: &UpstreamKey| {
        let bulkhead = pattern.fresh("fresh");
        (BulkheadLayer::new(bulkhead.clone()), bulkhead)
    })
    .layer(tower::service_fn(async |_: Request<String>| std::future::pending::<Answer>().await));
    let mut holder = task::spawn(service.clone().oneshot(get("http://slow.internal/")));
    assert_pending!(holder.poll());
    let refused = service.clone().oneshot(get("http://slow.internal/")).await;
    assert!(refused.unwrap_err().is_bulkhead_full());
    assert_pending!(task::spawn(service.clone().oneshot(get("http://sku.internal/"))).poll());
}

#[tokio::test(start_paused = true)]
async fn a_stack_maker_can_make_several_layers() {
    let circuits = circuits();
    let pattern = Bulkhead::builder().build().unwrap();
    let service = PerUpstreamLayer::new(move |upstream: &UpstreamKey| {
        let (breaker, circuit) = circuits.make(upstream);
        let bulkhead = pattern.fresh("fresh");
        let layer = BulkheadLayer::new(bulkhead.clone());
        (ServiceBuilder::new().layer(breaker).layer(layer).into_inner(), (circuit, bulkhead))
    })
    .layer(tower::service_fn(answer));
    let response = service.clone().oneshot(get("http://sku.internal/")).await.unwrap();
    let (circuit, bulkhead) = service.handles(&get("http://sku.internal/"));
    assert_eq!((circuit.state(), bulkhead.in_flight()), (State::Closed, 0));
    drop(response);
}

// ===== Keys =====

/// Calls these URIs; returns the names of the upstreams.
async fn upstreams_of(uris: &[&str]) -> Vec<String> {
    let service = PerUpstreamLayer::new(numbered(&Arc::default())).layer(tower::service_fn(answer));
    for uri in uris {
        service.clone().oneshot(get(uri)).await.unwrap();
    }
    names(&service)
}

#[tokio::test]
async fn by_default_an_upstream_is_a_scheme_a_host_and_a_port() {
    let uris = ["http://a.internal/", "https://a.internal/", "http://a.internal:81/", "http://b.internal/"];
    let expected = ["http://a.internal", "http://a.internal:81", "http://b.internal", "https://a.internal"];
    assert_eq!(upstreams_of(&uris).await, expected);
}

#[tokio::test]
async fn the_path_and_the_query_are_not_part_of_the_key() {
    let uris = ["http://a.internal", "http://a.internal/v1?x=1", "http://a.internal/v2?x=2"];
    assert_eq!(upstreams_of(&uris).await, ["http://a.internal"]);
}

#[tokio::test]
async fn the_case_of_scheme_and_host_is_not_part_of_the_key() {
    let uris = ["http://a.internal/", "HTTP://A.Internal/", "http://A.INTERNAL/"];
    assert_eq!(upstreams_of(&uris).await, ["http://a.internal"]);
}

#[tokio::test]
async fn the_default_port_is_filled_in() {
    let uris =
        ["http://a.internal/", "http://a.internal:80/", "https://a.internal/", "https://a.internal:443/"];
    assert_eq!(upstreams_of(&uris).await, ["http://a.internal", "https://a.internal"]);
}

#[tokio::test]
async fn userinfo_is_not_part_of_the_key() {
    let uris = ["http://a.internal/", "http://user:secret@a.internal/", "http://other@a.internal:80/"];
    assert_eq!(upstreams_of(&uris).await, ["http://a.internal"]);
}

#[tokio::test]
async fn an_address_is_an_upstream_too() {
    let uris = ["http://[::1]:8080/", "http://127.0.0.1/"];
    assert_eq!(upstreams_of(&uris).await, ["http://127.0.0.1", "http://[::1]:8080"]);
}

#[tokio::test]
async fn a_request_that_names_no_host_has_an_upstream_all_the_same() {
    assert_eq!(upstreams_of(&["/only/a/path", "/another"]).await.len(), 1);
}

#[tokio::test]
async fn a_call_is_for_the_upstream_of_its_request() {
    let service = PerUpstreamLayer::new(numbered(&Arc::default()))
        .layer(tower::service_fn(async |call: Call<Request<String>>| answer(call.into_inner()).await));
    service.clone().oneshot(Call::new(get("https://a.internal/"))).await.unwrap();
    assert_eq!(names(&service), ["https://a.internal"]);
}

#[cfg(feature = "reqwest")]
#[tokio::test]
async fn a_request_of_reqwest_is_for_the_same_upstream_as_one_of_http() {
    let service = PerUpstreamLayer::new(numbered(&Arc::default())).layer(());
    for uri in ["http://User:secret@A.internal/x?y", "http://a.internal:80", "https://a.internal:8443/"] {
        let url = reqwest::Url::parse(uri).unwrap();
        service.handles(&reqwest::Request::new(http::Method::GET, url));
        service.handles(&get(uri));
    }
    assert_eq!(names(&service), ["http://a.internal", "https://a.internal:8443"]);
}

#[tokio::test]
async fn a_key_function_identifies_the_upstream_of_a_request() {
    let service = PerUpstreamLayer::new(circuits())
        .key_by(|request: &Request<String>| {
            let shard = request.headers().get("x-shard");
            shard.and_then(|shard| shard.to_str().ok()).unwrap_or_default().to_owned()
        })
        .layer(tower::service_fn(answer));
    let on = |shard: &str, uri| {
        let mut request = get(uri);
        request.headers_mut().insert("x-shard", shard.parse().unwrap());
        request
    };
    service.clone().oneshot(on("1", "http://down.internal/")).await.unwrap();
    let refused = service.clone().oneshot(on("1", "http://sku.internal/")).await;
    assert!(refused.unwrap_err().is_circuit_open(), "it is the shard that counts, not the host");
    service.clone().oneshot(on("2", "http://down.internal/")).await.unwrap();
    assert_eq!(names(&service), ["1", "2"]);
}

#[tokio::test]
async fn a_key_function_identifies_the_upstream_of_a_non_http_request() {
    let service = PerUpstreamLayer::new(numbered(&Arc::default()))
        .key_by(|shard: &Call<u32>| shard.request().to_string())
        .layer(tower::service_fn(async |shard: Call<u32>| Ok::<_, Error<io::Error>>(shard.into_inner())));
    for shard in [1, 2, 1] {
        assert_eq!(service.clone().oneshot(Call::new(shard)).await.unwrap(), shard);
    }
    assert_eq!(names(&service), ["1", "2"]);
}

// ===== Bounded =====

/// A request for an upstream, which it names.
#[derive(Debug, Clone, Copy, PartialEq)]
struct To(&'static str);

impl HasCallOptions for To {}

/// A service whose requests name upstreams, and the number of stacks made.
#[allow(clippy::type_complexity)]
fn named(
    max: usize,
) -> (
    impl Service<To, Response = To, Error = Error<io::Error>, Future = impl Send> + Clone + Known,
    Arc<AtomicUsize>,
) {
    let made = Arc::default();
    let layer = PerUpstreamLayer::new(numbered(&made)).max_upstreams(max);
    let key: fn(&To) -> &'static str = |to| to.0;
    let service = layer.key_by(key).layer(tower::service_fn(async |to: To| Ok(to)));
    (service, made)
}

/// Names the known upstreams of a service of opaque type.
trait Known {
    fn names(&self) -> Vec<String>;
}

impl<S, R, K> Known for PerUpstreamService<S, R, K>
where
    S: Clone,
    R: MakeStack,
    R::Layer: Layer<S>,
{
    fn names(&self) -> Vec<String> {
        names(self)
    }
}

#[tokio::test]
async fn the_number_of_upstreams_is_bounded() {
    let made = Arc::default();
    let service = PerUpstreamLayer::new(numbered(&made)).layer(tower::service_fn(answer));
    for number in 0..3000 {
        service.clone().oneshot(get(&format!("http://host-{number}.internal/"))).await.unwrap();
        assert!(service.upstreams().len() <= 1000);
    }
    assert_eq!(service.upstreams().len(), 1000);
    assert_eq!(made.load(Ordering::SeqCst), 3000);
}

#[tokio::test]
async fn the_longest_idle_upstream_is_evicted_first() {
    for _ in 0..20 {
        let (service, _) = named(3);
        for name in ["a", "b", "c", "a", "d"] {
            service.clone().oneshot(To(name)).await.unwrap();
        }
        assert_eq!(service.names(), ["a", "c", "d"]);
    }
}

#[tokio::test]
async fn the_longest_idle_upstream_is_evicted_although_all_were_used_again() {
    for _ in 0..20 {
        let (service, _) = named(3);
        for name in ["a", "b", "c", "b", "c", "a", "d"] {
            service.clone().oneshot(To(name)).await.unwrap();
        }
        assert_eq!(service.names(), ["a", "c", "d"]);
    }
}

#[tokio::test]
async fn the_newest_upstream_is_evicted_before_one_that_was_used_since() {
    for _ in 0..20 {
        let (service, _) = named(2);
        for name in ["a", "b", "a", "c"] {
            service.clone().oneshot(To(name)).await.unwrap();
        }
        assert_eq!(service.names(), ["a", "c"]);
    }
}

#[tokio::test]
async fn an_upstream_in_use_is_not_made_again_while_others_come_and_go() {
    let (service, made) = named(2);
    let passing: Vec<&'static str> = (0..100).map(|number| &*number.to_string().leak()).collect();
    for name in passing {
        service.clone().oneshot(To("busy")).await.unwrap();
        service.clone().oneshot(To(name)).await.unwrap();
    }
    assert_eq!(made.load(Ordering::SeqCst), 101);
}

#[tokio::test]
async fn a_bound_of_one_works() {
    let (service, made) = named(1);
    for name in ["a", "a", "b", "b", "a"] {
        assert_eq!(service.clone().oneshot(To(name)).await.unwrap(), To(name));
    }
    assert_eq!(made.load(Ordering::SeqCst), 3);
}

#[tokio::test(start_paused = true)]
async fn an_evicted_upstream_loses_its_state() {
    let service = PerUpstreamLayer::new(circuits()).max_upstreams(1).layer(tower::service_fn(answer));
    service.clone().oneshot(get("http://down.internal/")).await.unwrap();
    service.clone().oneshot(get("http://sku.internal/")).await.unwrap();
    assert_eq!(service.handles(&get("http://down.internal/")).state(), State::Closed);
}

#[tokio::test]
async fn a_call_in_flight_ends_although_its_upstream_is_forgotten() {
    let go = Arc::new(Notify::new());
    let service = PerUpstreamLayer::new(circuits()).max_upstreams(1).layer(tower::service_fn({
        let go = Arc::clone(&go);
        move |request: Request<String>| {
            let go = Arc::clone(&go);
            async move {
                if request.uri().host() == Some("slow.internal") {
                    go.notified().await;
                }
                answer(request).await
            }
        }
    }));
    let mut in_flight = task::spawn(service.clone().oneshot(get("http://slow.internal/")));
    assert_pending!(in_flight.poll());
    service.clone().oneshot(get("http://sku.internal/")).await.unwrap();
    assert_eq!(names(&service), ["http://sku.internal"]);
    go.notify_one();
    assert_eq!(assert_ready_ok!(in_flight.poll()).status(), 200);
}

// ===== In use =====

/// A slow upstream answers after the notification, all others at once.
fn with_a_slow_upstream(
    go: &Arc<Notify>,
) -> impl Service<Request<String>, Response = Response<Full<Bytes>>, Error = Error<io::Error>, Future: Send>
+ Clone
+ use<> {
    let go = Arc::clone(go);
    tower::service_fn(move |request: Request<String>| {
        let go = Arc::clone(&go);
        async move {
            if request.uri().host().is_some_and(|host| host.starts_with("slow")) {
                go.notified().await;
            }
            answer(request).await
        }
    })
}

#[tokio::test]
async fn an_upstream_with_a_call_in_flight_is_not_evicted_while_another_can_be() {
    let go = Arc::new(Notify::new());
    let service = PerUpstreamLayer::new(numbered(&Arc::default())).max_upstreams(2);
    let service = service.layer(with_a_slow_upstream(&go));
    let mut in_flight = task::spawn(service.clone().oneshot(get("http://slow.internal/")));
    assert_pending!(in_flight.poll());
    for host in ["a", "b", "c"] {
        service.clone().oneshot(get(&format!("http://{host}.internal/"))).await.unwrap();
    }
    assert_eq!(names(&service), ["http://c.internal", "http://slow.internal"]);
    go.notify_one();
    assert_eq!(assert_ready_ok!(in_flight.poll()).status(), 200);
    drop(in_flight);
    for host in ["d", "e"] {
        service.clone().oneshot(get(&format!("http://{host}.internal/"))).await.unwrap();
    }
    assert_eq!(names(&service), ["http://d.internal", "http://e.internal"]);
}

#[tokio::test]
async fn a_dropped_call_no_longer_protects_its_upstream() {
    let service = PerUpstreamLayer::new(numbered(&Arc::default())).max_upstreams(2);
    let service = service.layer(with_a_slow_upstream(&Arc::default()));
    let mut in_flight = task::spawn(service.clone().oneshot(get("http://slow.internal/")));
    assert_pending!(in_flight.poll());
    drop(in_flight);
    for host in ["a", "b"] {
        service.clone().oneshot(get(&format!("http://{host}.internal/"))).await.unwrap();
    }
    assert_eq!(names(&service), ["http://a.internal", "http://b.internal"]);
}

/// Makes circuits, and says that an upstream is in use while its circuit is not closed.
struct Spared<M>(M);

impl<M: MakeStack<Handles = CircuitBreaker>> MakeStack for Spared<M> {
    type Layer = M::Layer;
    type Handles = CircuitBreaker;

    fn make(&self, upstream: &UpstreamKey) -> (M::Layer, CircuitBreaker) {
        self.0.make(upstream)
    }

    fn is_in_use(&self, circuit: &CircuitBreaker) -> bool {
        circuit.state() != State::Closed
    }
}

#[tokio::test(start_paused = true)]
async fn the_stack_maker_decides_which_upstreams_are_spared() {
    let service = PerUpstreamLayer::new(Spared(circuits())).max_upstreams(2).layer(tower::service_fn(answer));
    service.clone().oneshot(get("http://down.internal/")).await.unwrap();
    for host in ["a", "b", "c"] {
        service.clone().oneshot(get(&format!("http://{host}.internal/"))).await.unwrap();
    }
    assert_eq!(names(&service), ["http://c.internal", "http://down.internal"]);
    service.handles(&get("http://down.internal/")).reset();
    service.clone().oneshot(get("http://d.internal/")).await.unwrap();
    service.clone().oneshot(get("http://e.internal/")).await.unwrap();
    assert_eq!(names(&service), ["http://d.internal", "http://e.internal"]);
}

#[tokio::test(start_paused = true)]
async fn the_number_of_upstreams_is_bounded_even_if_all_are_spared() {
    let service = PerUpstreamLayer::new(Spared(circuits())).max_upstreams(2).layer(tower::service_fn(answer));
    for host in ["down-1", "down-2", "down-3"] {
        service.clone().oneshot(get(&format!("http://{host}.internal/"))).await.unwrap();
    }
    assert_eq!(names(&service), ["http://down-2.internal", "http://down-3.internal"]);
}

#[cfg(feature = "reqwest")]
#[tokio::test]
async fn a_client_spares_an_upstream_whose_circuit_is_not_closed_or_forced() {
    for change in [CircuitBreaker::force_open, CircuitBreaker::force_closed] {
        let client = steadfast::Client::builder().max_upstreams(2).build().unwrap();
        let known = || {
            let mut names: Vec<_> = client.upstreams().iter().map(|it| it.name().to_owned()).collect();
            names.sort();
            names
        };
        let forced = client.upstream_at("http://forced.internal").unwrap();
        change(forced.circuit_breaker().unwrap());
        for host in ["a", "b"] {
            client.upstream_at(format!("http://{host}.internal")).unwrap();
        }
        assert_eq!(known(), ["http://b.internal", "http://forced.internal"]);
        forced.circuit_breaker().unwrap().reset();
        for host in ["c", "d"] {
            client.upstream_at(format!("http://{host}.internal")).unwrap();
        }
        assert_eq!(known(), ["http://c.internal", "http://d.internal"]);
    }
}

#[cfg(feature = "reqwest")]
#[tokio::test]
async fn a_client_spares_an_upstream_whose_response_is_being_read() {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let name = format!("http://{}", listener.local_addr().unwrap());
    let client = steadfast::Client::builder().max_upstreams(2).build().unwrap();
    let call = client.get(&name).send();
    let serve = async {
        let (mut stream, _) = listener.accept().await.unwrap();
        assert!(stream.read(&mut [0; 1024]).await.unwrap() > 0);
        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2000000\r\n\r\none").await.unwrap();
        stream
    };
    let (response, stream) = tokio::join!(call, serve);
    let response = response.unwrap();
    let is_known = |name: &str| client.upstreams().iter().any(|upstream| upstream.name() == name);
    for host in ["a", "b", "c"] {
        client.upstream_at(format!("http://{host}.internal")).unwrap();
    }
    assert!(is_known(&name) && is_known("http://c.internal"));
    drop((response, stream));
    for host in ["d", "e"] {
        client.upstream_at(format!("http://{host}.internal")).unwrap();
    }
    assert!(!is_known(&name));
}

// ===== Sharing =====

#[tokio::test(start_paused = true)]
async fn clones_share_their_upstreams() {
    // Known mistake 8: a router clones the service for every request.
    let service = PerUpstreamLayer::new(circuits()).layer(tower::service_fn(answer));
    let other = service.clone();
    service.clone().oneshot(get("http://down.internal/")).await.unwrap();
    assert!(other.clone().oneshot(get("http://down.internal/")).await.unwrap_err().is_circuit_open());
    assert_eq!(names(&other), names(&service));
}

#[tokio::test(start_paused = true)]
async fn the_handles_are_those_of_the_stack_in_use() {
    let service = PerUpstreamLayer::new(circuits()).layer(tower::service_fn(answer));
    service.clone().oneshot(get("http://down.internal/")).await.unwrap();
    let circuit = service.handles(&get("http://down.internal/another/path"));
    assert_eq!((circuit.state(), circuit.name()), (State::Open, Some("http://down.internal")));
    circuit.reset();
    service.clone().oneshot(get("http://down.internal/")).await.unwrap();
    assert_eq!(circuit.state(), State::Open);
}

#[tokio::test]
async fn handles_can_be_had_before_the_first_call() {
    let made = Arc::default();
    let service = PerUpstreamLayer::new(numbered(&made)).layer(tower::service_fn(answer));
    assert_eq!(service.handles(&get("http://a.internal/")), 0);
    service.clone().oneshot(get("http://a.internal/")).await.unwrap();
    assert_eq!(service.handles(&get("http://a.internal/")), 0);
    assert_eq!(made.load(Ordering::SeqCst), 1);
}

#[tokio::test(start_paused = true)]
async fn every_known_upstream_is_listed_with_its_handles() {
    let service = PerUpstreamLayer::new(circuits()).layer(tower::service_fn(answer));
    for host in ["down", "sku", "pay"] {
        let _ = service.clone().oneshot(get(&format!("http://{host}.internal/"))).await;
    }
    let open: Vec<_> = service
        .upstreams()
        .into_iter()
        .filter(|(_, circuit)| circuit.state() == State::Open)
        .map(|(key, _)| key.to_string())
        .collect();
    assert_eq!(open, ["http://down.internal"]);
    assert_eq!(service.upstreams().len(), 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 8)]
async fn calls_that_race_from_eight_tasks_make_each_upstream_once() {
    let made = Arc::default();
    let numbered = numbered(&made);
    let service = PerUpstreamLayer::new(move |upstream: &UpstreamKey| {
        // Gives the other tasks time to arrive while the first makes the stack.
        (0..100).for_each(|_| std::thread::yield_now());
        numbered.make(upstream)
    })
    .layer(tower::service_fn(answer));
    let start = Arc::new(Barrier::new(8));
    let tasks: Vec<_> = (0..8)
        .map(|_| {
            let (service, start) = (service.clone(), Arc::clone(&start));
            tokio::spawn(async move {
                let mut seen = Vec::new();
                for number in 0..50 {
                    let uri = format!("http://host-{number}.internal/");
                    start.wait().await;
                    service.clone().oneshot(get(&uri)).await.unwrap();
                    seen.push(service.handles(&get(&uri)));
                }
                seen
            })
        })
        .collect();
    let mut seen = HashSet::new();
    for task in tasks {
        seen.insert(task.await.unwrap());
    }
    assert_eq!(seen.len(), 1, "all were given the same handles");
    assert_eq!(made.load(Ordering::SeqCst), 50);
}

// ===== Readiness =====

/// A service that counts calls for which it was not polled ready. A clone is not ready.
#[derive(Debug, Default)]
struct Strict {
    ready: bool,
    called_unready: Arc<Mutex<usize>>,
}

impl Clone for Strict {
    fn clone(&self) -> Self {
        Self { ready: false, called_unready: Arc::clone(&self.called_unready) }
    }
}

impl Service<Request<String>> for Strict {
    type Response = Response<Full<Bytes>>;
    type Error = Error<io::Error>;
    type Future = std::future::Ready<Answer>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.ready = true;
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _request: Request<String>) -> Self::Future {
        *self.called_unready.lock().unwrap() += usize::from(!std::mem::take(&mut self.ready));
        std::future::ready(Ok(Response::new(Full::default())))
    }
}

#[tokio::test]
async fn the_stack_of_an_upstream_is_polled_ready_before_each_call() {
    let inner = Strict::default();
    let called_unready = Arc::clone(&inner.called_unready);
    let mut service = PerUpstreamLayer::new(circuits()).layer(inner);
    for host in ["a", "b", "a", "a"] {
        service.ready().await.unwrap().call(get(&format!("http://{host}.internal/"))).await.unwrap();
    }
    assert_eq!(*called_unready.lock().unwrap(), 0);
}

#[tokio::test]
async fn an_upstream_that_is_not_ready_does_not_hold_up_another() {
    // The stack of the slow upstream is never ready.
    let circuits = circuits();
    let service = PerUpstreamLayer::new(move |upstream: &UpstreamKey| {
        let stuck = upstream.to_string().contains("slow");
        let (breaker, circuit) = circuits.make(upstream);
        (ServiceBuilder::new().layer(breaker).layer(StuckLayer(stuck)).into_inner(), circuit)
    })
    .layer(Strict::default());
    let mut slow = task::spawn(service.clone().oneshot(get("http://slow.internal/")));
    assert_pending!(slow.poll());
    assert_eq!(service.clone().oneshot(get("http://sku.internal/")).await.unwrap().status(), 200);
}

#[tokio::test(start_paused = true)]
async fn a_call_waits_for_its_stack_no_longer_than_its_deadline() {
    const SECOND: Duration = Duration::from_secs(1);
    let service = PerUpstreamLayer::new(|_: &UpstreamKey| (StuckLayer(true), ()));
    let service = service.layer(Strict::default().map_request(Call::into_inner));
    let began = Instant::now();
    let to = || Call::new(get("http://slow.internal/"));
    for (call, ends) in [
        (to().timeout(SECOND), SECOND),
        (to().deadline(began + 3 * SECOND), 3 * SECOND),
        // The deadline comes first.
        (to().timeout(9 * SECOND).deadline(began + 4 * SECOND), 4 * SECOND),
        // The timeout comes first.
        (to().timeout(SECOND).deadline(began + 9 * SECOND), 5 * SECOND),
        // The deadline has passed already.
        (to().deadline(began), 5 * SECOND),
    ] {
        let after = ends.saturating_sub(began.elapsed());
        let error = service.clone().oneshot(call).await.unwrap_err();
        assert_eq!(began.elapsed(), ends);
        assert_eq!(error.kind(), ErrorKind::Timeout { scope: TimeoutScope::Total, after: Some(after) });
        assert_eq!((error.attempts(), error.maybe_sent()), (0, false));
        assert_eq!(error.upstream(), Some("http://slow.internal"));
    }
}

#[tokio::test(start_paused = true)]
async fn a_call_that_waits_for_its_stack_is_made_as_soon_as_the_stack_is_ready() {
    let (mock, mut handle) = tower_test::mock::pair::<Call<Request<String>>, Response<Full<Bytes>>>();
    let mock = mock.map_err(|error| Error::from_upstream(io::Error::other(error)));
    handle.allow(0);
    let service = PerUpstreamLayer::new(numbered(&Arc::default())).max_upstreams(1).layer(mock);
    let call = Call::new(get("http://a.internal/")).timeout(Duration::from_secs(1));
    let mut call = task::spawn(service.clone().oneshot(call));
    assert_pending!(call.poll());
    handle.allow(1);
    assert!(call.is_woken());
    assert_pending!(call.poll());
    // The deadline of a call that has been made is the concern of the layers below.
    tokio::time::advance(Duration::from_secs(10)).await;
    assert_pending!(call.poll());
    let (_, reply) = handle.next_request().await.unwrap();
    reply.send_response(Response::new(Full::default()));
    assert_eq!(call.await.unwrap().status(), 200);
}

#[tokio::test(start_paused = true)]
async fn a_stack_that_becomes_ready_after_the_deadline_is_not_called() {
    let (mock, mut handle) = tower_test::mock::pair::<Call<Request<String>>, Response<Full<Bytes>>>();
    let mock = mock.map_err(|error| Error::from_upstream(io::Error::other(error)));
    handle.allow(0);
    let service = PerUpstreamLayer::new(numbered(&Arc::default())).layer(mock);
    let call = Call::new(get("http://a.internal/")).timeout(Duration::from_secs(1));
    let mut call = task::spawn(service.clone().oneshot(call));
    assert_pending!(call.poll());
    tokio::time::advance(Duration::from_secs(2)).await;
    handle.allow(1);
    assert!(matches!(call.poll(), Poll::Ready(Err(error)) if error.is_total_timeout()));
    drop(call);
    assert!(task::spawn(handle.next_request()).poll().is_pending(), "nothing was sent");
}

#[tokio::test(start_paused = true)]
async fn a_stack_that_fails_to_become_ready_sends_nothing() {
    let (mock, handle) = tower_test::mock::pair::<Call<Request<String>>, Response<Full<Bytes>>>();
    let mock = mock.map_err(|error| Error::from_upstream(io::Error::other(error)));
    let service = PerUpstreamLayer::new(numbered(&Arc::default())).max_upstreams(1).layer(mock);
    drop(handle);
    let error = service.clone().oneshot(Call::new(get("http://a.internal/"))).await.unwrap_err();
    assert_eq!((error.kind(), error.attempts(), error.maybe_sent()), (ErrorKind::Upstream, 0, false));
    assert_eq!(error.upstream(), Some("http://a.internal"));
}

/// If true, makes a service that is never ready; otherwise, changes nothing.
struct StuckLayer(bool);

#[derive(Clone)]
struct Stuck<S>(S, bool);

impl<S> Layer<S> for StuckLayer {
    type Service = Stuck<S>;

    fn layer(&self, inner: S) -> Stuck<S> {
        Stuck(inner, self.0)
    }
}

impl<R, S: Service<R>> Service<R> for Stuck<S> {
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        if self.1 { Poll::Pending } else { self.0.poll_ready(cx) }
    }

    fn call(&mut self, request: R) -> S::Future {
        self.0.call(request)
    }
}

#[test]
fn a_key_is_available_without_a_service() {
    let key = steadfast::per_upstream::Origin
        .with_key(&get("HTTPS://user@SKU.internal/x"), |key| format!("{key:?}"));
    assert!(key.contains("sku.internal") && key.contains("443") && !key.contains("user"), "{key}");
}
