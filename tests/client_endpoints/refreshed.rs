//! Changes of the addresses, and a resolver that fails.

use super::faults::post_streams_until_ejected;
use super::*;

/// The shortest interval.
const REFRESH: Duration = Duration::from_millis(100);

fn client(upstream: &Upstream) -> Client {
    upstream.builder().refresh_addresses(REFRESH).build().unwrap()
}

/// Makes calls until the name was resolved `count` more times.
async fn look_ups(client: &Client, upstream: &Upstream, count: usize) {
    let end = upstream.names.look_ups(NAME) + count;
    call_until(client, &upstream.url("/"), || upstream.names.look_ups(NAME) >= end).await;
}

#[tokio::test]
async fn an_address_that_disappears_gets_no_new_requests_and_a_new_one_gets_its_share() {
    let upstream = Upstream::of(4);
    upstream.names.set(NAME, upstream.addresses()[..3].to_vec());
    let client = client(&upstream);
    upstream.has_endpoints(&client, &upstream.endpoints(0..3)).await;
    assert_eq!(upstream.requests()[3], 0);
    upstream.names.set(NAME, upstream.addresses()[1..].to_vec());
    upstream.has_endpoints(&client, &upstream.endpoints(1..4)).await;
    let before = upstream.requests()[0];
    for _ in 0..3 {
        upstream.reaches(&client, 1..4).await;
    }
    assert_eq!(upstream.requests()[0], before);
}

#[tokio::test]
async fn an_address_that_is_missing_in_one_answer_is_kept() {
    let upstream = Upstream::of(3);
    let client = client(&upstream);
    upstream.is_discovered(&client).await;
    upstream.names.set(NAME, upstream.addresses()[..2].to_vec());
    look_ups(&client, &upstream, 1).await;
    upstream.names.set(NAME, upstream.addresses());
    look_ups(&client, &upstream, 5).await;
    assert_eq!(known(&client, &upstream.url("/")), upstream.all_endpoints());
}

#[tokio::test]
async fn a_resolver_that_fails_or_answers_nothing_keeps_the_addresses() {
    let upstream = Upstream::of(3);
    let client = client(&upstream);
    upstream.is_discovered(&client).await;
    for is_empty in [false, true] {
        if is_empty {
            upstream.names.set(NAME, []);
        } else {
            upstream.names.fail(NAME);
        }
        look_ups(&client, &upstream, 3).await;
        assert_eq!(known(&client, &upstream.url("/")), upstream.all_endpoints());
        upstream.reaches(&client, 0..3).await;
        upstream.names.set(NAME, upstream.addresses());
        look_ups(&client, &upstream, 1).await;
    }
}

/// The only endpoint of such a name has no pin, so reqwest resolves the name for each connection.
#[tokio::test]
async fn a_resolver_that_fails_keeps_the_address_of_a_name_with_one_address() {
    for is_empty in [false, true] {
        let upstream = Upstream::of(1);
        let client = client(&upstream);
        look_ups(&client, &upstream, 2).await;
        if is_empty {
            upstream.names.set(NAME, []);
        } else {
            upstream.names.fail(NAME);
        }
        look_ups(&client, &upstream, 1).await;
        // The next call needs a new connection.
        let closes = server::message(200, &[("connection", "close")], 0, b"");
        upstream.servers[0].replies([Reply::Close(closes), Reply::ok("again")]);
        get(&client, &upstream.url("/")).await;
        assert_eq!(get(&client, &upstream.url("/")).await, "again", "is_empty: {is_empty}");
    }
}

