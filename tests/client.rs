//! Building and using the client, against real servers on loopback.
#![cfg(feature = "reqwest")]

mod server;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use http::header::{AUTHORIZATION, HeaderMap, HeaderValue};
use http::{Method, StatusCode, Version};
use reqwest::Url;
use reqwest::redirect::Policy;
use steadfast::buffer_body::BufferBodyLayer;
use steadfast::bulkhead::Bulkhead;
use steadfast::circuit_breaker::{CircuitBreaker, State, Window};
use steadfast::http::HttpClassifier;
use steadfast::last_known_good::{Cause, LastKnownGood};
use steadfast::retry::{Backoff, Jitter, RetryBudget, RetryLayer, RetryPolicy};
use steadfast::{
    Call, CallOptions, Client, ClientBuilder, Error, HasCallOptions, Outcome, RequestBuilder, ReqwestService,
    ResponseExt, RetrySafety, StopReason,
};
use tokio::sync::Notify;
use tower::{Service, ServiceBuilder, ServiceExt};

use self::server::{Reply, Server, message};

const SECOND: Duration = Duration::from_secs(1);

// ===== requests =====

#[tokio::test]
async fn each_method_arrives_as_itself() {
    let server = Server::new([Reply::ok("")]);
    let client = Client::new();
    let url = || server.url("/v1");
    let requests = [
        (client.get(url()), "GET"),
        (client.post(url()), "POST"),
        (client.put(url()), "PUT"),
        (client.patch(url()), "PATCH"),
        (client.delete(url()), "DELETE"),
        (client.head(url()), "HEAD"),
        (client.request(Method::OPTIONS, url()), "OPTIONS"),
    ];
    for (request, method) in requests {
        assert_eq!(request.send().await.unwrap().status(), StatusCode::OK, "{method}");
        assert_eq!(server.last().method, method);
    }
}

#[tokio::test]
async fn the_settings_of_a_request_arrive() {
    let server = Server::new([Reply::ok("")]);
    let client = Client::new();
    let mut more = HeaderMap::new();
    more.insert("x-two", HeaderValue::from_static("2"));
    client
        .put(server.url("/v1?a=1"))
        .header("x-one", "1")
        .headers(more)
        .query(&[("b", "2 3")])
        .version(Version::HTTP_11)
        .body("the body")
        .send()
        .await
        .unwrap();
    let received = server.last();
    assert_eq!(received.target, "/v1?a=1&b=2+3");
    assert_eq!(received.version, "HTTP/1.1");
    assert_eq!(received.header("x-one"), Some("1"));
    assert_eq!(received.header("x-two"), Some("2"));
    assert_eq!(received.body(), "the body");
}

