//! The last-known-good layer, through tower, in paused time.

use std::collections::VecDeque;
use std::fmt::Debug;
use std::io;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body::{Body as _, Frame};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full, StreamBody};
use steadfast::last_known_good::{
    Cause, LastKnownGood, LastKnownGoodLayer, MemoryStore, ResponseBody, Stale,
};
use steadfast::{BoxError, Error, Options, TimeoutScope};
use tokio::sync::mpsc;
use tokio::time::advance;
use tower::{Layer, Service, ServiceExt as _};

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);
const ALMOST_A_MINUTE: Duration = Duration::from_secs(59);
const URI: &str = "http://sku.internal/v1/items/42";

type Body = UnsyncBoxBody<Bytes, io::Error>;
type Answer = Result<Response<Body>, Error<io::Error>>;
type Layered = LastKnownGood<Upstream>;
type Given = Response<ResponseBody<Body>>;

/// Gives the answers it is told to, in order, and fails when there is none.
#[derive(Debug, Clone, Default)]
struct Upstream(Arc<Mutex<VecDeque<Answer>>>);

impl Upstream {
    fn will(&self, answer: Response<Body>) {
        self.0.lock().unwrap().push_back(Ok(answer));
    }

    fn will_fail(&self, error: Error<io::Error>) {
        self.0.lock().unwrap().push_back(Err(error));
    }
}

impl Service<Request<String>> for Upstream {
    type Response = Response<Body>;
    type Error = Error<io::Error>;
    type Future = std::future::Ready<Answer>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _request: Request<String>) -> Self::Future {
        std::future::ready(self.0.lock().unwrap().pop_front().unwrap_or_else(refused))
    }
}

// ===== answers =====

fn refused() -> Answer {
    Err(Error::Upstream(io::ErrorKind::ConnectionRefused.into()))
}

fn with(status: u16, headers: &[(&str, &str)], body: Body) -> Response<Body> {
    let head =
        headers.iter().fold(Response::builder().status(status), |it, (name, value)| it.header(*name, *value));
    head.body(body).unwrap()
}

fn answer(status: u16, headers: &[(&str, &str)], body: &'static str) -> Response<Body> {
    with(status, headers, full(body))
}

fn good(headers: &[(&str, &str)]) -> Response<Body> {
    answer(200, headers, "good")
}

fn full(body: impl Into<Bytes>) -> Body {
    Full::new(body.into()).map_err(|never| match never {}).boxed_unsync()
}

/// A body that is made while it is read.
fn streamed() -> (mpsc::UnboundedSender<io::Result<&'static str>>, Body) {
    let (sender, mut receiver) = mpsc::unbounded_channel::<io::Result<&'static str>>();
    let frames = futures_util::stream::poll_fn(move |cx| {
        receiver.poll_recv(cx).map(|it| it.map(|it| it.map(|data| Frame::data(Bytes::from(data)))))
    });
    (sender, StreamBody::new(frames).boxed_unsync())
}

// ===== calls =====

fn layer() -> LastKnownGoodLayer {
    LastKnownGoodLayer::new(MemoryStore::default())
}

fn service(layer: &LastKnownGoodLayer) -> (Upstream, Layered) {
    let upstream = Upstream::default();
    (upstream.clone(), layer.layer(upstream))
}

fn request(method: &str, headers: &[(&str, &str)]) -> Request<String> {
    let head = Request::builder().method(method).uri(URI);
    headers.iter().fold(head, |it, (name, value)| it.header(*name, *value)).body(String::new()).unwrap()
}

fn get() -> Request<String> {
    request("GET", &[])
}

async fn ask(service: &Layered, request: Request<String>) -> Result<Given, Error<io::Error>> {
    service.clone().oneshot(request).await
}

async fn read(response: Given) -> Bytes {
    response.into_body().collect().await.unwrap().to_bytes()
}

/// Gives `answer` to `request`, and reads it whole.
async fn give(service: &(Upstream, Layered), request: Request<String>, answer: Response<Body>) {
    service.0.will(answer);
    read(ask(&service.1, request).await.unwrap()).await;
}

/// The body of the stale answer to `request` while the upstream is down, if there is one.
async fn stale(service: &(Upstream, Layered), request: Request<String>) -> Option<Bytes> {
    let response = ask(&service.1, request).await.ok()?;
    assert!(response.extensions().get::<Stale>().is_some());
    Some(read(response).await)
}

