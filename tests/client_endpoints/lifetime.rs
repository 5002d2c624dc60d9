//! The tasks of the client: their runtimes, and their end.

use tokio::runtime::{Builder, Runtime};

use super::*;

const REFRESH: Duration = Duration::from_millis(100);

fn runtime() -> Runtime {
    Builder::new_current_thread().enable_all().build().unwrap()
}

/// Starts instances at these addresses and this port, which were used before.
fn restart(addresses: &[SocketAddr]) -> Vec<Server> {
    let start = |address: &SocketAddr| {
        let mut server = Server::absent_at(*address).unwrap();
        server.listen();
        server.replies([Reply::ok("")]);
        server
    };
    addresses.iter().map(start).collect()
}

#[test]
fn a_client_that_outlives_its_runtimes_resolves_and_answers_in_the_next_one() {
    let names = Arc::<Names>::default();
    let builder = Client::builder().no_proxy().dns_resolver(Arc::clone(&names)).refresh_addresses(REFRESH);
    let client = builder.build().unwrap();
    let mut addresses = Vec::new();
    for _ in 0..3 {
        runtime().block_on(async {
            let mut upstream = Upstream {
                name: NAME,
                servers: if addresses.is_empty() {
                    Upstream::named(NAME, 3, &names).servers
                } else {
                    restart(&addresses)
                },
                names: Arc::clone(&names),
            };
            upstream.is_discovered(&client).await;
            upstream.reaches(&client, 0..3).await;
            let look_ups = names.look_ups(NAME);
            call_until(&client, &upstream.url("/"), || names.look_ups(NAME) > look_ups + 2).await;
            addresses = upstream.servers.iter().map(Server::address).collect();
            for server in &mut upstream.servers {
                server.stop().await;
            }
        });
    }
}

#[tokio::test]
async fn dropping_the_client_ends_its_tasks() {
    let mut upstream = Upstream::of(3);
    let client = upstream.builder().refresh_addresses(REFRESH).build().unwrap();
    upstream.is_discovered(&client).await;
    upstream.reaches(&client, 0..3).await;
    let names = Arc::downgrade(&std::mem::take(&mut upstream.names));
    assert!(names.strong_count() > 0);
    drop(client);
    yield_until(|| names.strong_count() == 0).await;
}

#[tokio::test]
async fn a_client_that_is_dropped_while_a_name_is_resolved_ends_its_tasks() {
    /// Never answers.
    struct Never;

    impl Resolve for Never {
        fn resolve(&self, _: Name) -> Resolving {
            Box::pin(std::future::pending())
        }
    }

    let never = Arc::new(Never);
    let names = Arc::downgrade(&never);
    let client = Client::builder().no_proxy().dns_resolver(never).build().unwrap();
    let mut call = tokio_test::task::spawn(client.get("http://sku.test/").send());
    assert!(call.poll().is_pending());
    tokio::task::yield_now().await;
    drop((call, client));
    yield_until(|| names.strong_count() == 0).await;
}

#[tokio::test]
async fn a_body_that_is_being_read_outlives_its_client() {
    let upstream = Upstream::of(2);
    let client = upstream.client();
    upstream.is_discovered(&client).await;
    let gate = Arc::new(tokio::sync::Notify::new());
    let head = server::chunked_head(200);
    let end = [server::chunk(b"whole"), b"0\r\n\r\n".to_vec()].concat();
    for server in &upstream.servers {
        server.replies([Reply::Gate(head.clone(), Arc::clone(&gate), end.clone())]);
    }
    let response = client.get(upstream.url("/")).send().await.unwrap();
    drop(client);
    gate.notify_one();
    assert_eq!(response.text().await.unwrap(), "whole");
}
