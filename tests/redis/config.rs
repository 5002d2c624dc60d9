//! Configurations that are refused, and secrets of a configuration that are never shown.

use super::*;
use crate::server::server_with_password;

const SECRET: &str = "hunter2hunter2";

#[test]
fn a_number_out_of_its_range_is_refused_by_field() {
    let field = |builder: RedisStoreBuilder| builder.build().unwrap_err().field();
    let new = || RedisStore::builder("redis://localhost");
    assert_eq!(field(new().connections(0)), "redis_store.connections");
    assert_eq!(field(new().connections(101)), "redis_store.connections");
    assert_eq!(field(new().timeout(Duration::ZERO)), "redis_store.timeout");
    assert_eq!(field(new().timeout(Duration::MAX)), "redis_store.timeout");
    assert_eq!(field(new().circuit_breaker(CircuitBreaker::builder().probes(0))), "circuit_breaker.probes");
}

#[test]
fn a_url_that_is_not_understood_is_refused_and_not_shown() {
    let urls = [
        String::new(),
        SECRET.to_owned(),
        format!("{SECRET}@localhost"),
        format!("redis://:{SECRET}"),
        format!("redis://:{SECRET}/host"),
        format!("redis://user:{SECRET}@"),
        format!("redis://:{SECRET}@host:70000"),
        format!("redis://:{SECRET}@host/database"),
        // Passwords that should have been percent-encoded.
        format!("redis://user:1/{SECRET}@host"),
        format!("redis://:{SECRET}#1@host"),
        format!("http://:{SECRET}@localhost"),
        // TLS needs a feature of the redis crate, which only the application can enable.
        format!("rediss://:{SECRET}@localhost"),
    ];
    for url in urls {
        let builder = RedisStore::builder(&url);
        let shown = format!("{builder:?}");
        let refused = builder.build().unwrap_err();
        assert_eq!(refused.field(), "redis_store.url", "{url}");
        let shown = shown + &all_of(&refused) + refused.value();
        assert!(!shown.contains(SECRET), "{shown}");
    }
    let refused = RedisStore::builder("rediss://localhost").build().unwrap_err();
    let message = "redis_store.url is \"rediss://…\": it must be redis://";
    assert!(refused.to_string().starts_with(message), "{refused}");
}

#[test]
fn a_store_is_built_without_a_server_or_a_runtime() {
    for url in
        ["redis://localhost", "redis://user:pass%2Fword@[::1]:6379/3", "valkey://h", "unix:///run/redis.sock"]
    {
        RedisStore::builder(url).build().unwrap();
    }
}

#[tokio::test]
async fn the_password_is_used_and_never_shown() {
    let Some(mut server) = server_with_password(SECRET).await else { return };
    let builder = patient(server.url());
    let builder_shown = format!("{builder:?}");
    let store = builder.build().unwrap();
    assert!(works(&store).await);
    server.kill();
    let down = error(store.get("key").await);
    let shown = format!("{builder_shown} {store:?} {}", all_of(&down));
    assert!(shown.contains("steadfast:") && !shown.contains(SECRET), "{shown}");
}

#[tokio::test]
async fn a_wrong_password_is_an_error_that_does_not_show_the_password() {
    let Some(server) = server_with_password("right").await else { return };
    let url = server.url().replace("right", SECRET);
    let circuit = CircuitBreaker::builder().consecutive_failures(1, Duration::ZERO);
    let store = patient(url).circuit_breaker(circuit).build().unwrap();
    let refused = error(store.get("key").await);
    assert!(refused.inner().is_some());
    assert!(!all_of(&refused).contains(SECRET));
    assert_eq!(store.circuit_breaker().snapshot().trips, 1, "Redis cannot be talked to");
}
