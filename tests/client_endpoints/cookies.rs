//! The endpoints share the cookies of the client.

use super::*;

async fn shares_its_cookies(upstream: &Upstream, client: &Client) {
    upstream.is_discovered(client).await;
    upstream.reaches(client, 0..3).await;
    assert_eq!(upstream.servers[1].last().header("cookie"), None);
    upstream.servers[1].replies([Reply::status(200, &[("set-cookie", "session=7")], ""), Reply::ok("")]);
    upstream.reaches(client, [1]).await;
    upstream.reaches(client, 0..3).await;
    for server in &upstream.servers {
        assert_eq!(server.last().header("cookie"), Some("session=7"));
    }
}

#[tokio::test]
async fn a_cookie_that_one_instance_has_set_is_sent_to_the_others() {
    let upstream = Upstream::of(3);
    let client = upstream.builder().cookie_store(true).build().unwrap();
    shares_its_cookies(&upstream, &client).await;
    let upstream = Upstream::of(3);
    let jar = Arc::new(reqwest::cookie::Jar::default());
    let client = upstream.builder().cookie_provider(Arc::clone(&jar)).build().unwrap();
    shares_its_cookies(&upstream, &client).await;
    let cookies = reqwest::cookie::CookieStore::cookies(&*jar, &upstream.url("/").parse().unwrap());
    assert_eq!(cookies.unwrap(), "session=7");
}

/// reqwest's builder hides its cookie store, so each client would have cookies of its own.
#[tokio::test]
async fn cookies_that_a_function_sets_are_shared_by_all_calls() {
    let upstream = Upstream::of(3);
    let with_cookies = || reqwest::Client::builder().no_proxy().cookie_store(true);
    let client = upstream.builder().reqwest_builder(with_cookies).build().unwrap();
    for server in &upstream.servers {
        server.replies([Reply::status(200, &[("set-cookie", "session=7")], "")]);
    }
    let url = upstream.url("/");
    for _ in 0..20 {
        join_all((0..8).map(|_| get(&client, &url))).await;
    }
    for server in upstream.servers.iter().filter(|server| server.requests() > 8) {
        assert_eq!(server.last().header("cookie"), Some("session=7"));
    }
    // This builder's own store replaces that of the function.
    let client = upstream.builder().reqwest_builder(with_cookies).cookie_store(true).build().unwrap();
    upstream.is_discovered(&client).await;
}
