//! Which endpoints a name has, and where its requests go.

use steadfast::endpoints::Endpoints;
use steadfast::{Call, CallOptions};

use super::*;

#[tokio::test]
async fn a_name_with_several_addresses_has_an_endpoint_for_each_and_each_gets_requests() {
    let upstream = Upstream::of(4);
    let client = upstream.client();
    assert_eq!(known(&client, &upstream.url("/")), []);
    assert_eq!(get(&client, &upstream.url("/")).await, "0", "reqwest resolves the name for the first call");
    upstream.is_discovered(&client).await;
    let calls: usize = upstream.requests().iter().sum();
    assert!(calls <= 10, "{calls} calls until the addresses are known");
    for _ in 0..3 {
        upstream.reaches(&client, 0..4).await;
    }
    let host = format!("{NAME}:{}", upstream.port());
    for server in &upstream.servers {
        assert!(server.received().iter().all(|request| request.header("host") == Some(&host)));
        assert!(server.received().iter().all(|request| request.target == "/"), "an origin, not a proxy");
    }
}

#[tokio::test]
async fn the_addresses_of_a_list_are_endpoints_and_the_name_is_never_resolved() {
    let upstream = Upstream::of(3);
    upstream.names.set(NAME, [IpAddr::from(Ipv4Addr::LOCALHOST)]);
    let client = upstream.builder().resolve_to_addrs("SKU.Test", upstream.addresses()).build().unwrap();
    upstream.is_discovered(&client).await;
    upstream.reaches(&client, 0..3).await;
    assert_eq!(upstream.names.look_ups(NAME), 0);
    // The resolver is asked for other names.
    let other = Upstream::named("other.test", 2, &upstream.names);
    other.is_discovered(&client).await;
    other.reaches(&client, 0..2).await;
}

#[tokio::test]
async fn a_name_with_one_address_has_one_endpoint_without_an_address() {
    let upstream = Upstream::of(1);
    let client = upstream.client();
    call_until(&client, &upstream.url("/"), || upstream.names.look_ups(NAME) >= 2).await;
    for _ in 0..20 {
        get(&client, &upstream.url("/")).await;
    }
    assert_eq!(known(&client, &upstream.url("/")), [None]);
    assert_eq!(upstream.connections(), 1);
}

#[tokio::test]
async fn an_address_in_two_notations_is_one_endpoint() {
    let upstream = Upstream::of(1);
    let IpAddr::V4(address) = upstream.addresses()[0] else { panic!("an IPv4 address") };
    upstream.names.set(NAME, [address.into(), address.to_ipv6_mapped().into(), address.into()]);
    let client = upstream.client();
    call_until(&client, &upstream.url("/"), || upstream.names.look_ups(NAME) >= 2).await;
    for _ in 0..20 {
        get(&client, &upstream.url("/")).await;
    }
    assert_eq!(known(&client, &upstream.url("/")), [None]);
}

#[tokio::test]
async fn an_ip_address_is_an_endpoint_that_shows_its_address() {
    let upstream = Upstream::of(1);
    let client = upstream.client();
    let url = upstream.servers[0].url("/");
    for _ in 0..20 {
        assert_eq!(get(&client, &url).await, "0");
    }
    assert_eq!(known(&client, &url), upstream.all_endpoints());
}

#[tokio::test]
async fn an_ipv6_address_is_an_endpoint_that_shows_its_address() {
    let Ok(mut server) = Server::absent_at(SocketAddr::from((std::net::Ipv6Addr::LOCALHOST, 0))) else {
        return; // The machine has no IPv6.
    };
    server.listen();
    server.replies([Reply::ok("")]);
    let client = Client::builder().no_proxy().build().unwrap();
    for _ in 0..20 {
        get(&client, &server.url("/")).await;
    }
    assert_eq!(known(&client, &server.url("/")), [Some(server.address())]);
}