// ===== what is served, and when =====

#[tokio::test(start_paused = true)]
async fn without_an_entry_a_failure_is_handed_on() {
    let (upstream, service) = service(&layer());
    assert!(ask(&service, get()).await.unwrap_err().upstream().is_some());
    upstream.will(answer(503, &[], "no"));
    let response = ask(&service, get()).await.unwrap();
    assert_eq!(
        (response.status(), response.extensions().get::<Stale>()),
        (StatusCode::SERVICE_UNAVAILABLE, None)
    );
    assert_eq!(read(response).await, "no");
}

#[tokio::test(start_paused = true)]
async fn every_failure_and_every_refusal_is_answered_with_the_last_good_answer() {
    let both = service(&layer());
    give(&both, get(), good(&[])).await;
    let timeout = |scope| Err(Error::Timeout { scope, after: SECOND });
    let failures: [(Answer, Cause); 9] = [
        (Ok(answer(503, &[], "")), Cause::Status(StatusCode::SERVICE_UNAVAILABLE)),
        (Ok(answer(504, &[], "")), Cause::Status(StatusCode::GATEWAY_TIMEOUT)),
        (Ok(answer(500, &[], "")), Cause::Status(StatusCode::INTERNAL_SERVER_ERROR)),
        (refused(), Cause::Transport),
        (Err(Error::Body("cut short".into())), Cause::Body),
        (timeout(TimeoutScope::Attempt), Cause::Timeout(TimeoutScope::Attempt)),
        (timeout(TimeoutScope::Total), Cause::Timeout(TimeoutScope::Total)),
        (Err(Error::CircuitOpen { retry_after: None }), Cause::CircuitOpen),
        (Err(Error::BulkheadFull { max_concurrent: 1 }), Cause::BulkheadFull),
    ];
    for (failure, cause) in failures {
        both.0.0.lock().unwrap().push_back(failure);
        let response = ask(&both.1, get()).await.unwrap();
        assert_eq!(response.extensions().get::<Stale>().map(|stale| stale.cause), Some(cause));
        assert_eq!(response.status(), StatusCode::OK);
        assert_eq!(read(response).await, "good");
    }
}

#[tokio::test(start_paused = true)]
async fn the_upstream_is_always_asked_first() {
    let both = service(&layer());
    give(&both, get(), good(&[])).await;
    both.0.will(answer(200, &[], "better"));
    let response = ask(&both.1, get()).await.unwrap();
    assert!(response.extensions().get::<Stale>().is_none());
    assert_eq!(read(response).await, "better");
    assert_eq!(stale(&both, get()).await.unwrap(), "better");
}

#[tokio::test(start_paused = true)]
async fn a_stale_answer_says_so_in_three_ways() {
    let both = service(&layer());
    let headers = [("age", "7"), ("cache-status", "upstream; hit"), ("etag", "\"1\""), ("x-answer", "42")];
    give(&both, get(), good(&headers)).await;
    advance(30 * SECOND).await;
    both.0.will(answer(503, &[("x-answer", "none")], ""));
    let response = ask(&both.1, get()).await.unwrap();
    let stale = response.extensions().get::<Stale>().unwrap();
    assert_eq!(stale.age, 37 * SECOND);
    assert_eq!(stale.cause.to_string(), "the upstream answered 503");
    assert_eq!(response.headers()["age"], "37");
    let status: Vec<_> = response.headers().get_all("cache-status").iter().collect();
    assert_eq!(status, ["upstream; hit", "steadfast; fwd=stale; fwd-status=503"]);
    assert_eq!(
        (&response.headers()["etag"], &response.headers()["x-answer"]),
        (&"\"1\"".parse().unwrap(), &"42".parse().unwrap())
    );
}

#[tokio::test(start_paused = true)]
async fn headers_of_the_connection_are_not_kept() {
    let both = service(&layer());
    let headers = [
        ("connection", "keep-alive, X-Hop"),
        ("x-hop", "1"),
        ("keep-alive", "timeout=5"),
        ("transfer-encoding", "chunked"),
        ("x-end", "1"),
    ];
    give(&both, get(), good(&headers)).await;
    let response = ask(&both.1, get()).await.unwrap();
    let mut names: Vec<_> = response.headers().keys().map(http::HeaderName::as_str).collect();
    names.sort_unstable();
    assert_eq!(names, ["age", "cache-status", "x-end"]);
}

