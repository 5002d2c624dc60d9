//! Values come back unchanged until they expire, from every store with the same prefix and database.

use std::sync::Arc;

use super::*;
use crate::server::server;

#[tokio::test]
async fn the_contract_holds() {
    let Some(server) = server().await else { return };
    contract::holds(Arc::new(patient(server.url()).build().unwrap())).await;
}

#[tokio::test]
async fn a_value_is_found_until_it_is_replaced() {
    let Some(server) = server().await else { return };
    let store = patient(server.url()).build().unwrap();
    assert_eq!(store.get("key").await.unwrap(), None);
    store.put("key", value("one"), MINUTE).await.unwrap();
    assert_eq!(store.get("key").await.unwrap(), Some(value("one")));
    store.put("key", value("two"), MINUTE).await.unwrap();
    assert_eq!(store.get("key").await.unwrap(), Some(value("two")));
    assert_eq!(store.get("another key").await.unwrap(), None);
}

#[tokio::test]
async fn values_are_bytes_of_any_kind_and_size() {
    let Some(server) = server().await else { return };
    let store = patient(server.url()).build().unwrap();
    let every_byte: Vec<u8> = (0..=255).collect();
    let values = [Vec::new(), every_byte.repeat(4096), b"$-1\r\n*3\r\n".to_vec(), vec![0; 1024 * 1024 + 1]];
    for value in values.map(Bytes::from) {
        store.put("key", value.clone(), MINUTE).await.unwrap();
        assert!(store.get("key").await.unwrap() == Some(value));
    }
}

#[tokio::test]
async fn keys_are_strings_of_any_kind_and_size() {
    let Some(server) = server().await else { return };
    let store = patient(server.url()).build().unwrap();
    let long = "k".repeat(8 * 1024);
    let keys = ["", " ", "a b", "\r\n$3\r\n", "\0", "*", "{a}", "größe/世界", "http://sku/?a=1&b=2", &long];
    for key in keys {
        store.put(key, value(key), MINUTE).await.unwrap();
    }
    for key in keys {
        assert_eq!(store.get(key).await.unwrap(), Some(value(key)));
    }
}

#[tokio::test]
async fn the_server_forgets_by_itself() {
    let Some(server) = server().await else { return };
    let store = patient(server.url()).build().unwrap();
    let year = 365 * 24 * 60 * 60 * 1000;
    for (keep_for, at_most) in [(MINUTE, 60_000), (Duration::MAX, year)] {
        store.put("key", value("value"), keep_for).await.unwrap();
        let left: i64 = server.ask(&["PTTL", "steadfast:key"]).await;
        assert!(left > at_most - 30_000 && left <= at_most, "{left} ms are left of {at_most}");
    }
    for keep_for in [Duration::ZERO, Duration::from_nanos(1), Duration::from_millis(1)] {
        store.put("key", value("value"), keep_for).await.unwrap();
        eventually("it is forgotten", async || store.get("key").await.unwrap().is_none()).await;
    }
}

#[tokio::test]
async fn keys_have_the_prefix_and_prefixes_share_nothing() {
    let Some(server) = server().await else { return };
    let [one, two] = ["one:", "two:"].map(|prefix| patient(server.url()).prefix(prefix).build().unwrap());
    one.put("key", value("of one"), MINUTE).await.unwrap();
    assert_eq!(two.get("key").await.unwrap(), None);
    let found: String = server.ask(&["GET", "one:key"]).await;
    assert_eq!(found, "of one");
    assert_eq!(server.ask::<u64>(&["DBSIZE"]).await, 1);
}

#[tokio::test]
async fn replicas_share_their_values() {
    let Some(server) = server().await else { return };
    let [one, two] = [(); 2].map(|()| patient(server.url()).build().unwrap());
    one.put("key", value("shared"), MINUTE).await.unwrap();
    assert_eq!(two.get("key").await.unwrap(), Some(value("shared")));
}

#[tokio::test]
async fn the_database_is_that_of_the_url() {
    let Some(server) = server().await else { return };
    let [zero, seven] = ["/0", "/7"].map(|database| patient(server.url() + database).build().unwrap());
    seven.put("key", value("of seven"), MINUTE).await.unwrap();
    assert_eq!(zero.get("key").await.unwrap(), None);
    assert_eq!(seven.get("key").await.unwrap(), Some(value("of seven")));
}

#[tokio::test]
async fn a_value_of_another_type_is_absent_and_can_be_replaced() {
    let Some(server) = server().await else { return };
    let store = patient(server.url()).build().unwrap();
    let _: u64 = server.ask(&["RPUSH", "steadfast:key", "an", "element"]).await;
    assert_eq!(store.get("key").await.unwrap(), None);
    store.put("key", value("a string"), MINUTE).await.unwrap();
    assert_eq!(store.get("key").await.unwrap(), Some(value("a string")));
}

#[tokio::test]
async fn an_operation_is_one_round_trip() {
    let Some(server) = server().await else { return };
    let store = patient(server.url()).connections(1).build().unwrap();
    assert!(works(&store).await);
    // The counter includes each `INFO` itself: subtract the increase between two consecutive `INFO`s.
    let processed = async || server.info("stats", "total_commands_processed").await;
    let (first, second) = (processed().await, processed().await);
    let (gets, sets) = (server.calls("get").await, server.calls("set").await);
    let looks = processed().await;
    for _ in 0..10 {
        store.put("key", value("value"), MINUTE).await.unwrap();
        store.get("key").await.unwrap();
    }
    assert_eq!(processed().await - looks, 20 + (second - first));
    assert_eq!((server.calls("get").await - gets, server.calls("set").await - sets), (10, 10));
}
