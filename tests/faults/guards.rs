//! Circuit breaker and bulkhead, and the errors that they do not count.

use super::*;

// ===== circuit breaker and bulkhead =====

fn guarded() -> Client {
    let circuit = CircuitBreaker::builder().consecutive_failures(3, Duration::ZERO).open_for(MINUTE);
    eager().without_retry().circuit_breaker(circuit.max_open_for(MINUTE)).build().unwrap()
}

#[tokio::test]
async fn an_open_circuit_sends_nothing() {
    let server = Server::new([Reply::unavailable(), Reply::status(504, &[], ""), Reply::Reset]);
    let client = guarded();
    let circuit = client.upstream_at(server.url("/")).unwrap().circuit_breaker().unwrap().clone();
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
    prime_cache(&client, &server.url("/")).await;
    client.upstream_at(server.url("/")).unwrap().circuit_breaker().unwrap().force_open();
    let response = client.get(server.url("/")).send().await.unwrap();
    assert_eq!(response.stale().map(|stale| stale.cause), Some(Cause::CircuitOpen));
    assert_eq!(response.headers()["cache-status"], "steadfast; hit; ttl=0; detail=circuit-open");
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
    let state =
        |server: &Server| client.upstream_at(server.url("/")).unwrap().circuit_breaker().unwrap().state();
    assert_eq!((state(&dead), state(&alive)), (State::Open, State::Closed));
    assert_eq!((alive.requests(), client.upstreams().len()), (5, 2));
}

fn narrow() -> Client {
    let bulkhead = Bulkhead::builder().max_concurrent(1).max_waiting(0);
    eager().bulkhead(bulkhead).build().unwrap()
}

#[tokio::test]
async fn a_full_bulkhead_refuses_and_a_dropped_call_gives_its_permit_back() {
    let server = Server::new([Reply::never(), Reply::ok("good")]);
    let client = narrow();
    let bulkhead = client.upstream_at(server.url("/")).unwrap().bulkhead().unwrap().clone();
    {
        let mut hung = pin!(client.get(server.url("/")).send());
        tokio::select! {
            _ = &mut hung => unreachable!("it hangs"),
            () = server.has_received(1) => {}
        }
        assert_eq!(bulkhead.in_flight(), 1);
        let error = client.get(server.url("/")).send().await.unwrap_err();
        assert!(matches!(error.kind(), ErrorKind::BulkheadFull { max_concurrent: 1 }), "{error:?}");
        // The refused call is neither sent nor retried, and does not count as a failure.
        assert_eq!((server.requests(), bulkhead.refused()), (1, 1));
        assert_eq!(failures(&client, &server.url("/")), 0);
    }
    assert_eq!(bulkhead.in_flight(), 0);
    assert_eq!(client.get(server.url("/")).send().await.unwrap().status(), StatusCode::OK);
}

#[tokio::test]
async fn a_wait_for_a_permit_ends_with_the_call() {
    let server = Server::new([Reply::Stall(chunked_head(200))]);
    let bulkhead = Bulkhead::builder().max_concurrent(1).max_wait(MINUTE);
    let client = eager().bulkhead(bulkhead).build().unwrap();
    let _streaming = client.get(server.url("/")).send().await.unwrap();
    let error = soon(client.get(server.url("/")).timeout(SHORT).send()).await.unwrap_err();
    assert!(error.is_bulkhead_full(), "{error:?}");
    let bulkhead = client.upstream_at(server.url("/")).unwrap().bulkhead().unwrap().clone();
    assert_eq!((bulkhead.waiting(), bulkhead.in_flight()), (0, 1));
}

#[tokio::test]
async fn a_permit_is_held_until_the_body_is_read_or_dropped() {
    let server = Server::new([Reply::ok("good"), Reply::Stall(chunked_head(200))]);
    let client = narrow();
    prime_cache(&client, &server.url("/stored")).await;
    let bulkhead = client.upstream_at(server.url("/")).unwrap().bulkhead().unwrap().clone();
    assert_eq!(bulkhead.in_flight(), 0);
    let streaming = client.get(server.url("/")).send().await.unwrap();
    assert_eq!(bulkhead.in_flight(), 1);
    let response = client.get(server.url("/stored")).send().await.unwrap();
    assert_eq!(response.stale().map(|stale| stale.cause), Some(Cause::BulkheadFull));
    drop(streaming);
    assert_eq!(bulkhead.in_flight(), 0);
}

// ===== the caller's own mistakes =====

#[tokio::test]
async fn a_redirect_loop_is_not_retried_not_counted_and_not_covered_up() {
    let server = Server::new([Reply::ok("good"), Reply::status(302, &[("location", "/")], "")]);
    let client = eager().redirect(redirect::Policy::limited(2)).build().unwrap();
    prime_cache(&client, &server.url("/")).await;
    let error = client.get(server.url("/")).send().await.unwrap_err();
    assert!(error.inner().is_some_and(reqwest::Error::is_redirect), "{error:?}");
    assert_eq!((server.requests(), failures(&client, &server.url("/"))), (4, 0));
}

#[tokio::test]
async fn an_unknown_scheme_is_not_retried_and_not_counted() {
    let client = client();
    let error = client.get("gopher://sku.internal/").send().await.unwrap_err();
    assert!(error.inner().is_some_and(reqwest::Error::is_builder), "{error:?}");
    assert_eq!(failures(&client, "gopher://sku.internal/"), 0);
}

#[tokio::test]
async fn a_request_body_that_fails_is_the_callers_fault() {
    let server = Server::new([Reply::ok("")]);
    let client = client();
    let frames = [Ok(Frame::data(Bytes::from("one"))), Err("the file is gone")];
    let body = reqwest::Body::wrap(StreamBody::new(stream::iter(frames)));
    let error = client.put(server.url("/")).body(body).send().await.unwrap_err();
    assert_eq!(error.inner().map(TransportError::fault), Some(Fault::Caller), "{error:?}");
    assert_eq!(failures(&client, &server.url("/")), 0);
}

// ===== the faults of reqwest's errors =====

/// A resolver that knows no name.
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
