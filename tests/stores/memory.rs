use std::sync::Arc;
use std::time::Duration;

use steadfast::last_known_good::Store as _;
use steadfast::stores::MemoryStore;

use crate::contract;

#[tokio::test(start_paused = true)]
async fn the_contract_holds() {
    contract::holds(Arc::new(MemoryStore::new(64 * 1024 * 1024).unwrap())).await;
}

#[tokio::test(start_paused = true)]
async fn the_store_stays_within_its_bytes() {
    let store = MemoryStore::new(64 * 1024).unwrap();
    for key in 0..1000 {
        store.put(&key.to_string(), vec![0; 1024].into(), Duration::from_secs(60)).await.unwrap();
    }
    let mut stored = 0;
    for key in 0..1000 {
        stored += usize::from(store.get(&key.to_string()).await.unwrap().is_some());
    }
    assert!((32..64).contains(&stored), "{stored} KiB");
    assert!(store.get("999").await.unwrap().is_some(), "the newest is there");
}

#[test]
fn a_size_that_cannot_work_is_an_error() {
    for bytes in [0, u64::MAX] {
        assert_eq!(MemoryStore::new(bytes).unwrap_err().field(), "memory_store.max_bytes");
    }
}
