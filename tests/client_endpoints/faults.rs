//! Faults of one instance of several.

use std::io;

use bytes::Bytes;
use futures_util::stream;
use http_body::Frame;
use http_body_util::StreamBody;
use steadfast::ResponseExt as _;
use steadfast::endpoints::{EjectionCause, Endpoints};

use super::*;

/// A body of unknown length, which can be sent only once.
pub(crate) fn stream(text: &str) -> reqwest::Body {
    let frame = Ok::<_, io::Error>(Frame::data(Bytes::from(text.to_owned())));
    reqwest::Body::wrap(StreamBody::new(stream::iter([frame])))
}

/// The cause of the ejection of an instance.
fn cause(client: &Client, upstream: &Upstream, number: usize) -> Option<EjectionCause> {
    let endpoints = client.upstream_at(upstream.url("/")).unwrap().endpoints();
    let address = Some(upstream.servers[number].address());
    endpoints.iter().find(|endpoint| *endpoint.address() == address)?.ejection_cause()
}

/// Makes calls until the budget is full. A new client has tokens for one retry only.
async fn fill_budget(client: &Client, upstream: &Upstream) {
    for _ in 0..20 {
        get(client, &upstream.url("/")).await;
    }
}

/// The host itself answers, from 127.0.0.1.
#[tokio::test]
async fn the_unspecified_address_is_reached() {
    let addresses = [Ipv4Addr::LOCALHOST.into(), fresh_addresses(1)[0]];
    let mut upstream = Upstream { name: NAME, servers: bind(&addresses), names: Arc::default() };
    upstream.servers.iter_mut().for_each(Server::listen);
    upstream.restore();
    upstream.names.set(NAME, [Ipv4Addr::UNSPECIFIED.into(), upstream.addresses()[1]]);
    let client = upstream.client();
    call_until(&client, &upstream.url("/"), || known(&client, &upstream.url("/")).len() == 2).await;
    upstream.reaches(&client, 0..2).await;
    let endpoints = client.upstream_at(upstream.url("/")).unwrap().endpoints();
    assert!(endpoints.iter().all(|endpoint| endpoint.ejection_cause().is_none()), "{endpoints:?}");
}

/// A host that is an IP address has one endpoint, without a pin.
#[tokio::test]
async fn a_dead_http2_connection_is_replaced_whatever_the_host() {
    for host in [NAME, "127.0.0.1"] {
        let port = http2_server_whose_first_connection_is_dead().await;
        let names = Arc::<Names>::default();
        names.set(NAME, [Ipv4Addr::LOCALHOST.into()]);
        let client = Client::builder()
            .no_proxy()
            .reqwest_builder(|| reqwest::Client::builder().no_proxy().http2_prior_knowledge())
            .dns_resolver(names)
            .attempt_timeout(Duration::from_millis(300))
            .build()
            .unwrap();
        let response = client.get(format!("http://{host}:{port}/")).send().await;
        assert!(response.unwrap().attempts() >= 2, "{host}");
    }
}

/// Returns the port. Streams of the first connection get no answer.
async fn http2_server_whose_first_connection_is_dead() -> u16 {
    let listener = tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        for number in 0.. {
            let (socket, _) = listener.accept().await.unwrap();
            tokio::spawn(async move {
                let mut connection = h2::server::handshake(socket).await.unwrap();
                let mut unanswered = Vec::new();
                while let Some(Ok((_, mut respond))) = connection.accept().await {
                    if number == 0 {
                        unanswered.push(respond);
                    } else {
                        respond.send_response(http::Response::new(()), true).unwrap();
                    }
                }
            });
        }
    });
    port
}

#[tokio::test]
async fn an_instance_that_answers_503_from_the_first_call_on_costs_no_get() {
    for bad in 0..3 {
        let upstream = Upstream::of(3);
        upstream.servers[bad].replies([Reply::unavailable()]);
        let client = upstream.builder().without_retry_budget().build().unwrap();
        for _ in 0..100 {
            get(&client, &upstream.url("/")).await;
        }
        assert!(upstream.requests()[bad] > 0);
    }
}

