//! The contract of every store, tested through the trait alone. The tests of each store pass in an empty store.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt as _;
use rand::rngs::SmallRng;
use rand::{RngExt as _, SeedableRng as _};
use steadfast::last_known_good::Store;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

const HOUR: Duration = Duration::from_secs(3600);

/// Runs all tests one after the other, mostly under keys that begin with `contract/`. The store may run in real time
/// or in tokio's time, paused or not.
pub(crate) async fn holds(store: Arc<impl Store>) {
    a_value_is_found_until_it_is_replaced(&*store).await;
    any_string_is_a_key(&*store).await;
    any_bytes_are_a_value(&*store).await;
    a_value_expires(&*store).await;
    a_dropped_future_leaves_the_store_usable(&*store).await;
    many_tasks_see_whole_values(store).await;
}

async fn get(store: &impl Store, key: &str) -> Option<Bytes> {
    store.get(key).await.unwrap()
}

async fn put(store: &impl Store, key: &str, value: impl Into<Bytes>) {
    store.put(key, value.into(), HOUR).await.unwrap();
}

async fn a_value_is_found_until_it_is_replaced(store: &impl Store) {
    assert_eq!(get(store, "contract/nothing").await, None);
    put(store, "contract/one", "first").await;
    put(store, "contract/other", "other").await;
    assert_eq!(get(store, "contract/one").await.unwrap(), "first");
    put(store, "contract/one", "the second, which is longer").await;
    assert_eq!(get(store, "contract/one").await.unwrap(), "the second, which is longer");
    put(store, "contract/one", "3").await;
    assert_eq!(get(store, "contract/one").await.unwrap(), "3");
    assert_eq!(get(store, "contract/other").await.unwrap(), "other");
}

async fn any_string_is_a_key(store: &impl Store) {
    let long = "contract/long".repeat(8 * 1024 / 13);
    let longer = format!("{long}r");
    let keys = [
        "",
        " ",
        "contract/ ",
        "contract/\0",
        "contract/\0\0",
        "contract/\r\n*1\r\n",
        "contract/../%2e%2e/*?[a]{b}",
        "contract/\"'`\\",
        "contract/ключ/鍵/🔑",
        "CONTRACT/ONE",
        &long,
        &longer,
    ];
    for (number, key) in keys.iter().enumerate() {
        put(store, key, format!("of key {number}")).await;
    }
    for (number, key) in keys.iter().enumerate() {
        assert_eq!(get(store, key).await.unwrap(), format!("of key {number}"), "{key:?}");
    }
}

async fn any_bytes_are_a_value(store: &impl Store) {
    let every_byte: Vec<u8> = (0..=255).collect();
    let values = [Vec::new(), vec![0], b"\r\n".to_vec(), every_byte, noise(1, 1024 * 1024)];
    for value in values {
        put(store, "contract/value", value.clone()).await;
        let found = get(store, "contract/value").await.unwrap();
        assert!(found == value, "{} bytes became {}", value.len(), found.len());
    }
}

async fn a_value_expires(store: &impl Store) {
    let put_for = |key, keep_for| store.put(key, Bytes::from_static(b"value"), keep_for);
    put_for("contract/brief", Duration::from_secs(2)).await.unwrap();
    put_for("contract/renewed", Duration::from_secs(2)).await.unwrap();
    assert_eq!(get(store, "contract/brief").await.unwrap(), "value");
    put_for("contract/renewed", HOUR).await.unwrap();
    put_for("contract/shortened", HOUR).await.unwrap();
    put_for("contract/shortened", Duration::from_secs(2)).await.unwrap();
    for key in ["contract/brief", "contract/shortened"] {
        let gone = async {
            while get(store, key).await.is_some() {
                sleep(Duration::from_millis(20)).await;
            }
        };
        timeout(Duration::from_secs(10), gone).await.unwrap_or_else(|_| panic!("{key} is still there"));
    }
    assert_eq!(get(store, "contract/renewed").await.unwrap(), "value");
    // The key can be used again.
    put(store, "contract/brief", "again").await;
    assert_eq!(get(store, "contract/brief").await.unwrap(), "again");
}

async fn a_dropped_future_leaves_the_store_usable(store: &impl Store) {
    put(store, "contract/dropped", "old").await;
    for _ in 0..50 {
        let _ = store.put("contract/dropped", Bytes::from_static(b"new"), HOUR).now_or_never();
        let _ = store.get("contract/dropped").now_or_never();
        drop(store.put("contract/dropped", Bytes::from_static(b"never polled"), HOUR));
        let found = get(store, "contract/dropped").await.unwrap();
        assert!(found == "old" || found == "new", "{found:?}");
    }
    put(store, "contract/dropped", "newest").await;
    assert_eq!(get(store, "contract/dropped").await.unwrap(), "newest");
}

async fn many_tasks_see_whole_values(store: Arc<impl Store>) {
    const TASKS: u64 = 8;
    // A value repeats one byte, and its length follows from that byte.
    let value = |kind: u8| vec![kind; 1 + usize::from(kind) * 16];
    let mut tasks = JoinSet::new();
    for task in 0..TASKS {
        let store = Arc::clone(&store);
        tasks.spawn(async move {
            for round in 0..40_u8 {
                let own = format!("contract/of task {task}");
                put(&*store, &own, value(round)).await;
                put(&*store, "contract/shared", value(round)).await;
                assert_eq!(get(&*store, &own).await.unwrap(), value(round));
                let shared = get(&*store, "contract/shared").await.unwrap();
                assert_eq!(shared, value(shared[0]));
            }
        });
    }
    while let Some(ended) = tasks.join_next().await {
        ended.unwrap();
    }
    for task in 0..TASKS {
        assert_eq!(get(&*store, &format!("contract/of task {task}")).await.unwrap(), value(39));
    }
}

/// Random bytes: incompressible, and equal for equal seeds.
pub(crate) fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    SmallRng::seed_from_u64(seed).fill(&mut bytes[..]);
    bytes
}
