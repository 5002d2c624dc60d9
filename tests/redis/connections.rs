//! The number of connections, and the times at which they begin and end.

use futures_util::FutureExt;
use futures_util::future::join_all;

use super::*;
use crate::server::server;

#[tokio::test]
async fn a_store_does_not_connect_before_it_is_used() {
    let Some(server) = server().await else { return };
    let before = server.connections().await;
    let store = patient(server.url()).build().unwrap();
    assert_eq!(server.connections().await - before, 1, "the one that asks");
    assert!(works(&store).await);
    assert_eq!(server.connections().await - before, 4);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_operations_share_few_connections() {
    let Some(server) = server().await else { return };
    let store = patient(server.url()).connections(3).build().unwrap();
    let before = server.connections().await;
    let operations = (0..500).map(|number| {
        let store = store.clone();
        tokio::spawn(async move {
            let key = format!("key {number}");
            store.put(&key, value(&key), MINUTE).await.unwrap();
            assert_eq!(store.get(&key).await.unwrap(), Some(value(&key)));
        })
    });
    for operation in join_all(operations).await {
        operation.unwrap();
    }
    let after = server.connections().await;
    assert_eq!(after - before, 3 + 1, "three, and the one that asks");
    server.has_clients(3).await;
}

#[tokio::test]
async fn large_values_in_both_directions_do_not_block_each_other() {
    let Some(server) = server().await else { return };
    let store = patient(server.url()).connections(1).build().unwrap();
    let large = Bytes::from(vec![7; 1024 * 1024]);
    store.put("large", large.clone(), MINUTE).await.unwrap();
    let both = join_all((0..20).map(async |number| {
        store.put(&format!("large {number}"), large.clone(), MINUTE).await.unwrap();
        assert!(store.get("large").await.unwrap() == Some(large.clone()));
    }));
    both.await;
}

#[tokio::test]
async fn connections_end_with_the_last_handle() {
    let Some(server) = server().await else { return };
    let store = patient(server.url()).build().unwrap();
    let clone = store.clone();
    assert!(works(&store).await);
    drop(store);
    assert!(works(&clone).await);
    server.has_clients(2).await;
    drop(clone);
    server.has_clients(0).await;
}

#[tokio::test]
async fn connections_that_the_server_closed_are_made_again_without_an_error() {
    let Some(server) = server().await else { return };
    let store = patient(server.url()).build().unwrap();
    for _ in 0..5 {
        assert!(works(&store).await);
        let closed: u64 = server.ask(&["CLIENT", "KILL", "SKIPME", "yes", "TYPE", "normal"]).await;
        assert!(closed >= 2, "perhaps with one that had just asked");
    }
    assert!(works(&store).await);
}

#[tokio::test]
async fn a_cut_that_many_notice_is_mended_once() {
    let Some(mut server) = server().await else { return };
    let store = patient(server.url()).connections(1).build().unwrap();
    assert!(works(&store).await);
    server.stop();
    let mut under_way: Vec<_> = (0..50).map(|_| Box::pin(store.get("works"))).collect();
    for get in &mut under_way {
        assert!(get.now_or_never().is_none());
    }
    server.kill();
    server.restart().await;
    let before = server.connections().await;
    for found in join_all(under_way).await {
        assert_eq!(found.unwrap(), None, "it has forgotten");
    }
    assert_eq!(server.connections().await - before, 2, "a new one, and the one that asks");
}

#[tokio::test]
async fn a_primary_that_was_demoted_is_connected_to_anew() {
    let Some(server) = server().await else { return };
    let store = patient(server.url()).connections(1).build().unwrap();
    assert!(works(&store).await);
    let _: String = server.ask(&["REPLICAOF", "127.0.0.1", "1"]).await;
    let before = server.connections().await;
    let refused = error(store.put("key", value("refused"), MINUTE).await);
    assert_eq!(refused.inner().unwrap().code(), Some("READONLY"));
    assert_eq!(store.get("works").await.unwrap(), Some(value("yes")), "it can be read");
    assert_eq!(server.connections().await - before, 2, "a new one, and the one that asks");
    let _: String = server.ask(&["REPLICAOF", "NO", "ONE"]).await;
    assert!(works(&store).await);
}

#[tokio::test]
async fn a_store_outlives_the_runtime_that_connected_it() {
    let Some(server) = server().await else { return };
    let store = patient(server.url()).build().unwrap();
    let elsewhere = store.clone();
    let other_runtime = tokio::task::spawn_blocking(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        assert!(runtime.block_on(works(&elsewhere)));
    });
    other_runtime.await.unwrap();
    assert!(works(&store).await);
}

#[tokio::test]
async fn operations_can_be_dropped_at_any_point() {
    let Some(server) = server().await else { return };
    let store = patient(server.url()).build().unwrap();
    let large = Bytes::from(vec![7; 256 * 1024]);
    store.put("large", large.clone(), MINUTE).await.unwrap();
    // Each operation is polled once more than the previous operation.
    for polls in 0..100 {
        let mut put = Box::pin(store.put("another", large.clone(), MINUTE));
        let mut get = Box::pin(store.get("large"));
        for _ in 0..polls {
            let done = (&mut put).now_or_never().is_some() | (&mut get).now_or_never().is_some();
            if done {
                break;
            }
            tokio::task::yield_now().await;
        }
        drop((put, get));
        // No later operation gets the answer to a dropped operation.
        let key = format!("key {polls}");
        store.put(&key, value(&key), MINUTE).await.unwrap();
        assert_eq!(store.get(&key).await.unwrap(), Some(value(&key)));
    }
    assert!(works(&store).await);
    server.has_clients(2).await;
}

#[tokio::test]
async fn a_dropped_operation_takes_no_answer_from_others() {
    let Some(server) = server().await else { return };
    let store = patient(server.url()).connections(1).build().unwrap();
    let keys: Vec<String> = (0..100).map(|number| format!("key {number}")).collect();
    join_all(keys.iter().map(|key| store.put(key, value(key), MINUTE))).await;
    let mut gets: Vec<_> = keys.iter().map(|key| (key, Box::pin(store.get(key)))).collect();
    for (_, get) in &mut gets {
        assert!(get.now_or_never().is_none());
    }
    for (number, (key, get)) in gets.into_iter().enumerate() {
        if number % 3 != 0 {
            assert_eq!(get.await.unwrap(), Some(value(key)));
        }
    }
}