/// reqwest ignores pins for absolute names.
#[tokio::test]
async fn a_name_with_a_trailing_dot_has_one_endpoint() {
    let upstream = Upstream::of(3);
    let client = upstream.client();
    let url = format!("http://{NAME}.:{}/", upstream.port());
    for _ in 0..50 {
        assert_eq!(get(&client, &url).await, "0");
    }
    assert_eq!(known(&client, &url), [None]);
    // The name without the dot is another upstream.
    upstream.is_discovered(&client).await;
    assert_eq!(known(&client, &url), [None]);
}

#[tokio::test]
async fn without_endpoints_reqwest_resolves_the_name_for_each_connection_only() {
    let upstream = Upstream::of(3);
    let client = upstream.builder().without_endpoints().build().unwrap();
    for _ in 0..50 {
        assert_eq!(get(&client, &upstream.url("/")).await, "0");
    }
    assert_eq!(known(&client, &upstream.url("/")), [None]);
    assert_eq!((upstream.connections(), upstream.names.look_ups(NAME)), (1, 1));
}

#[tokio::test]
async fn many_first_calls_at_once_are_answered() {
    let upstream = Upstream::of(4);
    let client = upstream.client();
    let url = upstream.url("/");
    join_all((0..100).map(|_| get(&client, &url))).await;
    upstream.is_discovered(&client).await;
}

#[tokio::test]
async fn a_call_does_not_go_to_an_endpoint_that_it_names_as_tried() {
    let upstream = Upstream::of(3);
    let client = upstream.client();
    upstream.is_discovered(&client).await;
    let endpoints = client.upstream_at(upstream.url("/")).unwrap().endpoints();
    let options = CallOptions::new().tried_endpoint(endpoints[0].id()).tried_endpoint(endpoints[1].id());
    let left = *endpoints[2].address();
    let left = upstream.servers.iter().position(|server| Some(server.address()) == left).unwrap();
    for _ in 0..50 {
        let request = client.get(upstream.url("/")).build().unwrap().into_inner();
        let response = client.execute(Call::with_options(request, options)).await.unwrap();
        assert_eq!(response.text().await.unwrap(), left.to_string());
    }
}

/// A client that was handed in hides its settings, so nothing is resolved beside it.
#[tokio::test]
async fn a_client_that_was_handed_in_has_one_endpoint_and_resolves_the_name_itself() {
    let upstream = Upstream::of(3);
    let given =
        || reqwest::Client::builder().no_proxy().dns_resolver(Arc::clone(&upstream.names)).build().unwrap();
    let by_builder = Client::builder().reqwest_client(given()).build().unwrap();
    for (number, client) in [Client::from(given()), by_builder].into_iter().enumerate() {
        for _ in 0..50 {
            assert_eq!(get(&client, &upstream.url("/")).await, "0");
        }
        assert_eq!(known(&client, &upstream.url("/")), [None]);
        assert_eq!((upstream.connections(), upstream.names.look_ups(NAME)), (number + 1, number + 1));
    }
}

#[tokio::test]
async fn a_name_has_no_more_endpoints_than_the_limit() {
    let upstream = Upstream::of(6);
    let client = upstream.builder().endpoints(Endpoints::builder().max_endpoints(4)).build().unwrap();
    let url = upstream.url("/");
    call_until(&client, &url, || known(&client, &url).iter().flatten().count() == 4).await;
    let endpoints = known(&client, &url);
    let chosen = (0..6).filter(|&number| endpoints.contains(&Some(upstream.servers[number].address())));
    upstream.reaches(&client, chosen.clone()).await;
    let others: Vec<_> = (0..6).filter(|number| chosen.clone().all(|chosen| chosen != *number)).collect();
    let before = upstream.requests();
    for _ in 0..50 {
        get(&client, &url).await;
    }
    let after = upstream.requests();
    assert!(others.iter().all(|&number| after[number] == before[number]), "{before:?} {after:?}");
    assert_eq!(known(&client, &url), endpoints, "the choice is stable");
}
