//! Upstreams with a key function, whose calls go to several hosts, and hosts that several upstreams share.

use steadfast::endpoints::EjectionCause;

use super::*;

#[tokio::test]
async fn the_hosts_of_one_upstream_have_endpoints_of_their_own() {
    let mut one = Upstream::of(2);
    let two = Upstream::named("other.test", 3, &one.names);
    let client = one.builder().upstream_key(|_| "all".to_owned()).build().unwrap();
    let mut expected = [one.all_endpoints(), two.all_endpoints()].concat();
    expected.sort_unstable();
    call_until(&client, &two.url("/"), || known(&client, &two.url("/")) == two.all_endpoints()).await;
    call_until(&client, &one.url("/"), || known(&client, &one.url("/")) == expected).await;
    assert_eq!(known(&client, &two.url("/")), expected);
    let host = |upstream: &Upstream| format!("{}:{}", upstream.name, upstream.port());
    for upstream in [&one, &two] {
        upstream.reaches(&client, 0..upstream.servers.len()).await;
        let mut received = upstream.servers.iter().flat_map(Server::received);
        assert!(received.all(|request| request.header("host") == Some(&host(upstream))));
    }
    // An instance of one host that fails is left out, and the other host is untouched.
    one.servers[0].stop().await;
    let causes = || {
        let endpoints = client.upstream_at(one.url("/")).unwrap().endpoints();
        let ejected = endpoints.iter().filter_map(|it| Some((*it.address(), it.ejection_cause()?)));
        ejected.collect::<Vec<_>>()
    };
    one.burst_until(&client, || !causes().is_empty()).await;
    assert_eq!(causes(), [(Some(one.servers[0].address()), EjectionCause::Unreachable)]);
}

#[tokio::test]
async fn the_hosts_of_one_upstream_are_more_than_are_kept_and_each_call_is_answered() {
    let hosts: Vec<Upstream> = (0..20).map(|_| Upstream::of(1)).collect();
    let client = hosts[0].builder().upstream_key(|_| "all".to_owned()).build().unwrap();
    for _ in 0..3 {
        for host in &hosts {
            get(&client, &host.servers[0].url("/")).await;
        }
    }
    assert!(known(&client, &hosts[0].url("/")).len() <= 64);
}

#[tokio::test]
async fn upstreams_that_share_a_host_share_its_endpoints_and_connections() {
    let upstream = Upstream::of(2);
    let by_shard = |request: &reqwest::Request| {
        let shard = request.headers().get("x-shard").and_then(|shard| shard.to_str().ok());
        shard.unwrap_or("none").to_owned()
    };
    let client = upstream.builder().upstream_key(by_shard).build().unwrap();
    upstream.is_discovered(&client).await;
    upstream.reaches(&client, 0..2).await;
    let connections = upstream.connections();
    let before = upstream.requests();
    for number in 0..MAX_CALLS {
        let request = client.get(upstream.url("/")).header("x-shard", (number % 5).to_string());
        let response = request.send().await.unwrap();
        assert_eq!(response.status(), 200);
        response.bytes().await.unwrap();
        let requests = upstream.requests();
        if (0..2).all(|number| requests[number] - before[number] > 20) {
            break;
        }
    }
    assert_eq!(client.upstreams().len(), 6);
    assert_eq!(upstream.connections(), connections);
    for handle in client.upstreams() {
        let mut endpoints: Vec<_> = handle.endpoints().iter().map(|it| *it.address()).collect();
        endpoints.sort_unstable();
        assert_eq!(endpoints, upstream.all_endpoints(), "{}", handle.name());
    }
}
