//! The client when the network or the upstream fails: real faults on loopback.
#![cfg(feature = "reqwest")]

mod server;

use std::convert::Infallible;
use std::error::Error as StdError;
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream;
use http::StatusCode;
use http_body::Frame;
use http_body_util::StreamBody;
use reqwest::redirect;
use steadfast::buffer_body::BufferBodyLayer;
use steadfast::bulkhead::Compartment;
use steadfast::circuit_breaker::{Circuit, State};
use steadfast::http::{Fault, TransportError};
use steadfast::last_known_good::Cause;
use steadfast::retry::{Attempts, Backoff, Jitter, RetryBudget, RetryPolicy, Stop};
use steadfast::{Client, ClientBuilder, Error, RequestBuilder, Resend, ResponseExt, TimeoutScope};
use tokio::sync::Notify;

use self::server::{Reply, Server, chunk, chunked_head, message};

const MINUTE: Duration = Duration::from_secs(60);
const SHORT: Duration = Duration::from_millis(80);

/// Retries three times, at once, whatever the budget says.
fn eager() -> ClientBuilder {
    let policy = RetryPolicy::builder().backoff(Backoff::new().base(Duration::ZERO));
    Client::builder().total_timeout(MINUTE).attempt_timeout(MINUTE).retry(policy).without_retry_budget()
}

fn client() -> Client {
    eager().build().unwrap()
}

/// Fails the test rather than hang.
async fn soon<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(MINUTE / 4, future).await.expect("it ends")
}

async fn keep(client: &Client, url: &str) {
    let response = client.get(url).send().await.unwrap();
    assert_eq!(response.text().await.unwrap(), "good");
}

/// How many attempts in a row the circuit has seen fail.
fn failures(client: &Client, url: &str) -> u16 {
    client.upstream(url).unwrap().circuit().unwrap().snapshot().consecutive_failures
}

fn stopped(response: &reqwest::Response) -> Option<Stop> {
    response.extensions().get::<Attempts>().and_then(|attempts| attempts.stopped)
}