#[tokio::test]
async fn a_name_that_gets_a_second_address_gets_endpoints() {
    let upstream = Upstream::of(2);
    upstream.names.set(NAME, upstream.addresses()[..1].to_vec());
    let client = client(&upstream);
    look_ups(&client, &upstream, 3).await;
    assert_eq!(known(&client, &upstream.url("/")), [None]);
    upstream.names.set(NAME, upstream.addresses());
    upstream.is_discovered(&client).await;
    upstream.reaches(&client, 0..2).await;
    // With one address again, it keeps its endpoint.
    upstream.names.set(NAME, upstream.addresses()[..1].to_vec());
    upstream.has_endpoints(&client, &upstream.endpoints([0])).await;
    let before = upstream.requests()[1];
    for _ in 0..50 {
        get(&client, &upstream.url("/")).await;
    }
    assert_eq!(upstream.requests()[1], before);
}

/// The address may belong to another service by now.
#[tokio::test]
async fn a_connection_does_not_fail_over_to_an_address_that_has_disappeared() {
    let mut upstream = Upstream::of(3);
    upstream.names.set(NAME, upstream.addresses()[..2].to_vec());
    let client = client(&upstream);
    upstream.has_endpoints(&client, &upstream.endpoints(0..2)).await;
    upstream.reaches(&client, 0..2).await;
    upstream.names.set(NAME, [upstream.addresses()[0], upstream.addresses()[2]]);
    upstream.has_endpoints(&client, &upstream.endpoints([0, 2])).await;
    let before = upstream.requests()[1];
    upstream.servers[0].stop().await;
    post_streams_until_ejected(&client, &upstream, 0).await;
    assert_eq!(upstream.requests()[1], before);
}

/// Of an upstream that is restarted one instance after the other, the first addresses are soon gone.
#[tokio::test]
async fn a_connection_fails_over_to_the_current_addresses() {
    let mut upstream = Upstream::of(4);
    upstream.names.set(NAME, upstream.addresses()[..2].to_vec());
    let client = client(&upstream);
    upstream.has_endpoints(&client, &upstream.endpoints(0..2)).await;
    upstream.reaches(&client, 0..2).await;
    upstream.names.set(NAME, [upstream.addresses()[0], upstream.addresses()[2], upstream.addresses()[3]]);
    upstream.has_endpoints(&client, &upstream.endpoints([0, 2, 3])).await;
    for number in [0, 1] {
        upstream.servers[number].stop().await;
    }
    post_streams_until_ejected(&client, &upstream, 0).await;
}

#[tokio::test]
async fn a_body_that_is_being_read_outlives_its_address() {
    let upstream = Upstream::of(2);
    let client = client(&upstream);
    upstream.is_discovered(&client).await;
    let gate = Arc::new(tokio::sync::Notify::new());
    let end = [server::chunk(b"whole"), b"0\r\n\r\n".to_vec()].concat();
    let slow = Reply::Gate(server::chunked_head(200), Arc::clone(&gate), end);
    upstream.servers[0].replies([slow, Reply::ok("0")]);
    let head = |path| client.get(upstream.url(path)).send();
    let mut slow = None;
    for _ in 0..MAX_CALLS {
        let response = head("/").await.unwrap();
        if upstream.servers[0].last().target == "/" && response.content_length().is_none() {
            slow = Some(response);
            break;
        }
        response.bytes().await.unwrap();
    }
    upstream.names.set(NAME, upstream.addresses()[1..].to_vec());
    upstream.has_endpoints(&client, &upstream.endpoints([1])).await;
    gate.notify_one();
    assert_eq!(slow.unwrap().text().await.unwrap(), "whole");
}

#[tokio::test]
async fn a_name_that_cannot_be_resolved_fails_unsent_until_it_can() {
    let upstream = Upstream::of(2);
    upstream.names.fail(NAME);
    let builder = upstream.builder().refresh_addresses(REFRESH).without_retry().without_circuit_breaker();
    let client = builder.build().unwrap();
    for _ in 0..20 {
        let error = client.get(upstream.url("/")).send().await.unwrap_err();
        assert!(error.is_dns() && !error.maybe_sent(), "{error:?}");
    }
    assert_eq!(known(&client, &upstream.url("/")), [None]);
    upstream.names.set(NAME, upstream.addresses());
    get(&client, &upstream.url("/")).await;
    upstream.is_discovered(&client).await;
}
