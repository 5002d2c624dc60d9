//! Lanes: a name with one address has several sets of connections.

use std::sync::atomic::AtomicUsize;

use steadfast::ResponseExt as _;
use steadfast::endpoints::{EndpointStatus, Endpoints};

use super::*;

fn lanes(client: &Client, url: &str) -> Vec<u16> {
    let endpoints = client.upstream_at(url).unwrap().endpoints();
    endpoints.iter().filter_map(EndpointStatus::lane).collect()
}

/// Makes `count` calls, `at_once` of them at the same time.
async fn calls(client: &Client, url: &str, at_once: usize, count: usize) {
    let caller = || async {
        for _ in 0..count / at_once {
            assert_eq!(get(client, url).await, "good");
        }
    };
    join_all((0..at_once).map(|_| caller())).await;
}

#[tokio::test]
async fn over_http_1_there_are_as_many_connections_as_calls_in_flight() {
    for host in ["127.0.0.1", NAME] {
        let server = Server::new([Reply::ok("good")]);
        let names = Arc::<Names>::default();
        names.set(NAME, [server.address().ip()]);
        let client = Client::builder().no_proxy().dns_resolver(names).build().unwrap();
        let url = format!("http://{host}:{}/", server.address().port());
        calls(&client, &url, 1, 50).await;
        assert_eq!((server.connections(), lanes(&client, &url)), (1, vec![1]));
        for _ in 0..5 {
            calls(&client, &url, 10, 200).await;
        }
        assert!(server.connections() <= 10 + 2, "{}", server.connections());
        assert!(lanes(&client, &url).len() <= 10);
    }
}

#[tokio::test]
async fn a_burst_at_the_first_call_opens_one_connection_for_each() {
    let server = Server::new([Reply::ok("good")]);
    let client = Client::builder().no_proxy().build().unwrap();
    for _ in 0..3 {
        calls(&client, &server.url("/"), 30, 30).await;
    }
    assert!(server.connections() <= 30 + 2, "{}", server.connections());
}

#[tokio::test]
async fn clients_whose_connections_cannot_be_told_apart_have_no_lanes() {
    let one_lane = Client::builder().no_proxy().endpoints(Endpoints::builder().max_lanes(1));
    let handed_in = Client::builder().reqwest_client(reqwest::Client::builder().no_proxy().build().unwrap());
    for builder in [one_lane, handed_in, Client::builder().no_proxy().without_endpoints()] {
        let server = Server::new([Reply::ok("good")]);
        let client = builder.build().unwrap();
        calls(&client, &server.url("/"), 10, 40).await;
        let url = server.url("/");
        assert_eq!((lanes(&client, &url), client.upstream_at(url).unwrap().endpoints().len()), (vec![], 1));
    }
}

#[tokio::test]
async fn a_retry_uses_another_connection() {
    let server = Server::new([Reply::unavailable(), Reply::ok("good")]);
    let client = Client::builder().no_proxy().build().unwrap();
    let response = client.get(server.url("/")).send().await.unwrap();
    assert_eq!((response.attempts(), server.connections()), (2, 2));
}

#[tokio::test]
async fn a_name_that_gets_a_second_address_has_endpoints_instead_of_lanes() {
    let upstream = Upstream::of(2);
    upstream.names.set(NAME, upstream.addresses()[..1].iter().copied());
    let client = upstream.builder().refresh_addresses(Duration::from_millis(100)).build().unwrap();
    let url = upstream.url("/");
    for _ in 0..2 {
        join_all((0..8).map(|_| get(&client, &url))).await;
    }
    assert!(lanes(&client, &upstream.url("/")).len() > 1);
    upstream.names.set(NAME, upstream.addresses());
    upstream.is_discovered(&client).await;
    assert!(lanes(&client, &upstream.url("/")).is_empty());
}

/// An HTTP/2 server whose connections can die silently.
struct Mortal {
    port: u16,
    /// Connections with a lower number get no answers.
    dead: Arc<AtomicUsize>,
    opened: Arc<AtomicUsize>,
}

impl Mortal {
    async fn new() -> Self {
        let listener = tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (dead, opened) = (Arc::<AtomicUsize>::default(), Arc::<AtomicUsize>::default());
        let mortal = Self { port, dead: Arc::clone(&dead), opened: Arc::clone(&opened) };
        tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                let number = opened.fetch_add(1, Relaxed);
                let dead = Arc::clone(&dead);
                tokio::spawn(async move {
                    let mut connection = h2::server::handshake(socket).await.unwrap();
                    let mut unanswered = Vec::new();
                    while let Some(Ok((_, mut respond))) = connection.accept().await {
                        if number < dead.load(Relaxed) {
                            unanswered.push(respond);
                        } else {
                            respond.send_response(http::Response::new(()), true).unwrap();
                        }
                    }
                });
            }
        });
        mortal
    }

    fn url(&self) -> String {
        format!("http://127.0.0.1:{}/", self.port)
    }

    fn die(&self) {
        self.dead.store(self.opened.load(Relaxed), Relaxed);
    }
}

fn http2() -> ClientBuilder {
    let http2 = || reqwest::Client::builder().no_proxy().http2_prior_knowledge();
    Client::builder().no_proxy().reqwest_builder(http2).attempt_timeout(Duration::from_millis(300))
}

#[tokio::test]
async fn over_http_2_there_are_two_connections() {
    let server = Mortal::new().await;
    let client = http2().build().unwrap();
    let url = server.url();
    for _ in 0..20 {
        join_all((0..10).map(|_| get(&client, &url))).await;
    }
    assert_eq!((server.opened.load(Relaxed), lanes(&client, &url)), (2, vec![1, 2]));
}

/// Both lanes are open and silent, and a new connection would answer.
#[tokio::test]
async fn after_all_connections_have_died_each_call_is_answered_by_its_second_attempt() {
    let server = Mortal::new().await;
    let client = http2().build().unwrap();
    for _ in 0..10 {
        get(&client, &server.url()).await;
    }
    server.die();
    for _ in 0..3 {
        let response = client.get(server.url()).send().await.unwrap();
        assert!(response.status() == 200 && response.attempts() <= 2, "{}", response.attempts());
    }
}
