//! Stale responses: the occasions, the head, and the callers that may get one.

use super::*;

// ===== when a stale response is served =====

#[tokio::test(start_paused = true)]
async fn without_an_entry_a_failure_is_handed_on() {
    let (upstream, service) = service(&layer());
    assert!(ask(&service, get()).await.unwrap_err().inner().is_some());
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
    let timeout = |scope| Err(Error::new(ErrorKind::Timeout { scope, after: Some(SECOND) }));
    let failures: [(Answer, Cause); 9] = [
        (Ok(answer(503, &[], "")), Cause::Status(StatusCode::SERVICE_UNAVAILABLE)),
        (Ok(answer(504, &[], "")), Cause::Status(StatusCode::GATEWAY_TIMEOUT)),
        (Ok(answer(500, &[], "")), Cause::Status(StatusCode::INTERNAL_SERVER_ERROR)),
        (refused(), Cause::Transport),
        (Err(Error::from_body("cut short")), Cause::Body),
        (timeout(TimeoutScope::Attempt), Cause::Timeout(TimeoutScope::Attempt)),
        (timeout(TimeoutScope::Total), Cause::Timeout(TimeoutScope::Total)),
        (Err(Error::new(ErrorKind::CircuitOpen { retry_after: None })), Cause::CircuitOpen),
        (Err(Error::new(ErrorKind::BulkheadFull { max_concurrent: 1 })), Cause::BulkheadFull),
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
async fn a_stale_response_is_marked_in_three_ways() {
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
    assert_eq!(status, ["upstream; hit", "steadfast; fwd=stale; fwd-status=503; ttl=-37"]);
    assert_eq!(
        (&response.headers()["etag"], &response.headers()["x-answer"]),
        (&"\"1\"".parse().unwrap(), &"42".parse().unwrap())
    );
}

#[tokio::test(start_paused = true)]
async fn hop_by_hop_headers_are_not_stored() {
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
async fn a_neutral_outcome_gets_no_stale_response() {
    let both = service(&layer());
    give(&both, get(), good(&[])).await;
    for status in [408, 429] {
        both.0.will(answer(status, &[], ""));
        assert_eq!(ask(&both.1, get()).await.unwrap().status(), status);
    }
    // The entry is still stored.
    assert_eq!(stale(&both, get()).await.unwrap(), "good");
}

#[tokio::test(start_paused = true)]
async fn a_neutral_error_gets_no_stale_response() {
    let neutral = classify::from_fn(|result: Result<&Response<Body>, &ErrorInfo>| match result {
        Ok(_) => steadfast::Outcome::Success,
        Err(_) => steadfast::Outcome::Neutral,
    });
    let upstream = Upstream::default();
    let service = layer().classifier(neutral).layer(upstream.clone());
    upstream.will(good(&[]));
    service.clone().oneshot(get()).await.unwrap().into_body().collect().await.unwrap();
    assert!(service.clone().oneshot(get()).await.is_err());
    // The classifier is not asked about refusals.
    upstream.will_fail(Error::new(ErrorKind::CircuitOpen { retry_after: None }));
    assert!(service.clone().oneshot(get()).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_call_without_last_known_good_gets_no_stale_response_but_its_answer_is_stored() {
    let both = service(&layer());
    let uncached = || {
        let mut request = get();
        request.extensions_mut().insert(CallOptions::new().without_last_known_good());
        request
    };
    give(&both, uncached(), good(&[])).await;
    assert!(ask(&both.1, uncached()).await.is_err());
    assert_eq!(stale(&both, get()).await.unwrap(), "good");
}

#[tokio::test(start_paused = true)]
async fn a_stale_response_carries_the_extensions_of_the_failed_one() {
    let both = service(&layer());
    give(&both, get(), good(&[])).await;
    let mut failed = answer(503, &[], "");
    failed.extensions_mut().insert(42_u8);
    both.0.will(failed);
    assert_eq!(ask(&both.1, get()).await.unwrap().extensions().get::<u8>(), Some(&42));
}

#[tokio::test(start_paused = true)]
async fn services_of_one_layer_share_their_entries() {
    let layer = layer();
    let (one, other) = (service(&layer), service(&layer));
    give(&one, get(), good(&[])).await;
    assert_eq!(stale(&other, get()).await.unwrap(), "good");
}

// ===== one user's answer =====

#[tokio::test(start_paused = true)]
async fn one_users_answer_is_never_served_to_another() {
    // Known mistake 34.
    for header in ["authorization", "cookie"] {
        let both = service(&layer());
        let (alice, bob) = (|| request("GET", &[(header, "alice")]), || request("GET", &[(header, "bob")]));
        give(&both, alice(), answer(200, &[("cache-control", "public, max-age=60")], "alice's")).await;
        for other in [bob(), get()] {
            assert!(stale(&both, other).await.is_none(), "{header}");
        }
        // The answer to a request without credentials is served neither to Alice nor to Bob.
        give(&both, get(), good(&[])).await;
        assert!(stale(&both, bob()).await.is_none(), "{header}");
        assert_eq!(stale(&both, alice()).await.unwrap(), "alice's");
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
    let cache = LastKnownGood::default();
    let layer = LastKnownGoodLayer::new(cache.clone());
    let both = service(&layer);
    let with_key = || request("GET", &[("x-api-key", "secret"), ("accept", "secret")]);
    give(&both, with_key(), answer(200, &[("vary", "x-api-key"), ("x-token", "secret")], "secret")).await;
    let (sender, body) = streamed();
    both.0.will(with(200, &[("vary", "x-api-key")], body));
    sender.send(Ok("secret")).unwrap();
    let mut streaming = ask(&both.1, with_key()).await.unwrap().into_body();
    streaming.frame().await.unwrap().unwrap();
    let called = both.1.clone().call(with_key());
    let shown: [&dyn Debug; 5] = [&cache, &layer, &both.1, &streaming, &called];
    assert!(!format!("{shown:?}").contains("secret"), "{shown:?}");
}