#[tokio::test(start_paused = true)]
async fn a_neutral_outcome_gets_no_fallback() {
    let both = service(&layer());
    give(&both, get(), good(&[])).await;
    for status in [408, 429] {
        both.0.will(answer(status, &[], ""));
        assert_eq!(ask(&both.1, get()).await.unwrap().status(), status);
    }
    // It has not cost the entry either.
    assert_eq!(stale(&both, get()).await.unwrap(), "good");
}

#[tokio::test(start_paused = true)]
async fn an_error_that_the_classifier_calls_neutral_gets_no_fallback() {
    let neutral = |result: Result<&Response<Body>, &Error<io::Error>>| match result {
        Ok(_) => steadfast::Outcome::Success,
        Err(_) => steadfast::Outcome::Neutral,
    };
    let upstream = Upstream::default();
    let service = layer().classifier(neutral).layer(upstream.clone());
    upstream.will(good(&[]));
    service.clone().oneshot(get()).await.unwrap().into_body().collect().await.unwrap();
    assert!(service.clone().oneshot(get()).await.is_err());
    // The classifier is not asked about refusals.
    upstream.will_fail(Error::CircuitOpen { retry_after: None });
    assert!(service.clone().oneshot(get()).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_call_without_fallback_gets_none_but_its_answer_is_kept() {
    let both = service(&layer());
    let proud = || {
        let mut request = get();
        request.extensions_mut().insert(Options::new().without_fallback());
        request
    };
    give(&both, proud(), good(&[])).await;
    assert!(ask(&both.1, proud()).await.is_err());
    assert_eq!(stale(&both, get()).await.unwrap(), "good");
}

#[tokio::test(start_paused = true)]
async fn what_failed_says_how_many_attempts_were_made_on_the_stale_answer() {
    let both = service(&layer());
    give(&both, get(), good(&[])).await;
    let mut failed = answer(503, &[], "");
    failed.extensions_mut().insert(42_u8);
    both.0.will(failed);
    assert_eq!(ask(&both.1, get()).await.unwrap().extensions().get::<u8>(), Some(&42));
}

#[tokio::test(start_paused = true)]
async fn services_of_one_store_share_its_entries() {
    let layer = layer();
    let (one, other) = (service(&layer), service(&layer));
    give(&one, get(), good(&[])).await;
    assert_eq!(stale(&other, get()).await.unwrap(), "good");
}

// ===== what is kept =====

#[tokio::test(start_paused = true)]
async fn a_503_is_never_kept() {
    // Mistake 30.
    let both = service(&layer());
    give(&both, get(), answer(503, &[("cache-control", "max-age=60")], "no")).await;
    assert!(stale(&both, get()).await.is_none());
}

#[tokio::test(start_paused = true)]
async fn only_good_answers_are_kept() {
    for status in [206, 301, 302, 304, 400, 403, 404, 429, 500, 503] {
        let both = service(&layer());
        give(&both, get(), answer(status, &[], "")).await;
        assert!(stale(&both, get()).await.is_none(), "{status}");
    }
    for status in [200, 201, 203, 204] {
        let both = service(&layer());
        give(&both, get(), answer(status, &[], "")).await;
        assert!(stale(&both, get()).await.is_some(), "{status}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_the_origin_forbids_is_not_kept() {
    for headers in [
        ("cache-control", "no-store"),
        ("cache-control", "max-age=60, No-Store"),
        ("cache-control", "private"),
        ("cache-control", "no-cache"),
        ("set-cookie", "session=1"),
        ("vary", "*"),
        ("vary", "accept, *"),
    ] {
        let both = service(&layer());
        give(&both, get(), good(&[headers])).await;
        assert!(stale(&both, get()).await.is_none(), "{headers:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_request_may_ask_for_its_answer_not_to_be_kept() {
    let both = service(&layer());
    let unkept = || request("GET", &[("cache-control", "no-store")]);
    give(&both, unkept(), good(&[])).await;
    assert!(stale(&both, get()).await.is_none());
    give(&both, get(), good(&[])).await;
    assert_eq!(stale(&both, unkept()).await.unwrap(), "good");
}

#[tokio::test(start_paused = true)]
async fn get_and_head_are_kept_apart_and_nothing_else_is_kept() {
    for method in ["GET", "HEAD", "POST", "PUT", "OPTIONS"] {
        let both = service(&layer());
        give(&both, request(method, &[]), good(&[])).await;
        for other in ["GET", "HEAD", "POST", "PUT", "OPTIONS"] {
            let kept = method == other && ["GET", "HEAD"].contains(&method);
            assert_eq!(stale(&both, request(other, &[])).await.is_some(), kept, "{method} {other}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn each_uri_has_an_entry_of_its_own() {
    let both = service(&layer());
    give(&both, get(), good(&[])).await;
    for uri in [
        "http://sku.internal/v1/items/43",
        "http://sku.internal/v1/items/42?x",
        "http://sku.internal:81/v1/items/42",
    ] {
        let other = Request::get(uri).body(String::new()).unwrap();
        assert!(stale(&both, other).await.is_none(), "{uri}");
    }
    let same = Request::get("HTTP://SKU.internal:80/v1/items/42").body(String::new()).unwrap();
    assert_eq!(stale(&both, same).await.unwrap(), "good");
}

// ===== bodies =====

#[tokio::test(start_paused = true)]
async fn a_body_is_not_delayed() {
    let (upstream, service) = service(&layer());
    let (sender, body) = streamed();
    upstream.will(with(200, &[], body));
    let mut body = ask(&service, get()).await.unwrap().into_body();
    sender.send(Ok("first ")).unwrap();
    let frame = body.frame().await.unwrap().unwrap();
    assert_eq!(frame.into_data().unwrap(), "first ");
    let mut second = tokio_test::task::spawn(body.frame());
    assert!(second.poll().is_pending(), "the second is not made yet");
    drop(second);
    sender.send(Ok("second")).unwrap();
    drop(sender);
    assert_eq!(body.collect().await.unwrap().to_bytes(), "second");
    assert_eq!(read(ask(&service, get()).await.unwrap()).await, "first second");
}

#[tokio::test(start_paused = true)]
async fn a_body_that_is_dropped_half_way_is_not_kept() {
    let both = service(&layer());
    give(&both, get(), good(&[])).await;
    let (sender, body) = streamed();
    both.0.will(with(200, &[], body));
    sender.send(Ok("bet")).unwrap();
    let mut body = ask(&both.1, get()).await.unwrap().into_body();
    body.frame().await.unwrap().unwrap();
    drop(body);
    assert_eq!(stale(&both, get()).await.unwrap(), "good");
}

#[tokio::test(start_paused = true)]
async fn a_body_that_breaks_is_not_kept_and_its_error_reaches_the_caller() {
    let both = service(&layer());
    let (sender, body) = streamed();
    both.0.will(with(200, &[], body));
    sender.send(Ok("half")).unwrap();
    sender.send(Err(io::ErrorKind::ConnectionReset.into())).unwrap();
    let broken: Result<_, BoxError> = ask(&both.1, get()).await.unwrap().into_body().collect().await;
    let kind = broken.unwrap_err().downcast::<io::Error>().unwrap().kind();
    assert_eq!(kind, io::ErrorKind::ConnectionReset);
    assert!(stale(&both, get()).await.is_none());
}

#[tokio::test(start_paused = true)]
async fn a_body_that_nobody_reads_is_not_kept() {
    let both = service(&layer());
    both.0.will(good(&[]));
    drop(ask(&both.1, get()).await.unwrap());
    assert!(stale(&both, get()).await.is_none());
}

#[tokio::test(start_paused = true)]
async fn a_body_over_the_bound_reaches_the_caller_whole_and_is_not_kept() {
    let layer = layer().max_entry_bytes(10);
    for (length, kept) in [(10, true), (11, false)] {
        let both = service(&layer);
        let uri = format!("http://sku.internal/{length}");
        let request = || Request::get(&uri).body(String::new()).unwrap();
        let (sender, body) = streamed();
        both.0.will(with(200, &[], body));
        (0..length).for_each(|_| sender.send(Ok("x")).unwrap());
        drop(sender);
        assert_eq!(read(ask(&both.1, request()).await.unwrap()).await.len(), length);
        assert_eq!(stale(&both, request()).await.map(|body| body.len()), kept.then_some(length));
    }
}

#[tokio::test(start_paused = true)]
async fn a_stale_body_states_its_length() {
    let both = service(&layer());
    give(&both, get(), good(&[])).await;
    let body = ask(&both.1, get()).await.unwrap().into_body();
    assert_eq!(body.size_hint().exact(), Some(4));
    assert!(!body.is_end_stream());
}

// ===== age =====

#[tokio::test(start_paused = true)]
async fn an_entry_is_served_until_it_is_too_old() {
    let both = service(&layer().max_age(MINUTE));
    give(&both, get(), good(&[])).await;
    advance(ALMOST_A_MINUTE).await;
    assert_eq!(stale(&both, get()).await.unwrap(), "good");
    advance(SECOND).await;
    assert!(stale(&both, get()).await.is_none());
}

#[tokio::test(start_paused = true)]
async fn the_age_that_an_answer_came_with_counts() {
    let both = service(&layer().max_age(MINUTE));
    give(&both, get(), good(&[("age", "59")])).await;
    assert!(stale(&both, get()).await.is_some());
    advance(SECOND).await;
    assert!(stale(&both, get()).await.is_none());
}

#[tokio::test(start_paused = true)]
async fn the_entry_is_still_there_after_failed_refreshes() {
    // Mistake 31.
    let both = service(&layer().max_age(MINUTE));
    give(&both, get(), good(&[("cache-control", "max-age=1")])).await;
    advance(2 * SECOND).await;
    for _ in 0..5 {
        assert_eq!(stale(&both, get()).await.unwrap(), "good");
        both.0.will(answer(503, &[], ""));
        assert_eq!(stale(&both, get()).await.unwrap(), "good");
    }
}

#[tokio::test(start_paused = true)]
async fn an_entry_is_as_old_as_its_last_good_answer() {
    let both = service(&layer().max_age(MINUTE));
    for _ in 0..3 {
        give(&both, get(), good(&[])).await;
        advance(ALMOST_A_MINUTE).await;
        let response = ask(&both.1, get()).await.unwrap();
        assert_eq!(response.extensions().get::<Stale>().unwrap().age, ALMOST_A_MINUTE);
    }
}

#[tokio::test(start_paused = true)]
async fn what_must_be_revalidated_is_not_served_stale_while_plain_answers_are() {
    // Mistake 33.
    for (cache_control, served) in [
        ("max-age=60", true),
        ("max-age=60, must-revalidate", false),
        ("max-age=60, proxy-revalidate", false),
        ("s-maxage=60", false),
        ("max-age=60, must-revalidate, stale-if-error=600", false),
    ] {
        let both = service(&layer());
        give(&both, get(), good(&[("cache-control", cache_control)])).await;
        advance(ALMOST_A_MINUTE).await;
        assert!(stale(&both, get()).await.is_some(), "{cache_control}: it is fresh");
        advance(SECOND).await;
        assert_eq!(stale(&both, get()).await.is_some(), served, "{cache_control}");
    }
}

#[tokio::test(start_paused = true)]
async fn stale_if_error_says_how_old_is_too_old() {
    for (cache_control, seconds) in [
        ("max-age=60, stale-if-error=30", 90),
        ("stale-if-error=120", 120),
        ("max-age=5, stale-if-error=86400", 86405),
    ] {
        let both = service(&layer().max_age(MINUTE));
        give(&both, get(), good(&[("cache-control", cache_control)])).await;
        advance((seconds - 1) * SECOND).await;
        assert!(stale(&both, get()).await.is_some(), "{cache_control}");
        advance(SECOND).await;
        assert!(stale(&both, get()).await.is_none(), "{cache_control}");
    }
}

// ===== what removes an entry =====

#[tokio::test(start_paused = true)]
async fn what_is_gone_is_handed_on_and_removes_the_entry() {
    for (status, method) in [(404, "GET"), (410, "GET"), (404, "HEAD")] {
        let both = service(&layer());
        give(&both, get(), good(&[])).await;
        both.0.will(answer(status, &[], "gone"));
        let response = ask(&both.1, request(method, &[])).await.unwrap();
        assert_eq!(response.status(), status);
        assert!(response.extensions().get::<Stale>().is_none());
        assert_eq!(read(response).await, "gone");
        assert!(stale(&both, get()).await.is_none(), "{status} {method}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_successful_unsafe_method_removes_the_entry_and_a_failed_one_does_not() {
    for (method, status, removed) in [
        ("POST", 201, true),
        ("PUT", 204, true),
        ("PATCH", 200, true),
        ("DELETE", 200, true),
        ("POST", 303, true),
        ("UNKNOWN", 200, true),
        ("PUT", 409, false),
        ("DELETE", 500, false),
        ("POST", 503, false),
        ("OPTIONS", 200, false),
    ] {
        let both = service(&layer());
        give(&both, get(), good(&[])).await;
        give(&both, request("HEAD", &[]), answer(200, &[], "")).await;
        give(&both, request(method, &[]), answer(status, &[], "")).await;
        assert_eq!(stale(&both, get()).await.is_none(), removed, "{method} {status}");
        assert_eq!(stale(&both, request("HEAD", &[])).await.is_none(), removed, "{method} {status}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_unsafe_method_that_did_not_reach_the_upstream_removes_nothing() {
    let both = service(&layer());
    give(&both, get(), good(&[])).await;
    assert!(ask(&both.1, request("DELETE", &[])).await.is_err());
    assert_eq!(stale(&both, get()).await.unwrap(), "good");
}

#[tokio::test(start_paused = true)]
async fn a_newer_answer_that_may_not_be_kept_removes_the_older_one() {
    for headers in [("cache-control", "no-store"), ("set-cookie", "session=1"), ("vary", "*")] {
        let both = service(&layer());
        give(&both, get(), good(&[])).await;
        give(&both, get(), answer(200, &[headers], "newer")).await;
        assert!(stale(&both, get()).await.is_none(), "{headers:?}");
    }
}

// ===== one user's answer =====

#[tokio::test(start_paused = true)]
async fn one_users_answer_is_never_served_to_another() {
    // Mistake 34.
    for header in ["authorization", "cookie"] {
        let both = service(&layer());
        let (alice, bob) = (|| request("GET", &[(header, "alice")]), || request("GET", &[(header, "bob")]));
        give(&both, alice(), answer(200, &[("cache-control", "public, max-age=60")], "alice's")).await;
        for other in [alice(), bob(), get()] {
            assert!(stale(&both, other).await.is_none(), "{header}");
        }
        // Nor is everybody's answer taken for hers.
        give(&both, get(), good(&[])).await;
        assert!(stale(&both, alice()).await.is_none(), "{header}");
        assert_eq!(stale(&both, get()).await.unwrap(), "good");
    }
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_varies_is_served_only_to_an_equal_request() {
    let both = service(&layer());
    let of = |tenant| request("GET", &[("x-tenant", tenant), ("x-trace", "1")]);
    give(&both, of("a"), good(&[("vary", "Accept-Language, X-Tenant")])).await;
    assert!(stale(&both, of("b")).await.is_none());
    assert!(stale(&both, get()).await.is_none());
    let other_trace = request("GET", &[("x-tenant", "a"), ("x-trace", "2")]);
    assert_eq!(stale(&both, other_trace).await.unwrap(), "good");
    assert!(stale(&both, request("GET", &[("x-tenant", "a"), ("accept-language", "de")])).await.is_none());
}

#[tokio::test(start_paused = true)]
async fn debug_output_holds_no_credential_and_no_body() {
    let store = MemoryStore::default();
    let layer = LastKnownGoodLayer::new(store.clone());
    let both = service(&layer);
    let with_key = || request("GET", &[("x-api-key", "secret"), ("accept", "secret")]);
    give(&both, with_key(), answer(200, &[("vary", "x-api-key"), ("x-token", "secret")], "secret")).await;
    let (sender, body) = streamed();
    both.0.will(with(200, &[("vary", "x-api-key")], body));
    sender.send(Ok("secret")).unwrap();
    let mut streaming = ask(&both.1, with_key()).await.unwrap().into_body();
    streaming.frame().await.unwrap().unwrap();
    let called = both.1.clone().call(with_key());
    let shown: [&dyn Debug; 5] = [&store, &layer, &both.1, &streaming, &called];
    assert!(!format!("{shown:?}").contains("secret"), "{shown:?}");
}

// ===== the store =====

async fn fill(both: &(Upstream, Layered), keys: std::ops::Range<usize>, length: usize) {
    for key in keys {
        let request = Request::get(format!("http://sku.internal/{key}")).body(String::new()).unwrap();
        give(both, request, with(200, &[], full(vec![b'x'; length]))).await;
    }
}

async fn kept(both: &(Upstream, Layered), keys: std::ops::Range<usize>) -> Vec<usize> {
    let mut kept = Vec::new();
    for key in keys {
        let request = Request::get(format!("http://sku.internal/{key}")).body(String::new()).unwrap();
        if stale(both, request).await.is_some() {
            kept.push(key);
        }
    }
    kept
}

#[tokio::test(start_paused = true)]
async fn new_keys_into_a_full_store_are_all_kept() {
    // Mistake 32.
    let store = MemoryStore::builder().max_bytes(1024 * 1024).build().unwrap();
    let both = service(&LastKnownGoodLayer::new(store.clone()));
    fill(&both, 0..1000, 1024).await;
    let full = store.len();
    fill(&both, 1000..1300, 1024).await;
    assert!(full < 1000, "it is full: {full}");
    assert_eq!(kept(&both, 1000..1300).await.len(), 300);
}

#[tokio::test(start_paused = true)]
async fn the_least_recently_used_goes_first() {
    let store = MemoryStore::builder().max_bytes(100 * 1024).build().unwrap();
    let both = service(&LastKnownGoodLayer::new(store.clone()));
    fill(&both, 0..4, 20 * 1024).await;
    assert_eq!(kept(&both, 0..1).await, [0]);
    fill(&both, 4..5, 20 * 1024).await;
    assert_eq!(kept(&both, 0..5).await, [0, 2, 3, 4]);
}

#[tokio::test(start_paused = true)]
async fn the_store_stays_within_its_bytes() {
    let store = MemoryStore::builder().max_bytes(64 * 1024).build().unwrap();
    let both = service(&LastKnownGoodLayer::new(store.clone()));
    for (round, length) in [0, 100, 10_000, 60_000, 3_000].into_iter().enumerate() {
        for key in 0..50 {
            // Old keys grow and shrink, and there are new ones.
            let start = key + round * 25;
            fill(&both, start..start + 1, length).await;
            assert!(store.bytes() <= 64 * 1024, "{} bytes", store.bytes());
        }
    }
    assert!(store.bytes() >= 32 * 1024 && !store.is_empty(), "{store:?}");
}

#[tokio::test(start_paused = true)]
async fn an_answer_larger_than_the_store_is_handed_on_and_not_kept() {
    let store = MemoryStore::builder().max_bytes(1024).build().unwrap();
    let both = service(&LastKnownGoodLayer::new(store.clone()));
    fill(&both, 0..1, 10).await;
    fill(&both, 0..2, 4096).await;
    assert_eq!(kept(&both, 0..2).await, [0_usize; 0]);
    assert_eq!((store.len(), store.bytes()), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn what_is_removed_is_not_counted() {
    let store = MemoryStore::default();
    let both = service(&LastKnownGoodLayer::new(store.clone()));
    give(&both, get(), good(&[])).await;
    assert_eq!(store.len(), 1);
    give(&both, get(), answer(404, &[], "")).await;
    assert_eq!((store.len(), store.bytes()), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn a_dropped_call_leaves_no_entry() {
    let store = MemoryStore::default();
    let service = LastKnownGoodLayer::new(store.clone()).layer(tower::service_fn(|_: Request<String>| {
        std::future::pending::<Result<Response<Body>, Error<io::Error>>>()
    }));
    let mut call = tokio_test::task::spawn(service.oneshot(get()));
    assert!(call.poll().is_pending());
    drop(call);
    assert!(store.is_empty());
}

// ===== Memory =====

#[test]
fn a_body_in_tiny_pieces_takes_about_its_bytes() {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    for (piece, pieces) in [("", 500_000), ("x", 1 << 19)] {
        let layer = LastKnownGoodLayer::new(MemoryStore::default());
        let service = layer.layer(tower::service_fn(move |_: Request<String>| async move {
            let frame = move |_| Ok::<_, BoxError>(Frame::data(Bytes::from_static(piece.as_bytes())));
            Ok::<_, Error<io::Error>>(Response::new(StreamBody::new(futures_util::stream::iter(
                (0..pieces).map(frame),
            ))))
        }));
        let most = allocation_counter::measure(|| {
            runtime.block_on(async {
                let mut body = service.oneshot(get()).await.unwrap().into_body();
                while let Some(frame) = body.frame().await {
                    frame.unwrap();
                }
            });
        });
        assert!(most.bytes_max < 4 << 20, "{} bytes for pieces of {piece:?}", most.bytes_max);
    }
}
