//! Redirects between ports of a name, and between names.

use super::*;

fn to(url: &str) -> Reply {
    Reply::status(302, &[("location", url)], "")
}

impl Upstream {
    /// Lets every instance redirect to `url`.
    fn redirect(&self, url: &str) {
        self.servers.iter().for_each(|server| server.replies([to(url)]));
    }
}

#[tokio::test]
async fn a_redirect_to_another_port_of_the_name_is_followed() {
    let upstream = Upstream::of(3);
    let client = upstream.client();
    upstream.is_discovered(&client).await;
    let target = Upstream::beside(&upstream);
    upstream.redirect(&target.url("/moved"));
    let before: usize = upstream.requests().iter().sum();
    for _ in 0..50 {
        get(&client, &upstream.url("/")).await;
    }
    assert_eq!(upstream.requests().iter().sum::<usize>() - before, 50);
    assert_eq!(target.requests().iter().sum::<usize>(), 50);
    let host = format!("{NAME}:{}", target.port());
    let mut received = target.servers.iter().flat_map(Server::received);
    assert!(
        received.all(|request| request.target == "/moved" && request.header("host") == Some(host.as_str()))
    );
    assert_eq!(known(&client, &upstream.url("/")), upstream.all_endpoints());
}

#[tokio::test]
async fn a_redirect_to_another_host_is_followed() {
    let upstream = Upstream::of(3);
    let client = upstream.client();
    upstream.is_discovered(&client).await;
    let target = Upstream::named("other.test", 2, &upstream.names);
    upstream.redirect(&target.url("/moved"));
    for _ in 0..50 {
        get(&client, &upstream.url("/")).await;
    }
    assert_eq!(target.requests().iter().sum::<usize>(), 50);
    assert_eq!(known(&client, &upstream.url("/")), upstream.all_endpoints());
    assert_eq!(known(&client, &target.url("/")), [], "the target was not called itself");
}

#[tokio::test]
async fn a_redirect_within_the_instance_is_followed() {
    let upstream = Upstream::of(3);
    let client = upstream.client();
    upstream.is_discovered(&client).await;
    for (number, server) in upstream.servers.iter().enumerate() {
        server.replies([to("/next"), Reply::ok(number.to_string())]);
    }
    upstream.reaches(&client, 0..3).await;
    for server in &upstream.servers {
        assert!(server.received().iter().any(|request| request.target == "/next"));
    }
}

/// The default port of the scheme is not in the URL, and a pin with a port would replace it.
#[tokio::test]
async fn a_redirect_to_the_default_port_does_not_go_to_the_port_of_the_origin() {
    let upstream = Upstream::of(3);
    let client = upstream.client();
    upstream.is_discovered(&client).await;
    upstream.redirect(&format!("http://{NAME}/moved"));
    for _ in 0..20 {
        // Usually, nothing listens there.
        let _ = client.get(upstream.url("/")).send().await;
    }
    let received: Vec<_> = upstream.servers.iter().flat_map(Server::received).collect();
    assert!(received.iter().all(|request| request.target == "/"), "{:?}", received.last());
}

#[tokio::test]
async fn a_redirect_to_a_dead_host_does_not_eject_the_endpoint() {
    let upstream = Upstream::of(3);
    let client = upstream.builder().without_retry().build().unwrap();
    upstream.is_discovered(&client).await;
    upstream.redirect(&Server::absent().url("/"));
    for _ in 0..30 {
        let error = client.get(upstream.url("/")).send().await.unwrap_err();
        assert!(error.is_of_redirect_target(), "{error:?}");
    }
    let endpoints = client.upstream_at(upstream.url("/")).unwrap().endpoints();
    assert!(endpoints.iter().all(|endpoint| endpoint.ejection_cause().is_none()), "{endpoints:?}");
}
