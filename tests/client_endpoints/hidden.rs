//! Settings of reqwest that hide where requests go: proxies, and the user's function that makes a reqwest builder.

use std::sync::atomic::AtomicUsize;

use super::*;

/// Makes calls, all of which `server` must receive.
async fn all_calls_reach(client: &Client, upstream: &Upstream, server: &Server) {
    let before = (upstream.requests(), server.requests());
    for _ in 0..50 {
        get(client, &upstream.url("/")).await;
    }
    assert_eq!(server.requests() - before.1, 50);
    let (after, numbers) = (upstream.requests(), 0..upstream.servers.len());
    let others = numbers.filter(|&number| upstream.servers[number].address() != server.address());
    assert!(others.into_iter().all(|number| after[number] == before.0[number]), "{after:?}");
    assert_eq!(known(client, &upstream.url("/")), [None]);
}

// ===== The user's function =====

#[tokio::test]
async fn a_function_that_hides_nothing_gets_endpoints_after_the_first_answer() {
    let upstream = Upstream::of(3);
    let make = || reqwest::Client::builder().no_proxy();
    let client = Client::builder().reqwest_builder(make).dns_resolver(Arc::clone(&upstream.names));
    let client = client.build().unwrap();
    assert_eq!(get(&client, &upstream.url("/")).await, "0");
    upstream.is_discovered(&client).await;
    upstream.reaches(&client, 0..3).await;
    let calls: usize = upstream.requests().iter().sum();
    assert!(calls < 1000, "{calls}");
}

/// A function can load certificates, which takes long.
#[tokio::test]
async fn the_function_is_called_once_for_each_endpoint() {
    let upstream = Upstream::of(3);
    let calls = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&calls);
    let make = move || {
        count.fetch_add(1, Relaxed);
        reqwest::Client::builder().no_proxy()
    };
    let client = Client::builder().reqwest_builder(make).dns_resolver(Arc::clone(&upstream.names));
    let client = client.build().unwrap();
    assert_eq!(calls.load(Relaxed), 1);
    upstream.is_discovered(&client).await;
    for _ in 0..5 {
        upstream.reaches(&client, 0..3).await;
    }
    assert_eq!(calls.load(Relaxed), 1 + 3);
}

#[tokio::test]
async fn a_function_that_pins_the_name_to_another_address_reaches_only_this_address() {
    let upstream = Upstream::of(4);
    // The resolver knows the first three.
    upstream.names.set(NAME, upstream.addresses()[..3].to_vec());
    let other = upstream.servers[3].address();
    let make = move || reqwest::Client::builder().no_proxy().resolve(NAME, other);
    let client = Client::builder().reqwest_builder(make).dns_resolver(Arc::clone(&upstream.names));
    let client = client.refresh_addresses(Duration::from_millis(100)).build().unwrap();
    all_calls_reach(&client, &upstream, &upstream.servers[3]).await;
    assert_eq!(upstream.names.look_ups(NAME), 0, "the function decides");
}

#[tokio::test]
async fn a_function_that_pins_the_name_to_one_of_its_addresses_reaches_only_this_address() {
    let upstream = Upstream::of(3);
    let one = upstream.servers[1].address();
    let make = move || reqwest::Client::builder().no_proxy().resolve(NAME, one);
    let client = Client::builder().reqwest_builder(make).dns_resolver(Arc::clone(&upstream.names));
    let client = client.build().unwrap();
    all_calls_reach(&client, &upstream, &upstream.servers[1]).await;
}

#[tokio::test]
async fn the_resolver_of_the_client_overrides_that_of_the_function() {
    let (upstream, other) = (Upstream::of(2), Upstream::of(1));
    let of_function = Arc::clone(&other.names);
    let make = move || reqwest::Client::builder().no_proxy().dns_resolver(Arc::clone(&of_function));
    let client = Client::builder().reqwest_builder(make).dns_resolver(Arc::clone(&upstream.names));
    let client = client.build().unwrap();
    upstream.is_discovered(&client).await;
    upstream.reaches(&client, 0..2).await;
    assert_eq!(other.names.look_ups(NAME), 0);
}

#[tokio::test]
async fn a_list_of_one_name_leaves_other_names_to_the_resolver_of_the_function() {
    let upstream = Upstream::of(1);
    let of_function = Arc::clone(&upstream.names);
    let make = move || reqwest::Client::builder().no_proxy().dns_resolver(Arc::clone(&of_function));
    let listed = [IpAddr::from(Ipv4Addr::LOCALHOST)];
    let client = Client::builder().reqwest_builder(make).resolve_to_addrs("listed.test", listed);
    let client = client.build().unwrap();
    get(&client, &upstream.url("/")).await;
}

// ===== Proxies =====

fn proxy() -> (Server, reqwest::Proxy) {
    let server = Server::new([Reply::ok("by the proxy")]);
    let proxy = reqwest::Proxy::http(server.url("")).unwrap();
    (server, proxy)
}

#[tokio::test]
async fn behind_a_proxy_every_request_goes_through_the_proxy() {
    let upstream = Upstream::of(3);
    let (server, proxy) = proxy();
    let of_function = proxy.clone();
    let make = move || reqwest::Client::builder().proxy(of_function.clone());
    let refresh = Duration::from_millis(100);
    let names = || Client::builder().refresh_addresses(refresh).dns_resolver(Arc::clone(&upstream.names));
    for builder in [names().proxy(proxy), names().reqwest_builder(make)] {
        let client = builder.build().unwrap();
        let end = upstream.names.look_ups(NAME) + 2;
        call_until(&client, &upstream.url("/"), || upstream.names.look_ups(NAME) >= end).await;
        all_calls_reach(&client, &upstream, &server).await;
    }
    let target = upstream.url("/");
    assert!(server.received().iter().all(|request| request.target == target), "the form for proxies");
}

/// A proxy such as a sidecar can listen on an address that the name has, too.
#[tokio::test]
async fn behind_a_proxy_on_an_address_of_the_name_every_request_goes_through_the_proxy() {
    let upstream = Upstream::of(3);
    let sidecar = Upstream::beside(&upstream);
    let client = upstream.builder().proxy(reqwest::Proxy::http(sidecar.servers[1].url("")).unwrap());
    let client = client.build().unwrap();
    all_calls_reach(&client, &upstream, &sidecar.servers[1]).await;
}

#[tokio::test]
async fn a_proxy_for_another_scheme_leaves_the_endpoints_alone() {
    let upstream = Upstream::of(3);
    let (server, _) = proxy();
    let client = upstream.builder().proxy(reqwest::Proxy::https(server.url("")).unwrap()).build().unwrap();
    upstream.is_discovered(&client).await;
    upstream.reaches(&client, 0..3).await;
    assert_eq!(server.requests(), 0);
}

#[tokio::test]
async fn no_proxy_removes_the_proxies_that_were_set_before() {
    let upstream = Upstream::of(3);
    let (server, proxy) = proxy();
    let of_function = proxy.clone();
    let make = move || reqwest::Client::builder().proxy(of_function.clone());
    let names = || Client::builder().dns_resolver(Arc::clone(&upstream.names));
    for builder in [names().proxy(proxy), names().reqwest_builder(make)] {
        let client = builder.no_proxy().build().unwrap();
        upstream.is_discovered(&client).await;
        upstream.reaches(&client, 0..3).await;
    }
    assert_eq!(server.requests(), 0);
}
