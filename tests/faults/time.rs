//! The timeouts of attempts and calls.

use super::*;

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
    assert!(matches!(error.kind(), ErrorKind::Timeout { scope: TimeoutScope::Attempt, .. }), "{error:?}");
    assert_eq!(failures(&client, &server.url("/")), 4);
}

#[tokio::test]
async fn a_timeout_of_the_calls_own_goes_before_the_clients() {
    let server = Server::new([Reply::never()]);
    let error = soon(client().get(server.url("/")).timeout(SHORT).send()).await.unwrap_err();
    assert!(
        matches!(error.kind(), ErrorKind::Timeout { scope: TimeoutScope::Total, after: Some(SHORT) }),
        "{error:?}"
    );
}

#[tokio::test]
async fn reqwests_timeout_of_a_request_is_the_total_of_the_call() {
    let server = Server::new([Reply::unavailable(), Reply::never()]);
    let request = client().get(server.url("/")).with(|builder| builder.timeout(SHORT));
    let error = soon(request.send()).await.unwrap_err();
    assert!(
        matches!(error.kind(), ErrorKind::Timeout { scope: TimeoutScope::Total, after: Some(SHORT) }),
        "{error:?}"
    );
    // A timeout that began anew with each attempt would have led to two more requests.
    assert_eq!(server.requests(), 2);
}

#[tokio::test]
async fn an_attempt_that_the_calls_own_end_cuts_counts_only_if_it_was_a_hang() {
    for (abandoned_after, counted) in [(MINUTE, 0), (SHORT / 4, 1)] {
        let server = Server::new([Reply::never()]);
        let circuit = CircuitBreaker::builder().abandoned_after(abandoned_after);
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
    assert_eq!(stopped(&response), Some(StopReason::Deadline));
    assert_eq!(response.text().await.unwrap(), "later");
}

#[tokio::test]
async fn the_total_timeout_bounds_the_reading_of_a_streamed_body() {
    let server = Server::new([Reply::Stall([chunked_head(200), chunk(b"one")].concat())]);
    let client = eager().without_attempt_timeout().total_timeout(4 * SHORT).build().unwrap();
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
    assert!(timeout.is_some_and(|error| error.is_total_timeout()), "{error:?}");
    assert!(error.is_timeout(), "reqwest knows it for one");
}
