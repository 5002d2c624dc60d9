//! Retries: the requests that are sent again, and the end of the retries.

use super::*;

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
    assert_eq!(stopped(&response), Some(StopReason::Exhausted));
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
async fn a_stale_response_counts_the_failed_attempts() {
    let server = Server::new([Reply::ok("good"), Reply::unavailable()]);
    let client = client();
    prime_cache(&client, &server.url("/")).await;
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
            assert_eq!(stopped(&response), Some(StopReason::NotIdempotent));
        }
    }
}

#[tokio::test]
async fn a_post_that_may_be_sent_twice_is_retried() {
    let allowed: [fn(RequestBuilder) -> RequestBuilder; 3] = [
        |request| request.header("Idempotency-Key", "8e03978e"),
        |request| request.idempotent(true),
        |request| request.retry_safety(RetrySafety::Idempotent),
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
async fn a_refused_connection_is_retried_for_any_method() {
    let server = Server::absent();
    let client = client();
    let requests = [client.post(server.url("/")), client.get(server.url("/")).idempotent(false)];
    for (calls, request) in (1..).zip(requests) {
        let error = request.send().await.unwrap_err();
        assert!(error.inner().is_some_and(reqwest::Error::is_connect), "{error:?}");
        assert_eq!(failures(&client, &server.url("/")), 4 * calls);
    }
}

#[tokio::test]
async fn a_post_finds_an_upstream_that_has_come_back() {
    let mut server = Server::absent();
    server.replies([Reply::ok("good")]);
    let url = server.url("/");
    let call = client().post(url).body("once").send();
    // The first poll of the call fails to connect.
    let (response, ()) = tokio::join!(biased; call, async { server.listen() });
    assert_eq!(response.unwrap().attempts(), 2);
    assert_eq!(server.requests(), 1);
}

#[tokio::test]
async fn a_get_that_the_caller_calls_not_idempotent_is_sent_once() {
    let server = Server::new([Reply::unavailable()]);
    let response = client().get(server.url("/")).idempotent(false).send().await.unwrap();
    assert_eq!(stopped(&response), Some(StopReason::NotIdempotent));
    assert_eq!(server.requests(), 1);
}

#[tokio::test]
async fn retry_safety_never_forbids_a_retry_even_if_nothing_was_sent() {
    let server = Server::absent();
    let client = client();
    client.get(server.url("/")).retry_safety(RetrySafety::Never).send().await.unwrap_err();
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
    assert_eq!(stopped(&response), Some(StopReason::NotReplayable));
    assert_eq!(server.requests(), 2);
}

#[tokio::test]
async fn a_client_is_born_with_a_budget_that_soon_ends_retries() {
    let server = Server::new([Reply::unavailable()]);
    let policy = RetryPolicy::builder().backoff(Backoff::new().base(Duration::ZERO));
    let client = Client::builder().retry(policy).build().unwrap();
    for _ in 0..10 {
        let response = client.get(server.url("/")).send().await.unwrap();
        assert_eq!(stopped(&response), Some(StopReason::Budget));
    }
    assert!(server.requests() <= 12, "{}", server.requests());
    let retries = client.upstream_at(server.url("/")).unwrap().retry_budget().unwrap().retries();
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
    // With lanes, a retry would use another connection.
    let one_lane = Endpoints::builder().max_lanes(1);
    let client = eager().retry(RetryPolicy::builder().backoff(wait)).endpoints(one_lane).build().unwrap();
    let replies =
        [Reply::chunked(503, &[&ten_kib[..5000], &ten_kib[5000..]]), Reply::status(503, &[], ten_kib)];
    for reply in replies {
        let server = Server::new([reply, Reply::ok("good")]);
        assert_eq!(client.get(server.url("/")).send().await.unwrap().attempts(), 2);
        assert_eq!(server.connections(), 1);
    }
}