#[tokio::test]
async fn an_instance_that_begins_to_answer_503_costs_no_get_and_is_ejected() {
    let upstream = Upstream::of(3);
    let client = upstream.client();
    upstream.is_discovered(&client).await;
    upstream.reaches(&client, 0..3).await;
    upstream.servers[1].replies([Reply::unavailable()]);
    upstream.burst_until(&client, || cause(&client, &upstream, 1).is_some()).await;
    assert_eq!(cause(&client, &upstream, 1), Some(EjectionCause::ConsecutiveFaults));
    let before = upstream.requests()[1];
    for _ in 0..100 {
        get(&client, &upstream.url("/")).await;
    }
    let probes = upstream.requests()[1] - before;
    assert!(probes <= 5, "{probes} requests to the ejected instance");
}

/// An instance often refuses its first requests while it starts.
#[tokio::test]
async fn an_instance_whose_first_answer_was_503_gets_requests_again() {
    let upstream = Upstream::of(3);
    upstream.servers[1].replies([Reply::unavailable(), Reply::ok("1")]);
    let client = upstream.client();
    call_until(&client, &upstream.url("/"), || upstream.requests()[1] > 1).await;
}

#[tokio::test]
async fn two_of_three_instances_that_answer_503_cost_no_get() {
    let upstream = Upstream::of(3);
    let client = upstream.client();
    upstream.is_discovered(&client).await;
    fill_budget(&client, &upstream).await;
    upstream.servers[0].replies([Reply::unavailable()]);
    upstream.servers[2].replies([Reply::unavailable()]);
    for _ in 0..300 {
        assert_eq!(get(&client, &upstream.url("/")).await, "1");
    }
}

#[tokio::test]
async fn a_post_gets_the_503_of_its_instance_and_is_sent_once() {
    let upstream = Upstream::of(3);
    let client = upstream.client();
    upstream.is_discovered(&client).await;
    upstream.servers[1].replies([Reply::unavailable()]);
    let before = upstream.requests();
    let (mut posts, mut refused) = (0, 0);
    while upstream.servers[1].requests() == before[1] {
        assert!(posts < MAX_CALLS, "the instance is never chosen");
        let post = || async {
            let response = client.post(upstream.url("/")).body("body").send().await.unwrap();
            let status = response.status();
            response.bytes().await.unwrap();
            status.as_u16()
        };
        let statuses = join_all((0..BURST).map(|_| post())).await;
        posts += BURST;
        refused += statuses.iter().filter(|status| **status == 503).count();
        assert!(statuses.iter().all(|status| [200, 503].contains(status)), "{statuses:?}");
    }
    let sent = upstream.requests().iter().sum::<usize>() - before.iter().sum::<usize>();
    assert_eq!((sent, refused), (posts, upstream.servers[1].requests() - before[1]));
}

#[tokio::test]
async fn an_instance_that_comes_back_gets_requests_again() {
    let mut upstream = Upstream::of(3);
    let endpoints = Endpoints::builder().eject_for(Duration::from_millis(10));
    let client = upstream.builder().endpoints(endpoints).build().unwrap();
    upstream.is_discovered(&client).await;
    upstream.reaches(&client, 0..3).await;
    upstream.servers[1].stop().await;
    upstream.burst_until(&client, || cause(&client, &upstream, 1).is_some()).await;
    upstream.servers[1].listen();
    upstream.burst_until(&client, || cause(&client, &upstream, 1).is_none()).await;
    for _ in 0..3 {
        upstream.reaches(&client, 0..3).await;
    }
}

/// Makes POSTs until the instance that refuses connections has been chosen. Each must be answered with 200.
pub(crate) async fn post_streams_until_ejected(
    client: &Client,
    upstream: &Upstream,
    refusing: usize,
) -> usize {
    let mut posts = 0;
    while cause(client, upstream, refusing).is_none() {
        assert!(posts < MAX_CALLS, "the instance is never chosen");
        join_all((posts..posts + BURST).map(|number| post_stream(client, upstream, number))).await;
        posts += BURST;
    }
    assert_eq!(cause(client, upstream, refusing), Some(EjectionCause::Unreachable));
    posts
}

async fn post_stream(client: &Client, upstream: &Upstream, number: usize) {
    let request = client.post(upstream.url("/")).body(stream(&number.to_string()));
    let response = request.send().await.unwrap_or_else(|error| panic!("{error:#}"));
    assert_eq!(response.status(), 200);
    response.bytes().await.unwrap();
}

