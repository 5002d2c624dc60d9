//! The disk store.

use std::collections::HashMap;
use std::fs;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use rand::rngs::SmallRng;
use rand::{RngExt as _, SeedableRng as _};
use redb::{Database, TableDefinition};
use steadfast::last_known_good::Store as _;
use steadfast::stores::{DiskStore, DiskStoreBuilder, DiskStoreError};
use tokio::time::advance;

use crate::contract::{self, noise};
use crate::folder::Folder;

const HOUR: Duration = Duration::from_secs(3600);
const OVERHEAD: u64 = 128;

async fn put(store: &DiskStore, key: &str, value: impl Into<Bytes>) {
    store.put(key, value.into(), HOUR).await.unwrap();
}

async fn get(store: &DiskStore, key: &str) -> Option<Bytes> {
    store.get(key).await.unwrap()
}

/// The store's own error, taken out of the trait's box.
fn own<T>(result: Result<T, steadfast::BoxError>) -> DiskStoreError {
    *result.err().unwrap().downcast().unwrap()
}

#[tokio::test(start_paused = true)]
async fn the_contract_holds() {
    let folder = Folder::new("contract");
    contract::holds(Arc::new(DiskStore::open(folder.file()).unwrap())).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_contract_holds_on_several_threads_in_real_time() {
    let folder = Folder::new("contract-threads");
    contract::holds(Arc::new(DiskStore::open(folder.file()).unwrap())).await;
}

#[tokio::test]
async fn the_contract_holds_while_everything_is_written_at_once() {
    let folder = Folder::new("contract-flushed");
    let store = DiskStore::open(folder.file()).unwrap();
    let flushing = tokio::spawn({
        let store = store.clone();
        async move { while store.flush().await.is_ok() {} }
    });
    contract::holds(Arc::new(store)).await;
    flushing.abort();
}

// ===== restarts =====

#[tokio::test]
async fn values_survive_a_restart() {
    let folder = Folder::new("restart");
    let store = DiskStore::open(folder.file()).unwrap();
    put(&store, "a", "one").await;
    put(&store, "b", "two").await;
    put(&store, "a", "three").await;
    store.close().await.unwrap();

    let store = DiskStore::open(folder.file()).unwrap();
    assert_eq!((store.len(), store.bytes()), (2, 5 + 1 + 3 + 1 + 2 * OVERHEAD));
    assert_eq!(get(&store, "a").await.unwrap(), "three");
    assert_eq!(get(&store, "b").await.unwrap(), "two");
}

#[tokio::test]
async fn dropping_the_last_handle_writes_the_queue() {
    let folder = Folder::new("dropped");
    let store = DiskStore::open(folder.file()).unwrap();
    let other = store.clone();
    drop(store);
    put(&other, "a", "one").await;
    drop(other);
    let store = reopened(&folder).await;
    assert_eq!(get(&store, "a").await.unwrap(), "one");
}

/// Opens the store as soon as the file is unlocked.
async fn reopened(folder: &Folder) -> DiskStore {
    for _ in 0..1000 {
        match DiskStore::open(folder.file()) {
            Err(DiskStoreError::Locked { .. }) => tokio::time::sleep(Duration::from_millis(10)).await,
            opened => return opened.unwrap(),
        }
    }
    panic!("the store is still open");
}

#[tokio::test]
async fn a_closed_store_refuses_get_and_put() {
    let folder = Folder::new("closed");
    let store = DiskStore::open(folder.file()).unwrap();
    put(&store, "a", "one").await;
    let (first, second) = tokio::join!(store.close(), store.close());
    first.unwrap();
    second.unwrap();
    assert!(matches!(own(store.get("a").await), DiskStoreError::Closed));
    assert!(matches!(own(store.put("a", Bytes::new(), HOUR).await), DiskStoreError::Closed));
    store.flush().await.unwrap();
}

// ===== bounds =====

#[tokio::test(start_paused = true)]
async fn the_bound_in_bytes_holds_for_random_puts_and_reopenings() {
    const MAX_BYTES: u64 = 512 * 1024;
    let folder = Folder::new("bound");
    let open = || DiskStore::builder(folder.file()).max_bytes(MAX_BYTES).build().unwrap();
    let mut random = SmallRng::seed_from_u64(7);
    let mut newest = HashMap::new();
    for _ in 0..20 {
        let store = open();
        for _ in 0..500 {
            let key = format!("key {}", random.random_range(0..800));
            let length = if random.random_bool(0.02) { 40_000 } else { random.random_range(0..2000) };
            let seed = random.random();
            let keep_for = Duration::from_secs(random.random_range(600..3000));
            store.put(&key, noise(seed, length).into(), keep_for).await.unwrap();
            newest.insert(key, (seed, length));
            if random.random_bool(0.02) {
                advance(Duration::from_secs(random.random_range(0..100))).await;
                store.flush().await.unwrap();
                assert!(store.bytes() <= MAX_BYTES, "{} bytes", store.bytes());
            }
        }
        store.close().await.unwrap();
    }

    let store = open();
    let (mut entries, mut bytes) = (0, 0);
    for (key, (seed, length)) in newest {
        if let Some(found) = get(&store, &key).await {
            assert_eq!(found, noise(seed, length), "{key}");
            entries += 1;
            bytes += (key.len() + length) as u64 + OVERHEAD;
        }
    }
    // A store that is opened anew starts at the system's time, so no remaining entry has expired.
    assert_eq!((store.len(), store.bytes()), (entries, bytes));
    assert!(bytes > MAX_BYTES / 2, "it is well filled: {bytes}");
    let file = fs::metadata(folder.file()).unwrap().len();
    assert!(file <= 16 * MAX_BYTES, "it does not grow with what is put: {file}");
}

/// A store with room for so many entries, with keys of one byte and values of a thousand bytes.
fn room_for(folder: &Folder, entries: u64) -> DiskStoreBuilder {
    DiskStore::builder(folder.file()).max_bytes(entries * (1001 + OVERHEAD))
}

async fn stored(store: &DiskStore, keys: &str) -> String {
    let mut stored = String::new();
    for key in keys.chars() {
        stored.extend(get(store, &key.to_string()).await.map(|_| key));
    }
    stored
}

#[tokio::test(start_paused = true)]
async fn entries_are_evicted_in_the_order_of_expiry() {
    let folder = Folder::new("order");
    let store = room_for(&folder, 3).build().unwrap();
    for (key, minutes) in [("a", 30), ("b", 10), ("c", 20), ("d", 40), ("e", 15)] {
        store.put(key, noise(0, 1000).into(), Duration::from_secs(minutes * 60)).await.unwrap();
    }
    store.flush().await.unwrap();
    assert_eq!(stored(&store, "abcde").await, "acd");
    // Each new entry evicts one entry, not more.
    put(&store, "f", noise(0, 1000)).await;
    store.flush().await.unwrap();
    assert_eq!((stored(&store, "acdf").await.as_str(), store.len()), ("adf", 3));
}

#[tokio::test(start_paused = true)]
async fn entries_that_expire_together_are_evicted_oldest_first() {
    let folder = Folder::new("order-of-puts");
    let store = room_for(&folder, 3).build().unwrap();
    // Each put is flushed, so that the old "a" is in the file when the new "a" comes.
    for key in ["a", "b", "c", "a", "d", "e"] {
        put(&store, key, noise(0, 1000)).await;
        store.flush().await.unwrap();
    }
    assert_eq!(stored(&store, "abcde").await, "ade");
}

#[tokio::test(start_paused = true)]
async fn the_next_write_removes_expired_entries() {
    let folder = Folder::new("expired");
    let store = DiskStore::open(folder.file()).unwrap();
    for key in ["a", "b", "c"] {
        put(&store, key, "value").await;
    }
    store.flush().await.unwrap();
    advance(HOUR).await;
    assert_eq!((stored(&store, "abc").await.as_str(), store.len()), ("", 3));
    put(&store, "d", "value").await;
    store.flush().await.unwrap();
    assert_eq!((stored(&store, "abcd").await.as_str(), store.len()), ("d", 1));
}

#[tokio::test]
async fn a_store_that_has_become_too_large_is_cut_down() {
    let folder = Folder::new("smaller");
    let store = room_for(&folder, 9).build().unwrap();
    for key in ["a", "b", "c", "d", "e"] {
        put(&store, key, noise(0, 1000)).await;
    }
    store.close().await.unwrap();
    let store = room_for(&folder, 2).build().unwrap();
    put(&store, "f", noise(0, 1000)).await;
    store.flush().await.unwrap();
    assert_eq!((stored(&store, "abcdef").await.len(), store.len()), (2, 2));
}

#[tokio::test]
async fn a_value_that_is_too_large_is_refused() {
    let folder = Folder::new("large");
    let store = room_for(&folder, 1).build().unwrap();
    put(&store, "a", noise(0, 1000)).await;
    match own(store.put("a", noise(0, 1001).into(), HOUR).await) {
        DiskStoreError::TooLarge { bytes, max_bytes } => assert_eq!((bytes, max_bytes), (1130, 1129)),
        other => panic!("{other:?}"),
    }
    store.flush().await.unwrap();
    assert_eq!(get(&store, "a").await.unwrap().len(), 1000);
}

#[tokio::test]
async fn a_full_queue_refuses_puts_until_it_has_been_written() {
    const LENGTH: usize = 100 * 1024;
    let folder = Folder::new("queue");
    let store = DiskStore::builder(folder.file()).max_queued_bytes(1024 * 1024).build().unwrap();
    // Repeated puts of one key take one place in the queue, so they do not fill it.
    for _ in 0..100 {
        put(&store, "same", noise(0, LENGTH)).await;
    }
    let value = Bytes::from(noise(0, LENGTH));
    let mut taken = 0;
    let refused = loop {
        match store.put(&taken.to_string(), value.clone(), HOUR).await {
            Ok(()) => taken += 1,
            refused => break own(refused),
        }
        assert!(taken < 2000, "the queue is never full");
    };
    assert!(matches!(refused, DiskStoreError::QueueFull { max_queued_bytes: 1_048_576 }), "{refused:?}");
    store.flush().await.unwrap();
    put(&store, "one more", value).await;
    for key in 0..taken {
        assert!(get(&store, &key.to_string()).await.is_some(), "{key}");
    }
}

// ===== unusable settings and files =====

#[test]
fn a_bound_out_of_range_is_refused() {
    let folder = Folder::new("config");
    let build = |builder: DiskStoreBuilder| match builder.build() {
        Err(DiskStoreError::Config(error)) => (error.field(), error.to_string()),
        other => panic!("{other:?}"),
    };
    let (field, message) = build(DiskStore::builder(folder.file()).max_bytes(1023));
    assert_eq!(field, "disk_store.max_bytes");
    assert_eq!(message, "disk_store.max_bytes is 1023: it must be between 1024 and 1099511627776");
    let (field, _) = build(DiskStore::builder(folder.file()).max_queued_bytes(0));
    assert_eq!(field, "disk_store.max_queued_bytes");
    assert!(!folder.file().exists());
}

#[tokio::test]
async fn a_store_that_is_open_cannot_be_opened_again() {
    let folder = Folder::new("locked");
    let store = DiskStore::open(folder.file()).unwrap();
    let error = DiskStore::open(folder.file()).unwrap_err();
    assert!(matches!(&error, DiskStoreError::Locked { path } if *path == folder.file()), "{error:?}");
    assert!(error.to_string().contains(folder.file().to_str().unwrap()), "{error}");
    put(&store, "a", "one").await;
    store.close().await.unwrap();
    assert_eq!(get(&DiskStore::open(folder.file()).unwrap(), "a").await.unwrap(), "one");
}

#[test]
fn a_foreign_file_is_refused_and_left_unchanged() {
    let folder = Folder::new("foreign");
    for content in [b"x".to_vec(), b"a text".to_vec(), vec![0; 100_000], noise(3, 100_000)] {
        fs::write(folder.file(), &content).unwrap();
        let error = DiskStore::open(folder.file()).unwrap_err();
        assert!(matches!(error, DiskStoreError::Foreign { .. }), "{error:?}");
        assert!(fs::read(folder.file()).unwrap() == content);
    }
}

#[test]
fn a_foreign_database_is_refused_and_left_unchanged() {
    const THEIRS: TableDefinition<'_, &str, &str> = TableDefinition::new("theirs");
    let folder = Folder::new("theirs");
    let database = Database::builder().create_with_file_format_v3(true).create(folder.file()).unwrap();
    let transaction = database.begin_write().unwrap();
    transaction.open_table(THEIRS).unwrap().insert("key", "value").unwrap();
    transaction.commit().unwrap();
    drop(database);
    let error = DiskStore::open(folder.file()).unwrap_err();
    assert!(matches!(error, DiskStoreError::Foreign { .. }), "{error:?}");
    let transaction = Database::open(folder.file()).unwrap().begin_read().unwrap();
    assert_eq!(transaction.open_table(THEIRS).unwrap().get("key").unwrap().unwrap().value(), "value");
}

#[tokio::test]
async fn a_store_of_another_version_is_refused_and_left_unchanged() {
    const META: TableDefinition<'_, &str, u64> = TableDefinition::new("steadfast_meta");
    let folder = Folder::new("version");
    let store = DiskStore::open(folder.file()).unwrap();
    put(&store, "a", "one").await;
    store.close().await.unwrap();
    let set_version = |version| {
        let database = Database::open(folder.file()).unwrap();
        let transaction = database.begin_write().unwrap();
        transaction.open_table(META).unwrap().insert("version", version).unwrap();
        transaction.commit().unwrap();
    };
    set_version(2);
    match DiskStore::open(folder.file()).unwrap_err() {
        DiskStoreError::Version { found, expected, .. } => assert_eq!((found, expected), (2, 1)),
        other => panic!("{other:?}"),
    }
    set_version(1);
    assert_eq!(get(&DiskStore::open(folder.file()).unwrap(), "a").await.unwrap(), "one");
}

#[tokio::test]
async fn a_damaged_store_is_an_error_and_no_panic() {
    let folder = Folder::new("damaged");
    let store = DiskStore::open(folder.file()).unwrap();
    for key in 0..200_u64 {
        put(&store, &key.to_string(), noise(key, 1000)).await;
    }
    store.close().await.unwrap();
    let whole = fs::read(folder.file()).unwrap();
    let mut random = SmallRng::seed_from_u64(5);
    let mut refused = 0;
    for round in 0..60 {
        let mut content = whole.clone();
        if round % 3 == 0 {
            content.truncate(random.random_range(1..whole.len()));
        } else {
            let start = random.random_range(0..whole.len() - 4096);
            content[start..start + 4096].copy_from_slice(&noise(round, 4096));
        }
        fs::write(folder.file(), &content).unwrap();
        let Ok(store) = DiskStore::open(folder.file()) else {
            refused += 1;
            continue;
        };
        // Values may be wrong: the cache above checks them. Operations may fail, but must come to an end.
        for key in 0..200 {
            let _ = store.get(&key.to_string()).await;
        }
        let _ = store.put("a", Bytes::from_static(b"one"), HOUR).await;
        let _ = store.close().await;
    }
    assert!(refused > 0);
}

#[test]
fn the_error_for_a_file_that_cannot_be_created_names_path_and_cause() {
    let folder = Folder::new("unmade");
    let path = folder.0.join("missing").join("store");
    match DiskStore::open(&path).unwrap_err() {
        DiskStoreError::Open { path: named, source } => {
            assert_eq!((named, source.kind()), (path, std::io::ErrorKind::NotFound));
        }
        other => panic!("{other:?}"),
    }
    assert!(matches!(DiskStore::open(&folder.0).unwrap_err(), DiskStoreError::Open { .. }));
}

#[tokio::test]
async fn an_empty_file_and_an_unfinished_file_are_replaced() {
    let folder = Folder::new("unfinished");
    fs::write(folder.file(), b"").unwrap();
    fs::write(folder.0.join("store.steadfast-new"), noise(9, 100_000)).unwrap();
    let store = DiskStore::open(folder.file()).unwrap();
    put(&store, "a", "one").await;
    store.close().await.unwrap();
    assert_eq!(get(&DiskStore::open(folder.file()).unwrap(), "a").await.unwrap(), "one");
    assert_eq!(fs::read_dir(&folder.0).unwrap().count(), 1);
}

#[cfg(unix)]
#[tokio::test]
async fn only_the_owner_can_read_a_new_file() {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = Folder::new("mode");
    let mode = || fs::metadata(folder.file()).unwrap().permissions().mode() & 0o777;
    let store = DiskStore::open(folder.file()).unwrap();
    assert_eq!(mode(), 0o600);
    store.close().await.unwrap();
    // A mode that the operator has set is kept.
    fs::set_permissions(folder.file(), fs::Permissions::from_mode(0o640)).unwrap();
    DiskStore::open(folder.file()).unwrap().close().await.unwrap();
    assert_eq!(mode(), 0o640);
}