fn streaming(pieces: &[&'static str]) -> reqwest::Body {
    let frames: Vec<_> =
        pieces.iter().map(|piece| Ok::<_, Infallible>(Frame::data(Bytes::from(*piece)))).collect();
    reqwest::Body::wrap(StreamBody::new(stream::iter(frames)))
}

// ===== retries =====

#[tokio::test]
async fn a_503_is_retried() {
    let server = Server::new([Reply::unavailable(), Reply::ok("good")]);
    let response = client().get(server.url("/")).send().await.unwrap();
    assert_eq!((response.status(), response.attempts()), (StatusCode::OK, 2));
    assert_eq!(stopped(&response), None);
}

#[tokio::test]
async fn when_the_retries_are_exhausted_the_503_is_handed_on() {
    let server = Server::new([Reply::status(503, &[("x-why", "busy")], "no")]);
    let response = client().get(server.url("/")).send().await.unwrap();
    assert_eq!((response.status(), response.attempts()), (StatusCode::SERVICE_UNAVAILABLE, 4));
    assert_eq!(stopped(&response), Some(Stop::Exhausted));
    assert_eq!(response.headers()["x-why"], "busy");
    assert_eq!(response.text().await.unwrap(), "no");
    assert_eq!(server.requests(), 4);
}

#[tokio::test]
async fn a_500_is_not_retried() {
    let server = Server::new([Reply::status(500, &[], "broken")]);
    let response = client().get(server.url("/")).send().await.unwrap();
    assert_eq!((response.status(), response.attempts()), (StatusCode::INTERNAL_SERVER_ERROR, 1));
    assert_eq!(server.requests(), 1);
}

#[tokio::test]
async fn a_stale_answer_says_how_many_attempts_it_stands_in_for() {
    let server = Server::new([Reply::ok("good"), Reply::unavailable()]);
    let client = client();
    keep(&client, &server.url("/")).await;
    let response = client.get(server.url("/")).send().await.unwrap();
    assert!(response.stale().is_some());
    assert_eq!((response.attempts(), server.requests()), (4, 5));
}

#[tokio::test]
async fn a_post_that_may_have_been_sent_is_not_sent_again() {
    for reply in [Reply::unavailable(), Reply::Reset, Reply::closed()] {
        let server = Server::new([reply.clone()]);
        let result = client().post(server.url("/")).body("once").send().await;
        assert_eq!(server.requests(), 1, "{reply:?}");
        if let Ok(response) = result {
            assert_eq!(stopped(&response), Some(Stop::NotIdempotent));
        }
    }
}

#[tokio::test]
async fn a_post_that_may_be_sent_twice_is() {
    let allowed: [fn(RequestBuilder) -> RequestBuilder; 3] = [
        |request| request.header("Idempotency-Key", "8e03978e"),
        |request| request.idempotent(true),
        |request| request.resend(Resend::Always),
    ];
    for allow in allowed {
        for reply in [Reply::unavailable(), Reply::Reset, Reply::closed()] {
            let server = Server::new([reply.clone(), Reply::ok("good")]);
            let request = allow(client().post(server.url("/"))).body("twice");
            let response = request.send().await.unwrap();
            assert_eq!((response.status(), response.attempts()), (StatusCode::OK, 2), "{reply:?}");
            assert!(server.received().iter().all(|request| request.body() == "twice"));
        }
    }
}

#[tokio::test]
async fn what_was_refused_was_not_sent_and_is_sent_again_whatever_the_method() {
    let server = Server::absent();
    let client = client();
    let requests = [client.post(server.url("/")), client.get(server.url("/")).idempotent(false)];
    for (calls, request) in (1..).zip(requests) {
        let error = request.send().await.unwrap_err();
        assert!(error.upstream().is_some_and(reqwest::Error::is_connect), "{error:?}");
        assert_eq!(failures(&client, &server.url("/")), 4 * calls);
    }
}

#[tokio::test]
async fn a_post_finds_an_upstream_that_has_come_back() {
    let mut server = Server::absent();
    server.replies([Reply::ok("good")]);
    let url = server.url("/");
    let call = client().post(url).body("once").send();
    // The first poll of the call connects, in vain.
    let (response, ()) = tokio::join!(biased; call, async { server.listen() });
    assert_eq!(response.unwrap().attempts(), 2);
    assert_eq!(server.requests(), 1);
}

#[tokio::test]
async fn a_get_that_the_caller_calls_not_idempotent_is_sent_once() {
    let server = Server::new([Reply::unavailable()]);
    let response = client().get(server.url("/")).idempotent(false).send().await.unwrap();
    assert_eq!(stopped(&response), Some(Stop::NotIdempotent));
    assert_eq!(server.requests(), 1);
}

#[tokio::test]
async fn resend_never_is_never_even_if_nothing_was_sent() {
    let server = Server::absent();
    let client = client();
    client.get(server.url("/")).resend(Resend::Never).send().await.unwrap_err();
    assert_eq!(failures(&client, &server.url("/")), 1);
}

#[tokio::test]
async fn a_streaming_body_is_sent_once_and_never_refused() {
    let server = Server::new([Reply::ok("good"), Reply::unavailable()]);
    let client = client();
    let put = || client.put(server.url("/")).body(streaming(&["some ", "pieces"]));
    assert_eq!(put().send().await.unwrap().status(), StatusCode::OK);
    assert_eq!(server.last().body(), "some pieces");
    let response = put().send().await.unwrap();
    assert_eq!((response.status(), response.attempts()), (StatusCode::SERVICE_UNAVAILABLE, 1));
    assert_eq!(stopped(&response), Some(Stop::NotReplayable));
    assert_eq!(server.requests(), 2);
}

#[tokio::test]
async fn a_client_is_born_with_a_budget_that_soon_ends_retries() {
    let server = Server::new([Reply::unavailable()]);
    let policy = RetryPolicy::builder().backoff(Backoff::new().base(Duration::ZERO));
    let client = Client::builder().retry(policy).build().unwrap();
    for _ in 0..10 {
        let response = client.get(server.url("/")).send().await.unwrap();
        assert_eq!(stopped(&response), Some(Stop::Budget));
    }
    assert!(server.requests() <= 12, "{}", server.requests());
    let retries = client.upstream(server.url("/")).unwrap().budget().unwrap().retries();
    assert_eq!(retries, server.requests() as u64 - 10);
}

#[tokio::test]
async fn each_upstream_has_a_budget_of_its_own() {
    let budget = RetryBudget::builder().capacity(1.0).initial(1.0).per_failure(0.0);
    let client = eager().retry_budget(budget).build().unwrap();
    for _ in 0..2 {
        let server = Server::new([Reply::unavailable()]);
        assert_eq!(client.get(server.url("/")).send().await.unwrap().attempts(), 2);
    }
}

#[tokio::test]
async fn a_503_of_any_framing_is_drained_so_that_its_connection_is_used_again() {
    let ten_kib = [b'x'; 10 * 1024];
    let wait = Backoff::new().base(Duration::from_millis(100)).jitter(Jitter::None);
    let client = eager().retry(RetryPolicy::builder().backoff(wait)).build().unwrap();
    let replies =
        [Reply::chunked(503, &[&ten_kib[..5000], &ten_kib[5000..]]), Reply::status(503, &[], ten_kib)];
    for reply in replies {
        let server = Server::new([reply, Reply::ok("good")]);
        assert_eq!(client.get(server.url("/")).send().await.unwrap().attempts(), 2);
        assert_eq!(server.connections(), 1);
    }
}

// ===== time =====

#[tokio::test]
async fn no_call_waits_longer_than_its_total_timeout() {
    let server = Server::new([Reply::never()]);
    let client = Client::builder().total_timeout(Duration::from_millis(200)).build().unwrap();
    let error = soon(client.get(server.url("/")).send()).await.unwrap_err();
    assert!(error.is_timeout(), "{error:?}");
    assert!(server.requests() >= 1);
}

#[tokio::test]
async fn an_attempt_that_hangs_is_cut_and_retried() {
    let server = Server::new([Reply::never(), Reply::ok("good")]);
    let client = eager().attempt_timeout(SHORT).build().unwrap();
    let response = soon(client.get(server.url("/")).send()).await.unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    assert!(response.attempts() > 1);
}

#[tokio::test]
async fn a_call_that_hangs_in_every_attempt_ends_with_the_attempts_timeout() {
    let server = Server::new([Reply::never()]);
    let client = eager().attempt_timeout(Duration::from_millis(20)).build().unwrap();
    let error = soon(client.get(server.url("/")).send()).await.unwrap_err();
    assert!(matches!(error, Error::Timeout { scope: TimeoutScope::Attempt, .. }), "{error:?}");
    assert_eq!(failures(&client, &server.url("/")), 4);
}

#[tokio::test]
async fn a_timeout_of_the_calls_own_goes_before_the_clients() {
    let server = Server::new([Reply::never()]);
    let error = soon(client().get(server.url("/")).timeout(SHORT).send()).await.unwrap_err();
    assert!(matches!(error, Error::Timeout { scope: TimeoutScope::Total, after: SHORT }), "{error:?}");
}

#[tokio::test]
async fn reqwests_timeout_of_a_request_is_the_total_of_the_call() {
    let server = Server::new([Reply::unavailable(), Reply::never()]);
    let request = client().get(server.url("/")).with(|builder| builder.timeout(SHORT));
    let error = soon(request.send()).await.unwrap_err();
    assert!(matches!(error, Error::Timeout { scope: TimeoutScope::Total, after: SHORT }), "{error:?}");
    // If it began again with each attempt, there would have been two more.
    assert_eq!(server.requests(), 2);
}

#[tokio::test]
async fn an_attempt_that_the_calls_own_end_cuts_counts_only_if_it_was_a_hang() {
    for (abandoned_after, counted) in [(MINUTE, 0), (SHORT / 4, 1)] {
        let server = Server::new([Reply::never()]);
        let circuit = Circuit::builder().abandoned_after(abandoned_after);
        let client = eager().circuit_breaker(circuit).build().unwrap();
        let error = soon(client.get(server.url("/")).timeout(SHORT).send()).await.unwrap_err();
        assert!(error.is_total_timeout(), "{error:?}");
        assert_eq!(failures(&client, &server.url("/")), counted);
    }
}

#[tokio::test]
async fn a_wait_that_cannot_end_in_time_is_not_started() {
    let server = Server::new([Reply::status(503, &[("retry-after", "2")], "later")]);
    let response = client().get(server.url("/")).timeout(Duration::from_secs(1)).send().await.unwrap();
    assert_eq!(stopped(&response), Some(Stop::Deadline));
    assert_eq!(response.text().await.unwrap(), "later");
}

#[tokio::test]
async fn the_total_timeout_bounds_the_reading_of_a_streamed_body() {
    let server = Server::new([Reply::Stall([chunked_head(200), chunk(b"one")].concat())]);
    let client = eager().total_timeout(4 * SHORT).build().unwrap();
    let mut response = client.get(server.url("/")).send().await.unwrap();
    assert_eq!(response.chunk().await.unwrap().unwrap(), "one");
    let error = soon(response.chunk()).await.unwrap_err();
    let mut cause: Option<&(dyn StdError + 'static)> = error.source();
    let timeout = loop {
        let Some(it) = cause else { break None };
        if let Some(timeout) = it.downcast_ref::<io::Error>() {
            break timeout.get_ref().and_then(|it| it.downcast_ref::<Error<Infallible>>());
        }
        cause = it.source();
    };
    assert!(timeout.is_some_and(Error::is_total_timeout), "{error:?}");
    assert!(error.is_timeout(), "reqwest knows it for one");
}

// ===== bodies =====

#[tokio::test]
async fn a_sized_body_that_is_cut_short_is_a_failed_attempt() {
    let server = Server::new([Reply::cut_short("go", 4), Reply::ok("good")]);
    let response = client().get(server.url("/")).send().await.unwrap();
    assert_eq!(response.attempts(), 2);
    assert_eq!(response.text().await.unwrap(), "good");
}

#[tokio::test]
async fn a_body_that_is_always_cut_short_is_an_error_of_the_body() {
    let server = Server::new([Reply::cut_short("go", 4)]);
    let client = client();
    let error = client.get(server.url("/")).send().await.unwrap_err();
    assert!(matches!(error, Error::Body(_)), "{error:?}");
    assert_eq!(server.requests(), 4);
    assert_eq!(failures(&client, &server.url("/")), 4);
}

#[tokio::test]
async fn a_body_that_is_cut_short_is_answered_stale() {
    let server = Server::new([Reply::ok("good"), Reply::cut_short("go", 4)]);
    let client = client();
    keep(&client, &server.url("/")).await;
    let response = client.get(server.url("/")).send().await.unwrap();
    assert_eq!(response.stale().map(|stale| stale.cause), Some(Cause::Body));
    assert_eq!(response.text().await.unwrap(), "good");
}

#[tokio::test]
async fn a_sized_body_that_stalls_is_a_failed_attempt() {
    let server = Server::new([Reply::Stall(message(200, &[], 4, b"go")), Reply::ok("good")]);
    let client = eager().attempt_timeout(SHORT).build().unwrap();
    let response = soon(client.get(server.url("/")).send()).await.unwrap();
    assert!(response.attempts() > 1);
    assert_eq!(response.text().await.unwrap(), "good");
}

#[tokio::test]
async fn a_large_body_streams() {
    let size = 3 * 1024 * 1024;
    let body = vec![b'x'; size];
    let (first, second) = body.split_at(size / 2);
    let gate = Arc::new(Notify::new());
    let head = message(200, &[], size, first);
    let server = Server::new([Reply::Gate(head, Arc::clone(&gate), second.to_vec())]);
    let mut response = soon(client().get(server.url("/")).send()).await.unwrap();
    assert_eq!(response.content_length(), Some(size as u64));
    let mut read = response.chunk().await.unwrap().unwrap().len();
    gate.notify_one();
    while let Some(chunk) = response.chunk().await.unwrap() {
        read += chunk.len();
    }
    assert_eq!(read, size);
}

#[tokio::test]
async fn a_streamed_body_that_breaks_is_the_callers_to_handle_and_counts_once() {
    let server = Server::new([Reply::Close([chunked_head(200), chunk(b"one")].concat())]);
    let client = client();
    let response = client.get(server.url("/")).send().await.unwrap();
    assert_eq!((response.status(), failures(&client, &server.url("/"))), (StatusCode::OK, 0));
    response.bytes().await.unwrap_err();
    assert_eq!((server.requests(), failures(&client, &server.url("/"))), (1, 1));
}

#[tokio::test]
async fn an_answer_without_a_body_ends_with_its_head() {
    let server = Server::new([Reply::Answer(message(200, &[], 1000, b""))]);
    let response = soon(client().head(server.url("/")).send()).await.unwrap();
    assert_eq!(response.headers()["content-length"], "1000");
    assert_eq!(soon(response.bytes()).await.unwrap(), "");
}

#[tokio::test]
async fn a_length_that_nobody_has_memory_for_is_an_error_and_no_panic() {
    let gate = Arc::new(Notify::new());
    let head = message(200, &[], usize::MAX - 2, b"one");
    let server = Server::new([Reply::Gate(head, Arc::clone(&gate), vec![b'x'; 256 * 1024]), Reply::closed()]);
    let builder = eager().buffer_body(BufferBodyLayer::new().limit(usize::MAX)).attempt_timeout(4 * SHORT);
    let client = builder.without_retry().build().unwrap();
    gate.notify_one();
    let error = soon(client.get(server.url("/")).send()).await.unwrap_err();
    assert!(error.is_timeout(), "{error:?}");
}

// ===== circuit breaker and bulkhead =====

fn guarded() -> Client {
    let circuit = Circuit::builder().consecutive_failures(3, Duration::ZERO).open_for(MINUTE);
    eager().without_retry().circuit_breaker(circuit.max_open_for(MINUTE)).build().unwrap()
}

#[tokio::test]
async fn an_open_circuit_sends_nothing() {
    let server = Server::new([Reply::unavailable(), Reply::status(500, &[], ""), Reply::Reset]);
    let client = guarded();
    let circuit = client.upstream(server.url("/")).unwrap().circuit().unwrap().clone();
    for call in 1..=3 {
        assert_eq!(circuit.state(), State::Closed);
        let _ = client.get(server.url("/")).send().await;
        assert_eq!(server.requests(), call);
    }
    assert_eq!((circuit.state(), circuit.snapshot().trips), (State::Open, 1));
    let error = client.get(server.url("/")).send().await.unwrap_err();
    assert!(error.is_circuit_open() && error.retry_after().is_some(), "{error:?}");
    assert_eq!((server.requests(), circuit.snapshot().refused), (3, 1));
}

#[tokio::test]
async fn answers_that_say_the_upstream_is_alive_never_open_the_circuit() {
    for status in [400, 404, 408, 429] {
        let server = Server::new([Reply::status(status, &[], "")]);
        let client = guarded();
        for _ in 0..5 {
            let response = client.get(server.url("/")).send().await.unwrap();
            assert_eq!(response.status().as_u16(), status);
        }
        assert_eq!(failures(&client, &server.url("/")), 0, "{status}");
    }
}

#[tokio::test]
async fn an_open_circuit_is_answered_stale() {
    let server = Server::new([Reply::ok("good")]);
    let client = guarded();
    keep(&client, &server.url("/")).await;
    client.upstream(server.url("/")).unwrap().circuit().unwrap().force_open();
    let response = client.get(server.url("/")).send().await.unwrap();
    assert_eq!(response.stale().map(|stale| stale.cause), Some(Cause::CircuitOpen));
    assert_eq!(response.headers()["cache-status"], "steadfast; hit; detail=circuit-open");
    assert_eq!((server.requests(), response.text().await.unwrap().as_str()), (1, "good"));
}

#[tokio::test]
async fn a_dead_upstream_takes_no_other_down() {
    let (dead, alive) = (Server::absent(), Server::new([Reply::ok("good")]));
    let client = guarded();
    for _ in 0..5 {
        client.get(dead.url("/")).send().await.unwrap_err();
        assert_eq!(client.get(alive.url("/")).send().await.unwrap().text().await.unwrap(), "good");
    }
    let state = |server: &Server| client.upstream(server.url("/")).unwrap().circuit().unwrap().state();
    assert_eq!((state(&dead), state(&alive)), (State::Open, State::Closed));
    assert_eq!((alive.requests(), client.upstreams().len()), (5, 2));
}

fn narrow() -> Client {
    let compartment = Compartment::builder().max_concurrent(1).max_waiting(0);
    eager().bulkhead(compartment).build().unwrap()
}

#[tokio::test]
async fn a_full_bulkhead_refuses_and_a_dropped_call_gives_its_permit_back() {
    let server = Server::new([Reply::never(), Reply::ok("good")]);
    let client = narrow();
    let compartment = client.upstream(server.url("/")).unwrap().compartment().unwrap().clone();
    {
        let mut hung = pin!(client.get(server.url("/")).send());
        tokio::select! {
            _ = &mut hung => unreachable!("it hangs"),
            () = server.has_received(1) => {}
        }
        assert_eq!(compartment.in_flight(), 1);
        let error = client.get(server.url("/")).send().await.unwrap_err();
        assert!(matches!(error, Error::BulkheadFull { max_concurrent: 1 }), "{error:?}");
        // It was not sent, not retried, and says nothing about the upstream.
        assert_eq!((server.requests(), compartment.refused()), (1, 1));
        assert_eq!(failures(&client, &server.url("/")), 0);
    }
    assert_eq!(compartment.in_flight(), 0);
    assert_eq!(client.get(server.url("/")).send().await.unwrap().status(), StatusCode::OK);
}

#[tokio::test]
async fn a_wait_for_a_permit_ends_with_the_call() {
    let server = Server::new([Reply::Stall(chunked_head(200))]);
    let compartment = Compartment::builder().max_concurrent(1).max_wait(MINUTE);
    let client = eager().bulkhead(compartment).build().unwrap();
    let _streaming = client.get(server.url("/")).send().await.unwrap();
    let error = soon(client.get(server.url("/")).timeout(SHORT).send()).await.unwrap_err();
    assert!(error.is_bulkhead_full(), "{error:?}");
    let compartment = client.upstream(server.url("/")).unwrap().compartment().unwrap().clone();
    assert_eq!((compartment.waiting(), compartment.in_flight()), (0, 1));
}

#[tokio::test]
async fn a_permit_is_held_until_the_body_is_read_or_dropped() {
    let server = Server::new([Reply::ok("good"), Reply::Stall(chunked_head(200))]);
    let client = narrow();
    keep(&client, &server.url("/kept")).await;
    let compartment = client.upstream(server.url("/")).unwrap().compartment().unwrap().clone();
    assert_eq!(compartment.in_flight(), 0);
    let streaming = client.get(server.url("/")).send().await.unwrap();
    assert_eq!(compartment.in_flight(), 1);
    let response = client.get(server.url("/kept")).send().await.unwrap();
    assert_eq!(response.stale().map(|stale| stale.cause), Some(Cause::BulkheadFull));
    drop(streaming);
    assert_eq!(compartment.in_flight(), 0);
}

// ===== the caller's own mistakes =====

#[tokio::test]
async fn a_redirect_loop_is_not_retried_not_counted_and_not_covered_up() {
    let server = Server::new([Reply::ok("good"), Reply::status(302, &[("location", "/")], "")]);
    let reqwest = reqwest::Client::builder().redirect(redirect::Policy::limited(2));
    let client = eager().reqwest_builder(reqwest).build().unwrap();
    keep(&client, &server.url("/")).await;
    let error = client.get(server.url("/")).send().await.unwrap_err();
    assert!(error.upstream().is_some_and(reqwest::Error::is_redirect), "{error:?}");
    assert_eq!((server.requests(), failures(&client, &server.url("/"))), (4, 0));
}

#[tokio::test]
async fn an_unknown_scheme_is_not_retried_and_not_counted() {
    let client = client();
    let error = client.get("gopher://sku.internal/").send().await.unwrap_err();
    assert!(error.upstream().is_some_and(reqwest::Error::is_builder), "{error:?}");
    assert_eq!(failures(&client, "gopher://sku.internal/"), 0);
}

#[tokio::test]
async fn a_request_body_that_fails_is_the_callers_fault() {
    let server = Server::new([Reply::ok("")]);
    let client = client();
    let frames = [Ok(Frame::data(Bytes::from("one"))), Err("the file is gone")];
    let body = reqwest::Body::wrap(StreamBody::new(stream::iter(frames)));
    let error = client.put(server.url("/")).body(body).send().await.unwrap_err();
    assert_eq!(error.upstream().map(TransportError::fault), Some(Fault::Caller), "{error:?}");
    assert_eq!(failures(&client, &server.url("/")), 0);
}

// ===== what reqwest's errors mean =====

/// Knows no name.
struct NoNames;

impl reqwest::dns::Resolve for NoNames {
    fn resolve(&self, _name: reqwest::dns::Name) -> reqwest::dns::Resolving {
        Box::pin(async { Err("no such name".into()) })
    }
}

#[tokio::test]
async fn every_error_of_reqwest_has_its_fault() {
    let dead = Server::absent();
    let answering = |reply: Reply| Server::new([reply]);
    let plain = || reqwest::Client::builder().retry(reqwest::retry::never());
    let client = plain().build().unwrap();
    let error = async |request: reqwest::RequestBuilder| request.send().await.unwrap_err();

    let refused = error(client.get(dead.url("/"))).await;
    let no_names = plain().dns_resolver(Arc::new(NoNames)).build().unwrap();
    let unknown_name = error(no_names.get("http://sku.invalid/")).await;
    for fault in [refused, unknown_name] {
        assert_eq!(fault.fault(), Fault::Connect, "{fault:?}");
    }

    let server = answering(Reply::Reset);
    let reset = error(client.get(server.url("/"))).await;
    let server = answering(Reply::closed());
    let incomplete = error(client.get(server.url("/"))).await;
    let server = answering(Reply::Answer(b"HTTP/1.1 nonsense\r\n\r\n".to_vec()));
    let nonsense = error(client.get(server.url("/"))).await;
    let server = answering(Reply::never());
    let timeout = error(client.get(server.url("/")).timeout(SHORT)).await;
    assert!(timeout.is_timeout());
    for fault in [reset, incomplete, nonsense, timeout] {
        assert_eq!(fault.fault(), Fault::Exchange, "{fault:?}");
    }

    let server = answering(Reply::ok("no json"));
    let decode = client.get(server.url("/")).send().await.unwrap().json::<u8>().await.unwrap_err();
    assert!(decode.is_decode());
    let server = answering(Reply::status(302, &[("location", "/")], ""));
    let redirect_loop = error(client.get(server.url("/"))).await;
    let server = answering(Reply::status(503, &[], ""));
    let status = client.get(server.url("/")).send().await.unwrap().error_for_status().unwrap_err();
    let builder = error(client.get("not a url")).await;
    let scheme = error(client.get("gopher://sku.internal/")).await;
    for fault in [decode, redirect_loop, status, builder, scheme] {
        assert_eq!(fault.fault(), Fault::Caller, "{fault:?}");
    }
}
