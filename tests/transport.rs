//! The client's transport: settings of reqwest, redirects, faults that no retry can mend, and the environment.
#![cfg(feature = "reqwest")]

mod server;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::FutureExt;
use http::{HeaderMap, HeaderValue, StatusCode};
use reqwest::redirect::Policy;
use steadfast::bulkhead::Bulkhead;
use steadfast::circuit_breaker::{CircuitBreaker, State};
use steadfast::http::HttpClassifier;
use steadfast::last_known_good::LastKnownGood;
use steadfast::retry::{Backoff, RetryBudget, RetryPolicy};
use steadfast::{Client, ClientBuilder, ClientError, ErrorKind, Outcome, RequestBuilder, RetryableRequest};

use self::server::{Reply, Server};

const SECOND: Duration = Duration::from_secs(1);

/// A client whose circuit opens at the second failure in a row, and whose retries do not wait.
fn brittle() -> ClientBuilder {
    Client::builder()
        .retry(RetryPolicy::builder().backoff(Backoff::new().base(Duration::ZERO)))
        .circuit_breaker(CircuitBreaker::builder().consecutive_failures(2, Duration::ZERO))
}

fn failures(client: &Client, server: &Server) -> u16 {
    let handle = client.upstream_at(server.url("/")).unwrap();
    handle.circuit_breaker().unwrap().snapshot().consecutive_failures
}

fn redirect(to: &str) -> Reply {
    Reply::status(302, &[("location", to)], "")
}

// ===== Settings =====

/// Records the value of a header as the layers see it.
fn seen_by_layers(builder: ClientBuilder, header: &'static str) -> (ClientBuilder, Arc<Mutex<Vec<String>>>) {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let record = Arc::clone(&seen);
    let builder = builder.classifier_by(move |request| {
        let value = request.headers().get(header).map(|value| value.to_str().unwrap().to_owned());
        record.lock().unwrap().push(value.unwrap_or_default());
        None
    });
    (builder, seen)
}

#[tokio::test]
async fn default_headers_arrive_and_the_layers_see_them() {
    let mut headers = HeaderMap::new();
    headers.insert("x-tenant", HeaderValue::from_static("blue"));
    let builder = Client::builder().user_agent("shop/1").default_headers(headers);
    let (builder, seen) = seen_by_layers(builder, "x-tenant");
    let client = builder.build().unwrap();
    let server = Server::new([Reply::ok("")]);
    client.get(server.url("/")).send().await.unwrap();
    assert_eq!(server.last().header("x-tenant"), Some("blue"));
    assert_eq!(server.last().header("user-agent"), Some("shop/1"));
    client.get(server.url("/")).header("x-tenant", "green").send().await.unwrap();
    assert_eq!(server.last().header("x-tenant"), Some("green"));
    seen.lock().unwrap().dedup();
    assert_eq!(*seen.lock().unwrap(), ["blue", "green"]);
}

#[cfg(feature = "cookies")]
#[tokio::test]
async fn the_layers_see_the_cookies_and_each_request_has_the_current_ones() {
    use steadfast::ResponseExt as _;

    let (builder, seen) = seen_by_layers(Client::builder().cookie_store(true), "cookie");
    let client = builder.build().unwrap();
    let server = Server::new([
        Reply::status(200, &[("set-cookie", "session=1")], ""),
        Reply::status(302, &[("set-cookie", "session=2"), ("location", "/next")], ""),
        Reply::status(503, &[("set-cookie", "session=3")], ""),
        Reply::ok(""),
    ]);
    client.get(server.url("/")).send().await.unwrap();
    let response = client.get(server.url("/login")).send().await.unwrap();
    assert_eq!(response.attempts(), 2);
    let cookies: Vec<_> =
        server.received().iter().map(|request| request.header("cookie").map(ToOwned::to_owned)).collect();
    assert_eq!(
        cookies,
        [None, Some("session=1".into()), Some("session=2".into()), Some("session=3".to_owned())]
    );
    seen.lock().unwrap().dedup();
    assert_eq!(*seen.lock().unwrap(), ["", "session=1"]);
}