/// Each POST must be answered and carried out once.
async fn streams_a_post_past(refusing: usize, change: fn(ClientBuilder) -> ClientBuilder) {
    let mut upstream = Upstream::of(3);
    upstream.servers[refusing].stop().await;
    let client = change(upstream.builder()).build().unwrap();
    let posts = post_streams_until_ejected(&client, &upstream, refusing).await;
    let received = upstream.servers.iter().flat_map(Server::received);
    let mut numbers: Vec<usize> = received.map(|request| request.body().parse().unwrap()).collect();
    numbers.sort_unstable();
    assert_eq!(numbers, (0..posts).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_streamed_post_is_answered_though_the_chosen_address_refuses() {
    for refusing in 0..3 {
        streams_a_post_past(refusing, |builder| builder).await;
    }
}

#[tokio::test]
async fn without_retry_a_streamed_post_is_answered_though_the_chosen_address_refuses() {
    for refusing in 0..3 {
        streams_a_post_past(refusing, ClientBuilder::without_retry).await;
    }
}

#[tokio::test]
async fn a_get_is_answered_without_a_retry_though_the_chosen_address_refuses() {
    let mut upstream = Upstream::of(4);
    upstream.servers[2].stop().await;
    let client = upstream.builder().without_retry().build().unwrap();
    upstream.burst_until(&client, || cause(&client, &upstream, 2).is_some()).await;
}

/// Bare reqwest tries every address, so a stream is sent if one accepts it.
#[tokio::test]
async fn a_streamed_post_is_answered_if_any_of_four_addresses_accepts_it() {
    let mut upstream = Upstream::of(4);
    let client = upstream.client();
    upstream.is_discovered(&client).await;
    for number in 0..3 {
        upstream.servers[number].stop().await;
    }
    for number in 0..20 {
        post_stream(&client, &upstream, number).await;
    }
}

#[tokio::test]
async fn while_every_address_refuses_calls_fail_unsent_and_afterwards_they_are_answered() {
    let mut upstream = Upstream::of(3);
    let client = upstream.builder().without_circuit_breaker().without_retry().build().unwrap();
    upstream.is_discovered(&client).await;
    for server in &mut upstream.servers {
        server.stop().await;
    }
    for _ in 0..20 {
        let error = client.post(upstream.url("/")).body(stream("body")).send().await.unwrap_err();
        assert!(error.is_connect() && !error.maybe_sent(), "{error:?}");
        assert_eq!(error.attempts(), 1);
        assert!(error.endpoint().is_some(), "{error:?}");
    }
    upstream.servers.iter_mut().for_each(Server::listen);
    upstream.reaches(&client, 0..3).await;
}

// ===== Families =====

/// The kernel refuses TCP connections to these addresses at once, with or without IPv6.
const UNREACHABLE: [IpAddr; 2] = [
    IpAddr::V6(std::net::Ipv6Addr::new(0xff01, 0, 0, 0, 0, 0, 0, 1)),
    IpAddr::V6(std::net::Ipv6Addr::new(0xff01, 0, 0, 0, 0, 0, 0, 2)),
];

async fn answers_each_call(upstream: &Upstream) -> Client {
    let client = upstream.client();
    for number in 0..20 {
        post_stream(&client, upstream, number).await;
        get(&client, &upstream.url("/")).await;
    }
    client
}

#[tokio::test]
async fn a_first_address_of_ipv6_that_refuses_costs_no_call() {
    for instances in 1..=3 {
        let upstream = Upstream::of(instances);
        let address = SocketAddr::from((std::net::Ipv6Addr::LOCALHOST, upstream.port()));
        let Ok(_refusing) = Server::absent_at(address) else { return }; // The machine has no IPv6.
        upstream.names.set(NAME, std::iter::once(address.ip()).chain(upstream.addresses()));
        answers_each_call(&upstream).await;
    }
}

#[tokio::test]
async fn addresses_of_ipv6_that_cannot_be_reached_give_way_to_those_of_ipv4() {
    let upstream = Upstream::of(2);
    upstream.names.set(NAME, UNREACHABLE.into_iter().chain(upstream.addresses()));
    let client = answers_each_call(&upstream).await;
    upstream.is_discovered(&client).await;
    upstream.reaches(&client, 0..2).await;
}

#[tokio::test]
async fn one_address_of_ipv6_that_cannot_be_reached_gives_way_to_those_of_ipv4() {
    let upstream = Upstream::of(2);
    upstream.names.set(NAME, UNREACHABLE.into_iter().take(1).chain(upstream.addresses()));
    let client = upstream.builder().refresh_addresses(Duration::from_millis(100)).build().unwrap();
    upstream.is_discovered(&client).await;
    upstream.reaches(&client, 0..2).await;
}