#[tokio::test]
async fn json_and_forms_arrive_with_their_content_types() {
    let server = Server::new([Reply::ok("")]);
    let client = Client::new();
    let fields = HashMap::from([("name", "a b")]);
    client.post(server.url("/")).json(&fields).send().await.unwrap();
    assert_eq!(server.last().header("content-type"), Some("application/json"));
    assert_eq!(server.last().body(), r#"{"name":"a b"}"#);
    client.post(server.url("/")).form(&fields).send().await.unwrap();
    assert_eq!(server.last().header("content-type"), Some("application/x-www-form-urlencoded"));
    assert_eq!(server.last().body(), "name=a+b");
}

#[tokio::test]
async fn credentials_arrive() {
    let server = Server::new([Reply::ok("")]);
    let client = Client::new();
    client.get(server.url("/")).bearer_auth("token").send().await.unwrap();
    assert_eq!(server.last().header("authorization"), Some("Bearer token"));
    client.get(server.url("/")).basic_auth("user", Some("pass")).send().await.unwrap();
    assert_eq!(server.last().header("authorization"), Some("Basic dXNlcjpwYXNz"));
}

#[tokio::test]
async fn with_reaches_the_rest_of_reqwests_builder() {
    let server = Server::new([Reply::ok("")]);
    let client = Client::new();
    let request = client.post(server.url("/")).with(|builder| builder.body("changed").header("x-with", "1"));
    request.send().await.unwrap();
    assert_eq!((server.last().body(), server.last().header("x-with")), ("changed", Some("1")));
}

#[tokio::test]
async fn a_built_call_carries_its_request_and_options() {
    let client = Client::new();
    let builder = client
        .post("http://sku.internal/v1")
        .timeout(SECOND)
        .retry_safety(RetrySafety::Never)
        .without_last_known_good();
    let copy: RequestBuilder = builder.try_clone().unwrap();
    for builder in [builder, copy] {
        let call: Call<reqwest::Request> = builder.build().unwrap();
        assert_eq!(call.request().url().as_str(), "http://sku.internal/v1");
        assert_eq!(
            call.options(),
            CallOptions::new().timeout(SECOND).retry_safety(RetrySafety::Never).without_last_known_good()
        );
    }
    let once = client.get("http://a/").idempotent(false).build().unwrap();
    assert_eq!(once.options().get_retry_safety(), Some(RetrySafety::UnlessSent));
}

#[tokio::test]
async fn a_request_that_cannot_be_built_is_an_upstream_error_that_says_so() {
    let client = Client::new();
    for request in [client.get("not a url"), client.get("http://sku.internal/").header("x", "\n")] {
        let error = request.send().await.unwrap_err();
        assert!(error.inner().is_some_and(reqwest::Error::is_builder), "{error:?}");
    }
    assert!(client.upstreams().is_empty());
}

// ===== responses =====

#[tokio::test]
async fn a_response_is_reqwests_own() {
    let server = Server::new([Reply::status(201, &[("x-answer", "42")], r#"{"item":42}"#)]);
    let client = Client::new();
    let response: reqwest::Response = client.get(server.url("/v1/items/42?full")).send().await.unwrap();
    assert_eq!(response.status(), StatusCode::CREATED);
    assert_eq!(response.version(), Version::HTTP_11);
    assert_eq!(response.headers()["x-answer"], "42");
    assert_eq!(response.url().as_str(), server.url("/v1/items/42?full"));
    assert_eq!(response.content_length(), Some(11));
    assert!(response.remote_addr().is_some());
    assert_eq!((response.attempts(), response.stale()), (1, None));
    assert_eq!(response.json::<HashMap<String, u8>>().await.unwrap()["item"], 42);
    let response = client.get(server.url("/")).send().await.unwrap();
    assert_eq!(response.text().await.unwrap(), r#"{"item":42}"#);
}

#[tokio::test]
async fn a_streamed_body_comes_chunk_by_chunk() {
    let gate = std::sync::Arc::new(tokio::sync::Notify::new());
    let first = [server::chunked_head(200), server::chunk(b"one")].concat();
    let second = [server::chunk(b"two"), b"0\r\n\r\n".to_vec()].concat();
    let server = Server::new([Reply::Gate(first, std::sync::Arc::clone(&gate), second)]);
    let mut response = Client::new().get(server.url("/")).send().await.unwrap();
    assert_eq!(response.chunk().await.unwrap().unwrap(), "one");
    gate.notify_one();
    assert_eq!(response.chunk().await.unwrap().unwrap(), "two");
    assert_eq!(response.chunk().await.unwrap(), None);
}

#[tokio::test]
async fn after_a_redirect_the_url_is_the_final_one() {
    let server = Server::new([Reply::status(302, &[("location", "/final")], ""), Reply::ok("there")]);
    let response = Client::new().get(server.url("/first")).send().await.unwrap();
    assert_eq!(response.url().as_str(), server.url("/final"));
    assert_eq!(response.text().await.unwrap(), "there");
}

/// A builder of a client with a last-known-good cache.
fn caching() -> ClientBuilder {
    Client::builder().last_known_good(LastKnownGood::builder())
}

#[tokio::test]
async fn a_client_without_last_known_good_serves_no_stale_response() {
    let mut server = Server::new([Reply::ok("good"), Reply::unavailable()]);
    let client = Client::builder().without_retry().build().unwrap();
    assert_eq!(client.get(server.url("/")).send().await.unwrap().text().await.unwrap(), "good");
    let response = client.get(server.url("/")).send().await.unwrap();
    assert_eq!((response.status(), response.stale()), (StatusCode::SERVICE_UNAVAILABLE, None));
    server.stop().await;
    assert!(client.get(server.url("/")).send().await.unwrap_err().is_connect());
}

#[tokio::test]
async fn a_stale_response_has_the_requested_url() {
    let mut server = Server::new([Reply::status(200, &[("x-answer", "42")], "good")]);
    let client = caching().without_retry().build().unwrap();
    let url = server.url("/v1/items/42?full");
    client.get(&url).send().await.unwrap().bytes().await.unwrap();
    for refuses in [false, true] {
        server.replies([Reply::unavailable()]);
        if refuses {
            server.stop().await;
        }
        let response = client.get(&url).send().await.unwrap();
        let stale = *response.stale().expect("a stale answer");
        let cause = if refuses { Cause::Transport } else { Cause::Status(StatusCode::SERVICE_UNAVAILABLE) };
        assert_eq!(stale.cause, cause);
        assert_eq!(response.status(), StatusCode::OK);
        assert_eq!(response.url().as_str(), url);
        assert_eq!(response.headers()["x-answer"], "42");
        assert!(response.headers().contains_key("age") && response.headers().contains_key("cache-status"));
        assert_eq!(response.text().await.unwrap(), "good");
    }
}

#[tokio::test]
async fn a_call_without_last_known_good_gets_no_stale_response() {
    let server = Server::new([Reply::ok("good"), Reply::unavailable()]);
    let client = caching().without_retry().build().unwrap();
    client.get(server.url("/")).send().await.unwrap().bytes().await.unwrap();
    let response = client.get(server.url("/")).without_last_known_good().send().await.unwrap();
    assert_eq!((response.status(), response.stale()), (StatusCode::SERVICE_UNAVAILABLE, None));
}

#[tokio::test]
async fn a_get_with_a_body_is_not_served_the_answer_to_another_body() {
    let server = Server::new([Reply::ok("apples"), Reply::unavailable()]);
    let client = caching().without_retry().build().unwrap();
    let search = |term| client.get(server.url("/_search")).json(&HashMap::from([("term", term)]));
    search("apple").send().await.unwrap().bytes().await.unwrap();
    let response = search("pear").send().await.unwrap();
    assert_eq!((response.status(), response.stale()), (StatusCode::SERVICE_UNAVAILABLE, None));
}

#[tokio::test]
async fn the_answer_of_one_virtual_host_is_not_given_to_another() {
    let server = Server::new([Reply::ok("a's"), Reply::unavailable()]);
    let client = caching().without_retry().build().unwrap();
    let ask = |host| client.get(server.url("/me")).header("host", host).send();
    assert_eq!(ask("a.example").await.unwrap().text().await.unwrap(), "a's");
    assert_eq!(ask("b.example").await.unwrap().status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(client.upstreams().len(), 2);
}

#[tokio::test]
async fn a_header_that_is_marked_sensitive_is_a_credential() {
    let server = Server::new([Reply::ok("alice's"), Reply::unavailable()]);
    let client = caching().without_retry().build().unwrap();
    let ask = |key| {
        let mut key = HeaderValue::from_static(key);
        key.set_sensitive(true);
        client.get(server.url("/me")).header("x-api-key", key).send()
    };
    assert_eq!(ask("alice").await.unwrap().text().await.unwrap(), "alice's");
    assert_eq!(ask("bob").await.unwrap().status(), StatusCode::SERVICE_UNAVAILABLE);
}

#[tokio::test]
async fn an_answer_from_before_a_put_is_not_stored_after_the_put() {
    let server = Server::new([Reply::chunked(200, &[b"old"]), Reply::ok(""), Reply::unavailable()]);
    let client = caching().without_retry().build().unwrap();
    let old = client.get(server.url("/")).send().await.unwrap();
    client.put(server.url("/")).send().await.unwrap();
    assert_eq!(old.text().await.unwrap(), "old");
    let after = client.get(server.url("/")).send().await.unwrap();
    assert_eq!((after.status(), after.stale()), (StatusCode::SERVICE_UNAVAILABLE, None));
}

#[tokio::test]
async fn a_degraded_answer_does_not_remove_the_good_one() {
    let server = Server::new([
        Reply::ok("good"),
        Reply::status(200, &[("x-degraded", "1")], "half"),
        Reply::unavailable(),
    ]);
    let classifier = HttpClassifier::new()
        .on_response(|_, headers| headers.contains_key("x-degraded").then_some(Outcome::Failure));
    let client = caching().classifier(classifier).without_retry().build().unwrap();
    client.get(server.url("/")).send().await.unwrap().bytes().await.unwrap();
    client.get(server.url("/")).without_last_known_good().send().await.unwrap().bytes().await.unwrap();
    assert_eq!(client.get(server.url("/")).send().await.unwrap().text().await.unwrap(), "good");
}

#[tokio::test]
async fn a_post_that_was_redirected_to_a_dead_host_is_sent_once() {
    let dead = Server::absent();
    let watched = || reqwest::Client::builder().redirect(steadfast::watch_redirects(Policy::limited(5)));
    let own = || reqwest::Client::builder().user_agent("of its own");
    for builder in [
        Client::builder(),
        Client::builder().reqwest_builder(own),
        Client::builder().redirect(Policy::limited(5)),
        Client::builder().reqwest_client(watched().build().unwrap()).with_watched_redirects(),
        Client::builder().reqwest_client(watched().build().unwrap()),
        Client::builder().reqwest_client(own().build().unwrap()),
    ] {
        let client = builder.build().unwrap();
        let server = Server::new([Reply::status(303, &[("location", &dead.url("/done"))], "")]);
        client.post(server.url("/charge")).body("x").send().await.unwrap_err();
        assert_eq!(server.requests(), 1);
    }
}

/// reqwest reports a redirect to an unsupported scheme like a request that cannot be built.
#[tokio::test]
async fn a_post_that_was_redirected_to_a_scheme_that_no_request_can_be_sent_to_is_sent_once() {
    for own in [false, true] {
        let server = Server::new([Reply::status(302, &[("location", "ftp://127.0.0.1/")], "")]);
        let mut builder = Client::builder()
            .classifier(HttpClassifier::new().on_error(|_| Some(Outcome::transient())))
            .without_retry_budget();
        if own {
            builder = builder.reqwest_builder(reqwest::Client::builder);
        }
        let client = builder.build().unwrap();
        let error = client.post(server.url("/")).body("pay").send().await.unwrap_err();
        assert_eq!((error.attempts(), error.maybe_sent(), server.requests()), (1, true, 1));
    }
}

#[tokio::test]
async fn behind_a_plain_reqwest_client_a_redirected_post_is_sent_once() {
    let dead = Server::absent();
    let server = Server::new([Reply::status(307, &[("location", &dead.url("/"))], "")]);
    let client = reqwest::Client::new();
    let service = ServiceBuilder::new()
        .layer(RetryLayer::new(RetryPolicy::default()).without_budget())
        .map_err(Error::from_upstream)
        .service_fn(move |call: Call<reqwest::Request>| {
            let answer = client.execute(call.into_inner());
            async move { answer.await.map(http::Response::<reqwest::Body>::from) }
        });
    let request = reqwest::Client::new().post(server.url("/")).body("pay").build().unwrap();
    let error = service.oneshot(Call::new(request)).await.unwrap_err();
    assert_eq!((error.maybe_sent(), error.is_connect(), server.requests()), (true, true, 1));
}

/// A redirect to a dead host, in a stack with a separate task between the retry layer and the client.
#[tokio::test]
async fn a_redirected_post_is_sent_once_also_where_another_task_makes_the_attempt() {
    let dead = Server::absent();
    let watched = reqwest::Client::builder().redirect(steadfast::watch_redirects(Policy::limited(5)));
    for service in [
        ReqwestService::with_watched_redirects(watched.build().unwrap()),
        ReqwestService::new(reqwest::Client::new()),
    ] {
        let server = Server::new([Reply::status(303, &[("location", &dead.url("/done"))], "")]);
        let policy = RetryPolicy::builder().backoff(Backoff::new().base(Duration::ZERO)).build().unwrap();
        let service = ServiceBuilder::new().layer(RetryLayer::new(policy).without_budget()).service_fn(
            move |call: Call<reqwest::Request>| {
                let attempt = tokio::spawn(service.clone().oneshot(call));
                async move { attempt.await.unwrap() }
            },
        );
        let post = reqwest::Client::new().post(server.url("/charge")).body("x").build().unwrap();
        let error = service.oneshot(Call::new(post)).await.unwrap_err();
        assert!(error.is_connect() && error.maybe_sent(), "{error:?}");
        assert_eq!((server.requests(), error.attempts()), (1, 1));
        assert_eq!(error.stop_reason(), Some(StopReason::NotIdempotent));
    }
}

#[tokio::test]
async fn a_post_that_no_connection_came_about_for_is_retried_where_no_redirect_can_have_been_followed() {
    let dead = Server::absent();
    let own = || reqwest::Client::builder().redirect(Policy::none());
    for (builder, attempts) in [
        (Client::builder(), 3),
        (Client::builder().reqwest_builder(own), 3),
        (Client::builder().redirect(Policy::limited(2)), 3),
        (Client::builder().reqwest_client(own().build().unwrap()).with_watched_redirects(), 3),
        (Client::builder().reqwest_client(own().build().unwrap()), 1),
    ] {
        let retry = RetryPolicy::builder().max_retries(2).backoff(Backoff::new().base(Duration::ZERO));
        let client = builder.retry(retry).without_retry_budget().build().unwrap();
        let error = client.post(dead.url("/")).body("x").send().await.unwrap_err();
        assert_eq!((error.is_connect(), error.attempts()), (true, attempts), "{error:?}");
    }
}

/// An attempt has 294 ms of the total time, and an answer takes half a second.
async fn requests_of_an_upload(builder: ClientBuilder, options: CallOptions) -> usize {
    let gate = Arc::new(Notify::new());
    let answer = message(200, &[], 0, b"");
    let server = Server::new([Reply::Gate(Vec::new(), Arc::clone(&gate), answer), Reply::ok("")]);
    let client = builder.total_timeout(SECOND).build().unwrap();
    let request = client.put(server.url("/")).body(vec![b'x'; 128 * 1024]).build().unwrap();
    let opening = tokio::spawn(async move {
        tokio::time::sleep(SECOND / 2).await;
        gate.notify_one();
    });
    client.execute(Call::with_options(request.into_inner(), options)).await.unwrap();
    opening.abort();
    server.requests()
}

#[tokio::test]
async fn the_body_of_a_request_lengthens_its_attempt() {
    let (options, new) = (CallOptions::new, Client::builder);
    assert_eq!(requests_of_an_upload(new(), options()).await, 1);
    assert_eq!(requests_of_an_upload(new().upload_rate(1_000_000_000), options()).await, 2);
    assert_eq!(requests_of_an_upload(new(), options().body_length(1)).await, 2, "the caller's word counts");
}

#[tokio::test]
async fn a_request_that_is_sent_once_has_all_the_time_of_its_call() {
    let gate = Arc::new(Notify::new());
    let answer = || Reply::Gate(Vec::new(), Arc::clone(&gate), message(200, &[], 0, b""));
    let server = Server::new([answer(), answer()]);
    let client = Client::new();
    let without_retry = Client::builder().without_retry().total_timeout(SECOND).build().unwrap();
    for request in [client.post(server.url("/")).timeout(SECOND), without_retry.get(server.url("/"))] {
        let opening = tokio::time::sleep(SECOND / 2);
        let open = async {
            opening.await;
            gate.notify_one();
        };
        let (response, ()) = tokio::join!(request.send(), open);
        assert_eq!(response.unwrap().status(), 200);
    }
    assert_eq!(server.requests(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_call_that_has_no_time_sends_nothing() {
    let server = Server::new([Reply::ok("good")]);
    let error = Client::new().get(server.url("/")).timeout(Duration::ZERO).send().await.unwrap_err();
    assert!(error.is_total_timeout(), "{error:?}");
    assert_eq!(server.requests(), 0);
}

#[tokio::test]
async fn a_stale_response_counts_the_failed_attempts() {
    let mut server = Server::new([Reply::ok("good")]);
    let retry = RetryPolicy::builder().max_retries(2).backoff(Backoff::new().base(Duration::ZERO));
    let client = caching().retry(retry).without_retry_budget().build().unwrap();
    client.get(server.url("/")).send().await.unwrap().bytes().await.unwrap();
    server.stop().await;
    let response = client.get(server.url("/")).send().await.unwrap();
    assert_eq!(response.stale().map(|stale| stale.cause), Some(Cause::Transport));
    assert_eq!(response.attempts(), 3);
}

#[tokio::test]
async fn a_call_that_asks_for_its_own_time_gives_its_attempts_a_share_of_it() {
    let server = Server::new([Reply::never(), Reply::ok("good")]);
    let response = Client::new().get(server.url("/")).timeout(Duration::from_secs(2)).send().await.unwrap();
    assert_eq!((response.attempts(), response.status()), (2, StatusCode::OK));
}

// ===== the client itself =====

#[test]
fn the_client_goes_anywhere() {
    fn goes<T: Clone + Send + Sync + std::fmt::Debug + 'static>(_: &T) {}
    fn is_send<T: Send>(_: &T) {}
    let client = Client::default();
    goes(&client);
    goes(&client.upstream_at("http://sku.internal").unwrap());
    is_send(&client.get("http://sku.internal").send());
    is_send(&client.execute(reqwest::Request::new(Method::GET, Url::parse("http://a").unwrap())));
    is_send(&ClientBuilder::build(Client::builder()));
}

#[tokio::test]
async fn requests_and_calls_are_executed() {
    let server = Server::new([Reply::unavailable(), Reply::ok("good")]);
    let client = Client::new();
    let request = reqwest::Request::new(Method::GET, Url::parse(&server.url("/")).unwrap());
    let once = Call::new(request.try_clone().unwrap()).retry_safety(RetrySafety::Never);
    assert_eq!(client.execute(once).await.unwrap().status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(client.execute(request).await.unwrap().text().await.unwrap(), "good");
}

#[tokio::test]
async fn the_client_is_a_service_of_requests_and_of_calls() {
    async fn ask<R>(client: Client, request: R) -> StatusCode
    where
        Client: Service<R, Response = reqwest::Response, Error = Error<reqwest::Error>>,
    {
        client.oneshot(request).await.unwrap().status()
    }
    let server = Server::new([Reply::ok("")]);
    let client = Client::new();
    let request = reqwest::Request::new(Method::GET, Url::parse(&server.url("/")).unwrap());
    assert_eq!(ask(client.clone(), Call::new(request.try_clone().unwrap())).await, StatusCode::OK);
    assert_eq!(ask(client, request).await, StatusCode::OK);
}

#[tokio::test]
async fn every_upstream_has_a_handle() {
    let client = Client::new();
    let handle = client.upstream_at("HTTP://user:secret@SKU.internal/v1?x").unwrap();
    assert_eq!(handle.name(), "http://sku.internal");
    let circuit = handle.circuit_breaker().unwrap();
    assert_eq!((circuit.state(), circuit.snapshot().trips), (State::Closed, 0));
    assert_eq!(handle.bulkhead().unwrap().max_concurrent(), 128);
    assert!((handle.retry_budget().unwrap().tokens() - 2.0).abs() < f64::EPSILON);
    client.clone().upstream_at("http://other.internal").unwrap();
    let mut names: Vec<_> = client.upstreams().iter().map(|it| it.name().to_owned()).collect();
    names.sort();
    assert_eq!(names, ["http://other.internal", "http://sku.internal"]);
    assert!(client.upstream_at("nonsense").unwrap_err().is_builder());
}

#[tokio::test]
async fn a_forced_open_circuit_sends_nothing_until_it_is_reset() {
    let server = Server::new([Reply::ok("")]);
    let client = Client::new();
    let handle = client.upstream_at(server.url("/")).unwrap();
    handle.circuit_breaker().unwrap().force_open();
    let error = client.get(server.url("/")).send().await.unwrap_err();
    assert!(error.is_circuit_open(), "{error:?}");
    assert_eq!(server.requests(), 0);
    handle.circuit_breaker().unwrap().reset();
    assert_eq!(client.get(server.url("/")).send().await.unwrap().status(), StatusCode::OK);
}

#[tokio::test]
async fn a_key_function_identifies_upstreams() {
    let server = Server::new([Reply::ok("")]);
    let shard = |request: &reqwest::Request| request.url().path().to_owned();
    let client = Client::builder().upstream_key(shard).build().unwrap();
    client.upstream_at(server.url("/dead")).unwrap().circuit_breaker().unwrap().force_open();
    assert!(client.get(server.url("/dead")).send().await.unwrap_err().is_circuit_open());
    assert_eq!(client.get(server.url("/alive")).send().await.unwrap().status(), StatusCode::OK);
}

#[tokio::test]
async fn many_calls_at_once_are_answered() {
    let server = Server::new([Reply::ok("good")]);
    let client = Client::new();
    let mut calls = tokio::task::JoinSet::new();
    for call in 0..64 {
        calls.spawn(client.get(server.url(&format!("/{call}"))).send());
    }
    for response in calls.join_all().await {
        assert_eq!(response.unwrap().text().await.unwrap(), "good");
    }
    assert_eq!(server.requests(), 64);
    let handles = client.upstreams();
    assert_eq!(handles.len(), 1);
    assert_eq!(handles[0].bulkhead().unwrap().in_flight(), 0);
}

#[tokio::test]
async fn the_answer_before_a_refused_retry_is_the_callers_and_its_connection_is_used_again() {
    let server = Server::new([Reply::chunked(503, &[b"down ", b"for maintenance"]), Reply::never()]);
    let backoff = Backoff::new().base(Duration::from_secs(1)).jitter(Jitter::None);
    let client = Client::builder()
        .retry(RetryPolicy::builder().backoff(backoff))
        .bulkhead(Bulkhead::builder().max_concurrent(1).max_waiting(0))
        .build()
        .unwrap();
    let call = tokio::spawn(client.get(server.url("/")).send());
    server.has_received(1).await;
    let handle = client.upstream_at(server.url("/")).unwrap();
    while handle.bulkhead().unwrap().in_flight() > 0 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let other = tokio::spawn(client.get(server.url("/")).send());
    let response = call.await.unwrap().unwrap();
    assert_eq!((response.status(), response.attempts()), (StatusCode::SERVICE_UNAVAILABLE, 1));
    assert_eq!(response.stop_reason(), Some(StopReason::BulkheadFull));
    assert_eq!(response.text().await.unwrap(), "down for maintenance");
    assert_eq!((server.requests(), server.connections()), (2, 1));
    other.abort();
}

// ===== the builder =====

#[tokio::test]
async fn any_layer_can_be_left_out_without_another_type() {
    let server = Server::new([Reply::ok("good")]);
    let builders: [fn(ClientBuilder) -> ClientBuilder; 8] = [
        ClientBuilder::without_total_timeout,
        ClientBuilder::without_attempt_timeout,
        ClientBuilder::without_retry,
        ClientBuilder::without_retry_budget,
        ClientBuilder::without_circuit_breaker,
        ClientBuilder::without_bulkhead,
        ClientBuilder::without_buffer_body,
        ClientBuilder::without_last_known_good,
    ];
    let mut without_all = Client::builder();
    for without in builders {
        let client: Client = without(Client::builder()).build().unwrap();
        let response = client.get(server.url("/")).send().await.unwrap();
        assert_eq!(response.text().await.unwrap(), "good");
        without_all = without(without_all);
    }
    let client: Client = without_all.build().unwrap();
    let response = client.get(server.url("/")).send().await.unwrap();
    assert_eq!(response.text().await.unwrap(), "good");
    let handle = client.upstream_at(server.url("/")).unwrap();
    assert!(
        handle.circuit_breaker().is_none() && handle.bulkhead().is_none() && handle.retry_budget().is_none()
    );
}

#[tokio::test]
async fn reqwest_itself_is_configured_by_its_own_builder_or_client() {
    let server = Server::new([Reply::ok("")]);
    let named = || reqwest::Client::builder().user_agent("named");
    let builders = [
        Client::builder().reqwest_builder(named),
        Client::builder().user_agent("named"),
        Client::builder().reqwest_client(named().build().unwrap()),
    ];
    for builder in builders {
        builder.build().unwrap().get(server.url("/")).send().await.unwrap();
        assert_eq!(server.last().header("user-agent"), Some("named"));
    }
}

/// Asserts that `build` refuses each builder, with an error that names the field.
fn refuses(builders: impl IntoIterator<Item = (ClientBuilder, &'static str)>) {
    for (builder, field) in builders {
        let error = builder.build().expect_err(field);
        assert_eq!(error.field(), field);
        assert!(error.to_string().starts_with(&format!("{field} is {}", error.value())), "{error}");
    }
}

#[test]
fn a_client_that_cannot_work_is_refused_by_field() {
    let new = Client::builder;
    let bulkhead = Bulkhead::builder;
    refuses(vec![
        (new().total_timeout(Duration::ZERO), "client.total_timeout"),
        (new().total_timeout(Duration::MAX), "client.total_timeout"),
        (new().attempt_timeout(Duration::ZERO), "client.attempt_timeout"),
        (new().attempt_timeout(Duration::MAX), "client.attempt_timeout"),
        (new().upload_rate(0), "client.upload_rate"),
        (new().upload_rate(u64::MAX), "client.upload_rate"),
        (new().upload_rate(1).attempt_timeout(SECOND), "client.upload_rate"),
        (new().upload_rate(1).without_attempt_timeout(), "client.upload_rate"),
        (new().max_upstreams(0), "client.max_upstreams"),
        (new().max_upstreams(usize::MAX), "client.max_upstreams"),
        (new().bulkhead(bulkhead().max_concurrent(0)), "bulkhead.max_concurrent"),
        (new().bulkhead(bulkhead().max_concurrent(usize::MAX)), "bulkhead.max_concurrent"),
        (new().bulkhead(bulkhead().max_waiting(usize::MAX)), "bulkhead.max_waiting"),
        (new().bulkhead(bulkhead().max_wait(Duration::MAX)), "bulkhead.max_wait"),
        (new().reqwest_builder(|| reqwest::Client::builder().user_agent("\n")), "client.reqwest_builder"),
    ]);
    let cache = LastKnownGood::builder;
    for (builder, field) in [
        (cache().max_bytes(0), "last_known_good.max_bytes"),
        (cache().max_bytes(u64::MAX), "last_known_good.max_bytes"),
        (cache().max_entry_bytes(usize::MAX), "last_known_good.max_entry_bytes"),
        (cache().max_age(Duration::ZERO), "last_known_good.max_age"),
        (cache().max_age(Duration::MAX), "last_known_good.max_age"),
        (cache().store_timeout(Duration::ZERO), "last_known_good.store_timeout"),
        (cache().renew_after(Duration::MAX), "last_known_good.renew_after"),
    ] {
        assert_eq!(builder.build().unwrap_err().field(), field);
    }
}

#[test]
fn a_clients_retry_that_cannot_work_is_refused_by_field() {
    let new = Client::builder;
    let retry =
        |change: fn(Backoff) -> Backoff| new().retry(RetryPolicy::builder().backoff(change(Backoff::new())));
    let budget = RetryBudget::builder;
    refuses(vec![
        (new().retry(RetryPolicy::builder().max_retries(u32::MAX)), "retry.max_retries"),
        (new().retry(RetryPolicy::builder().max_retry_after(Duration::MAX)), "retry.max_retry_after"),
        (retry(|it| it.base(Duration::MAX)), "retry.backoff.base"),
        (retry(|it| it.cap(Duration::MAX)), "retry.backoff.cap"),
        (retry(|it| it.cap(Duration::ZERO)), "retry.backoff.base"),
        (retry(|it| it.factor(f64::NAN)), "retry.backoff.factor"),
        (retry(|it| it.factor(0.0)), "retry.backoff.factor"),
        (retry(|it| it.jitter(Jitter::Proportional(f64::NAN))), "retry.backoff.jitter"),
        (retry(|it| it.jitter(Jitter::Proportional(-1.0))), "retry.backoff.jitter"),
        (new().retry_budget(budget().capacity(f64::INFINITY)), "retry.budget.capacity"),
        (new().retry_budget(budget().initial(11.0)), "retry.budget.initial"),
        (new().retry_budget(budget().per_call(f64::NAN)), "retry.budget.per_call"),
        (new().retry_budget(budget().per_success(-1.0)), "retry.budget.per_success"),
        (new().retry_budget(budget().per_failure(f64::MAX)), "retry.budget.per_failure"),
        (new().retry_budget(budget().per_retry(f64::MIN_POSITIVE)), "retry.budget.per_retry"),
        (new().retry_budget(budget().per_second(f64::NEG_INFINITY)), "retry.budget.per_second"),
        (new().retry_budget(budget().reserve(11.0)), "retry.budget.reserve"),
    ]);
}

#[test]
fn a_clients_circuit_that_cannot_work_is_refused_by_field() {
    let circuit = || CircuitBreaker::builder().failure_rate(0.5);
    let with = |circuit| Client::builder().circuit_breaker(circuit);
    refuses(vec![
        (with(circuit().consecutive_failures(0, SECOND)), "circuit_breaker.consecutive_failures"),
        (with(circuit().consecutive_failures(1, Duration::MAX)), "circuit_breaker.consecutive_failures.span"),
        (with(circuit().window(Window::Time(Duration::MAX))), "circuit_breaker.window"),
        (with(circuit().window(Window::Calls(0))), "circuit_breaker.window"),
        (with(circuit().minimum_calls(0)), "circuit_breaker.minimum_calls"),
        (with(circuit().failure_rate(f64::NAN)), "circuit_breaker.failure_rate"),
        (with(circuit().slow_calls(Duration::MAX, 0.5)), "circuit_breaker.slow_calls"),
        (with(circuit().slow_calls(SECOND, 0.0)), "circuit_breaker.slow_calls.rate"),
        (with(circuit().open_for(Duration::ZERO)), "circuit_breaker.open_for"),
        (with(circuit().max_open_for(Duration::MAX)), "circuit_breaker.max_open_for"),
        (with(circuit().probes(0)), "circuit_breaker.probes"),
        (with(circuit().successes_to_close(0)), "circuit_breaker.successes_to_close"),
        (with(circuit().probe_lease(Duration::ZERO)), "circuit_breaker.probe_lease"),
    ]);
}

#[tokio::test]
async fn the_ends_of_every_unchecked_range_work() {
    let server = Server::new([Reply::ok("good")]);
    let cache = LastKnownGood::builder;
    let builders = [
        Client::builder().last_known_good(cache().max_entry_bytes(0)),
        Client::builder().last_known_good(cache().serve_stale_after(Duration::ZERO).max_refreshes(0)),
        Client::builder().last_known_good(cache().serve_stale_after(Duration::MAX)),
        Client::builder().buffer_body(BufferBodyLayer::new().limit(usize::MAX).unsized_bodies(true)),
        Client::builder().circuit_breaker(CircuitBreaker::builder().abandoned_after(Duration::MAX)),
        Client::builder().total_timeout(Duration::from_millis(1)).without_total_timeout(),
    ];
    for builder in builders {
        let client = builder.build().unwrap();
        for timeout in [Duration::from_secs(60), Duration::from_secs(u64::MAX >> 2), Duration::MAX] {
            let response = client.get(server.url("/")).timeout(timeout).send().await.unwrap();
            assert_eq!(response.text().await.unwrap(), "good");
        }
    }
}

#[tokio::test]
async fn a_call_with_no_time_sends_nothing() {
    let server = Server::new([Reply::ok("")]);
    let error = Client::new().get(server.url("/")).timeout(Duration::ZERO).send().await.unwrap_err();
    assert!(error.is_total_timeout(), "{error:?}");
    let request = reqwest::Request::new(Method::GET, Url::parse(&server.url("/")).unwrap());
    let late = Call::new(request).deadline(tokio::time::Instant::now());
    let error = Client::new().execute(late).await.unwrap_err();
    assert!(error.is_total_timeout(), "{error:?}");
    assert_eq!(server.requests(), 0);
}

#[tokio::test]
async fn debug_output_holds_no_credential() {
    let server = Server::new([Reply::ok("")]);
    let client = Client::new();
    let mut secret = HeaderValue::from_static("Bearer secret");
    secret.set_sensitive(true);
    let url = server.url("/").replace("http://", "http://user:secret@");
    client.get(url).send().await.unwrap();
    let request = client.get(server.url("/")).header(AUTHORIZATION, secret);
    request.try_clone().unwrap().send().await.unwrap();
    let shown = format!("{client:?} {:?} {:?}", client.upstreams(), client.upstream_at(server.url("/")));
    assert!(!shown.contains("secret"), "{shown}");
}

// ===== Before the first poll =====

#[tokio::test]
async fn a_call_that_is_not_polled_holds_nothing() {
    let server = Server::new([Reply::ok("")]);
    let bulkhead = Bulkhead::builder().max_concurrent(1).max_waiting(0);
    let client = Client::builder().bulkhead(bulkhead).total_timeout(Duration::from_secs(60)).build().unwrap();
    let calls: Vec<_> = (0..10).map(|_| client.get(server.url("/")).send()).collect();
    assert!(client.upstreams().is_empty());
    for call in calls {
        assert_eq!(call.await.unwrap().text().await.unwrap(), "");
    }
}

#[test]
fn a_call_can_be_made_outside_of_a_runtime() {
    // reqwest creates the timer of a read timeout together with the request.
    let builder = || reqwest::Client::builder().read_timeout(Duration::from_secs(60));
    let client = Client::builder().reqwest_builder(builder).build().unwrap();
    let call = client.get("http://127.0.0.1:1/").send();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    assert!(runtime.block_on(call).unwrap_err().inner().unwrap().is_connect());
}