/// The first attempt is Alice's. Bob logs in during its backoff, so the answer is Bob's.
#[cfg(feature = "cookies")]
#[tokio::test]
async fn an_answer_to_other_cookies_than_the_layers_saw_is_not_stored() {
    let jar = Arc::new(reqwest::cookie::Jar::default());
    let server = Server::new([Reply::unavailable(), Reply::ok("bob's"), Reply::unavailable()]);
    let url: reqwest::Url = server.url("/").parse().unwrap();
    let (logs_in, login) = (Arc::clone(&jar), url.clone());
    let classifier = HttpClassifier::new().on_response(move |_, _| {
        logs_in.add_cookie_str("user=bob", &login);
        None
    });
    jar.add_cookie_str("user=alice", &url);
    let client = Client::builder()
        .cookie_provider(Arc::clone(&jar))
        .last_known_good(LastKnownGood::builder())
        .classifier(classifier)
        .build()
        .unwrap();
    let response = client.get(server.url("/")).send().await.unwrap();
    assert_eq!(response.text().await.unwrap(), "bob's");
    assert!(client.last_known_good().unwrap().is_empty());
}

/// Asserts that `build` refuses each builder, with an error that names the field.
fn refuses(builders: impl IntoIterator<Item = (ClientBuilder, &'static str)>) {
    for (builder, field) in builders {
        let error = builder.build().expect_err(field);
        assert_eq!(error.field(), field, "{error}");
        assert!(error.to_string().starts_with(&format!("{field} is {}", error.value())), "{error}");
    }
}

#[test]
fn settings_that_contradict_each_other_are_refused() {
    let new = Client::builder;
    refuses([
        (new().total_timeout(SECOND).attempt_timeout(2 * SECOND), "client.attempt_timeout"),
        (new().attempt_timeout(SECOND).connect_timeout(2 * SECOND), "client.connect_timeout"),
        (new().connect_timeout(Duration::ZERO), "client.connect_timeout"),
        (new().user_agent("\n"), "client.user_agent"),
        (new().with_watched_redirects(), "client.with_watched_redirects"),
    ]);
    assert!(new().without_total_timeout().attempt_timeout(60 * SECOND).build().is_ok());
}

#[test]
fn settings_that_would_be_ignored_are_refused() {
    let given = || Client::builder().reqwest_client(reqwest::Client::new());
    let headers = HeaderMap::from_iter([(http::header::ACCEPT, HeaderValue::from_static("*/*"))]);
    refuses([
        (given().user_agent("shop/1"), "client.user_agent"),
        (given().default_headers(headers), "client.default_headers"),
        (given().connect_timeout(SECOND), "client.connect_timeout"),
        (given().redirect(Policy::none()), "client.redirect"),
        (given().no_proxy(), "client.no_proxy"),
        (Client::builder().without_retry().retry_budget(RetryBudget::builder()), "client.retry_budget"),
        (given().proxy(reqwest::Proxy::http("http://127.0.0.1:1").unwrap()), "client.proxy"),
        (
            Client::builder().circuit_breaker(CircuitBreaker::builder().name("x")),
            "client.circuit_breaker.name",
        ),
        (Client::builder().bulkhead(Bulkhead::builder().name("x")), "client.bulkhead.name"),
        (Client::builder().retry_budget(RetryBudget::builder().name("x")), "client.retry_budget.name"),
    ]);
}

#[test]
fn a_copy_for_a_retry_is_the_same_request() {
    let client = reqwest::Client::new();
    let plain =
        || client.put("http://sku.internal/v1?a=1").header("x-one", "1").version(http::Version::HTTP_2);
    for builder in [plain(), plain().timeout(SECOND), plain().body("body")] {
        let request = builder.build().unwrap();
        let copy = RetryableRequest::try_clone(&request).unwrap();
        assert_eq!(
            (copy.method(), copy.url(), copy.headers()),
            (request.method(), request.url(), request.headers())
        );
        assert_eq!((copy.version(), copy.timeout()), (request.version(), request.timeout()));
        let bytes = |request: &reqwest::Request| request.body().map(|body| body.as_bytes().unwrap().to_vec());
        assert_eq!(bytes(&copy), bytes(&request));
    }
}

// ===== Redirects =====

#[tokio::test]
async fn a_redirect_to_a_dead_host_does_not_count_against_the_redirecting_host() {
    let server = Server::new([redirect(&Server::absent().url("/"))]);
    let client = brittle().build().unwrap();
    for _ in 0..2 {
        let error = client.get(server.url("/")).send().await.unwrap_err();
        assert!(error.is_connect() && error.is_of_redirect_target(), "{error:?}");
        assert!(error.to_string().contains("redirect target: connection failed"), "{error}");
    }
    assert_eq!(failures(&client, &server), 0);
}

#[tokio::test]
async fn an_answer_of_a_redirects_target_does_not_count_against_the_redirecting_host() {
    let given = || Client::builder().reqwest_client(reqwest::Client::new());
    for builder in [Client::builder(), given()] {
        let target = Server::new([Reply::unavailable()]);
        let server = Server::new([redirect(&target.url("/"))]);
        let client = builder
            .circuit_breaker(CircuitBreaker::builder().consecutive_failures(2, Duration::ZERO))
            .without_retry()
            .build()
            .unwrap();
        for _ in 0..3 {
            assert_eq!(client.get(server.url("/")).send().await.unwrap().status(), 503);
        }
        assert_eq!(failures(&client, &server), 0);
    }
}

#[tokio::test]
async fn a_redirects_target_that_hangs_does_not_count_against_the_redirecting_host() {
    let target = Server::new([Reply::never()]);
    let server = Server::new([redirect(&target.url("/"))]);
    let client = brittle().without_retry().attempt_timeout(SECOND / 10).build().unwrap();
    for _ in 0..3 {
        let error = client.get(server.url("/")).send().await.unwrap_err();
        assert!(error.is_timeout(), "{error:?}");
    }
    assert_eq!(failures(&client, &server), 0);
}

#[tokio::test]
async fn a_stalled_body_of_a_redirects_target_does_not_count_against_the_redirecting_host() {
    let target = Server::new([Reply::Stall(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhalf".to_vec())]);
    let server = Server::new([redirect(&target.url("/"))]);
    let circuit = CircuitBreaker::builder().consecutive_failures(2, Duration::ZERO);
    let client = brittle()
        .circuit_breaker(circuit.abandoned_after(SECOND / 50))
        .without_retry()
        .attempt_timeout(SECOND / 10)
        .build()
        .unwrap();
    for _ in 0..3 {
        assert!(client.get(server.url("/")).send().await.unwrap().text().await.unwrap_err().is_timeout());
        // This call is dropped while the body is read.
        let call = client.get(server.url("/")).send();
        assert!(tokio::time::timeout(SECOND / 20, call).await.is_err());
    }
    assert_eq!(failures(&client, &server), 0);
}

#[tokio::test]
async fn a_redirect_that_is_not_followed_is_the_answer_of_the_host() {
    let server = Server::new([redirect("http://other.internal/")]);
    let client = brittle().redirect(Policy::none()).build().unwrap();
    assert_eq!(client.get(server.url("/")).send().await.unwrap().status(), 302);
    let client = brittle().redirect(Policy::limited(0)).build().unwrap();
    let error = client.get(server.url("/")).send().await.unwrap_err();
    assert!(error.is_redirect() && !error.is_of_redirect_target(), "{error:?}");
}

#[tokio::test]
async fn the_budget_does_not_pay_for_the_faults_of_a_redirects_target() {
    let server = Server::new([redirect(&Server::absent().url("/"))]);
    let client = brittle().without_retry().build().unwrap();
    client.get(server.url("/")).send().await.unwrap_err();
    let tokens = client.upstream_at(server.url("/")).unwrap().retry_budget().unwrap().tokens();
    assert!((tokens - 2.0).abs() < 1e-9, "{tokens}");
}

#[tokio::test]
async fn a_fault_after_a_redirect_within_a_host_counts_against_the_host() {
    for reply in [Reply::closed(), Reply::unavailable()] {
        let server = Server::new([redirect("/next"), reply]);
        let client = brittle().without_retry().build().unwrap();
        let _ = client.get(server.url("/")).send().await;
        assert_eq!(failures(&client, &server), 1);
    }
}

/// The redirecting host answers, so a probe that it redirects to a dead host closes its circuit.
#[tokio::test]
async fn a_probe_that_is_redirected_to_a_dead_host_closes_the_circuit() {
    let server =
        Server::new([Reply::unavailable(), Reply::unavailable(), redirect(&Server::absent().url("/"))]);
    let circuit =
        CircuitBreaker::builder().consecutive_failures(2, Duration::ZERO).open_for(Duration::from_millis(10));
    let client = brittle().circuit_breaker(circuit).without_retry().build().unwrap();
    for _ in 0..2 {
        client.get(server.url("/")).send().await.unwrap();
    }
    let handle = client.upstream_at(server.url("/")).unwrap();
    let circuit = handle.circuit_breaker().unwrap();
    assert_eq!(circuit.state(), State::Open);
    while client.get(server.url("/")).send().await.unwrap_err().is_circuit_open() {
        tokio::task::yield_now().await;
    }
    assert_eq!(circuit.state(), State::Closed);
}

#[tokio::test]
async fn an_answer_that_came_through_a_redirect_is_not_stored() {
    let target = Server::new([Reply::ok("of another")]);
    for to in [target.url("/"), "/login".to_owned()] {
        let server = Server::new([redirect(&to), Reply::ok("login")]);
        let client = Client::builder().last_known_good(LastKnownGood::builder()).build().unwrap();
        client.get(server.url("/")).send().await.unwrap().bytes().await.unwrap();
        assert!(client.last_known_good().unwrap().is_empty());
    }
}

// ===== What can never work =====

#[cfg(not(feature = "rustls"))]
#[tokio::test]
async fn a_scheme_without_tls_is_neither_retried_nor_counted() {
    let client = brittle().build().unwrap();
    for _ in 0..3 {
        let error = client.get("https://127.0.0.1:1/").send().await.unwrap_err();
        assert!(error.is_connect() && !error.maybe_sent(), "{error:?}");
        assert_eq!(error.attempts(), 1);
        assert!(error.to_string().contains("the client is built without TLS"), "{error}");
    }
    let handle = client.upstream_at("https://127.0.0.1:1/").unwrap();
    assert_eq!(handle.circuit_breaker().unwrap().snapshot().consecutive_failures, 0);
}

#[tokio::test]
async fn an_invalid_url_is_neither_retried_nor_counted() {
    let client = brittle().build().unwrap();
    for url in ["ftp://127.0.0.1/", "not a url", "http://"] {
        let error = client.get(url).send().await.unwrap_err();
        assert_eq!((error.attempts(), error.maybe_sent()), (0, false), "{error:?}");
        assert!(error.is_builder(), "{error:?}");
    }
}

// ===== Upstreams =====

#[tokio::test]
async fn a_circuit_that_was_forced_open_is_not_evicted_by_other_upstreams() {
    let client = Client::builder().max_upstreams(2).build().unwrap();
    client.upstream_at("http://forced.internal").unwrap().circuit_breaker().unwrap().force_open();
    for other in ["http://one.internal", "http://two.internal", "http://three.internal"] {
        client.upstream_at(other).unwrap();
    }
    let handle = client.upstream_at("http://forced.internal").unwrap();
    assert_eq!(handle.circuit_breaker().unwrap().state(), State::ForcedOpen);
}

#[tokio::test]
async fn an_upstream_with_a_call_in_flight_is_not_evicted_by_other_upstreams() {
    let server = Server::new([Reply::never()]);
    let client = Client::builder().max_upstreams(2).build().unwrap();
    let call = client.get(server.url("/")).send();
    let mut call = tokio_test::task::spawn(call);
    assert!(call.poll().is_pending());
    for other in ["http://one.internal", "http://two.internal", "http://three.internal"] {
        client.upstream_at(other).unwrap();
    }
    let handle = client.upstream_at(server.url("/")).unwrap();
    assert_eq!(handle.bulkhead().unwrap().in_flight(), 1);
}

// ===== Environment =====

#[test]
fn a_call_outside_of_a_runtime_fails_with_an_error_that_says_so() {
    let eager = HttpClassifier::new().on_error(|_| Some(Outcome::transient()));
    let client = brittle().classifier(eager).build().unwrap();
    for _ in 0..3 {
        let error = client.get("http://127.0.0.1:1/").send().now_or_never().unwrap().unwrap_err();
        assert_eq!((error.kind(), error.attempts(), error.maybe_sent()), (ErrorKind::NoRuntime, 0, false));
        assert_eq!(error.to_string(), "no tokio runtime on this thread (0 attempts)");
    }
    let handle = client.upstream_at("http://127.0.0.1:1/").unwrap();
    assert_eq!(handle.circuit_breaker().unwrap().snapshot().consecutive_failures, 0);
}

#[test]
fn a_client_outlives_the_runtime_of_its_connections() {
    let client = Client::new();
    let serve = |client: &Client| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let server = Server::new([Reply::ok("good")]);
            let response = client.get(server.url("/")).send().await.unwrap();
            assert_eq!(response.text().await.unwrap(), "good");
        });
    };
    serve(&client);
    serve(&client);
    std::thread::scope(|scope| scope.spawn(|| serve(&client)).join().unwrap());
}

// ===== Drop-in =====

#[tokio::test]
async fn the_client_replaces_a_reqwest_client_at_compile_time() {
    fn is_unpin<T: Unpin>(_: &T) {}
    let server = Server::new([Reply::ok("good")]);
    let client = Client::from(reqwest::Client::new());
    let mut call = client.get(server.url("/")).send();
    is_unpin(&call);
    let response: Result<reqwest::Response, ClientError> = (&mut call).await;
    assert_eq!(response.unwrap().status(), StatusCode::OK);

    let (client, call) = client.post(server.url("/split")).body("x").timeout(SECOND).build_split();
    let call = call.unwrap();
    assert_eq!(call.request().method(), "POST");
    let response = RequestBuilder::from_parts(client, call).header("x-one", "1").send().await.unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    assert_eq!((server.last().target.as_str(), server.last().header("x-one")), ("/split", Some("1")));
}

#[tokio::test]
async fn the_predicates_of_reqwests_error_hold_for_the_error_of_the_client() {
    let server = Server::new([redirect("/")]);
    let client = Client::builder().redirect(Policy::limited(1)).build().unwrap();
    let error = client.get(server.url("/")).send().await.unwrap_err();
    assert!(error.is_redirect() && !error.is_builder() && !error.is_body() && !error.is_decode());
    let error = client.get(Server::absent().url("/")).send().await.unwrap_err();
    assert!(error.is_request() && error.is_connect() && !error.is_status());
}

#[tokio::test]
async fn no_text_of_an_error_shows_credentials_or_a_query() {
    let server = Server::absent();
    let url = server.url("/path?token=secret#secret").replace("http://", "http://user:secret@");
    let client = brittle().build().unwrap();
    let looping = Server::new([redirect("http://user:secret@127.0.0.1/?secret")]);
    let once = brittle().redirect(Policy::limited(0)).build().unwrap();
    let redirected = once.get(looping.url("/")).send().await.unwrap_err();
    let opaque = client.get("user:secret@host/path").send().await.unwrap_err();
    for error in [
        client.get(&url).send().await.unwrap_err(),
        client.get("ftp://a/?secret").send().await.unwrap_err(),
        redirected,
        opaque,
    ] {
        let mut texts =
            vec![format!("{error}"), format!("{error:#}"), format!("{error:?}"), format!("{error:#?}")];
        let mut cause: Option<&dyn std::error::Error> = Some(&error);
        while let Some(error) = cause {
            texts.extend([error.to_string(), format!("{error:?}")]);
            cause = error.source();
        }
        assert!(texts.iter().all(|text| !text.contains("secret")), "{texts:#?}");
    }
}
