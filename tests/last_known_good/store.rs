//! The store behind the in-memory cache.

use std::collections::HashMap;

use steadfast::last_known_good::Store;
use tokio::time::sleep;

use super::*;

pub(super) const MILLISECOND: Duration = Duration::from_millis(1);

/// A store whose content can be inspected, and that fails, hangs or takes time on demand.
#[derive(Debug, Clone, Default)]
pub(super) struct TestStore(pub(super) Arc<Mutex<State>>);

#[derive(Debug, Default)]
pub(super) struct State {
    pub(super) values: HashMap<String, (Bytes, Duration)>,
    gets: usize,
    puts: usize,
    behaviour: Behaviour,
}

#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) enum Behaviour {
    #[default]
    Work,
    Fail,
    Hang,
    Delay(Duration),
}

impl TestStore {
    pub(super) fn will(&self, behaviour: Behaviour) {
        self.0.lock().unwrap().behaviour = behaviour;
    }

    /// The numbers of `get` and `put` operations so far.
    pub(super) fn counts(&self) -> (usize, usize) {
        let state = self.0.lock().unwrap();
        (state.gets, state.puts)
    }

    fn keys(&self) -> Vec<String> {
        let mut keys: Vec<_> = self.0.lock().unwrap().values.keys().cloned().collect();
        keys.sort_unstable();
        keys
    }

    async fn work(&self) -> Result<(), BoxError> {
        let behaviour = self.0.lock().unwrap().behaviour;
        match behaviour {
            Behaviour::Work => Ok(()),
            Behaviour::Fail => Err("out of order".into()),
            Behaviour::Hang => std::future::pending().await,
            Behaviour::Delay(time) => {
                sleep(time).await;
                Ok(())
            }
        }
    }
}

impl Store for TestStore {
    async fn get(&self, key: &str) -> Result<Option<Bytes>, BoxError> {
        self.0.lock().unwrap().gets += 1;
        self.work().await?;
        Ok(self.0.lock().unwrap().values.get(key).map(|(value, _)| value.clone()))
    }

    async fn put(&self, key: &str, value: Bytes, keep_for: Duration) -> Result<(), BoxError> {
        self.0.lock().unwrap().puts += 1;
        self.work().await?;
        self.0.lock().unwrap().values.insert(key.to_owned(), (value, keep_for));
        Ok(())
    }
}

/// Two replicas that share a store, each with an upstream of its own.
pub(super) fn replicas(
    configure: impl Fn(LastKnownGoodBuilder) -> LastKnownGoodBuilder,
) -> (TestStore, [(Upstream, Layered); 2]) {
    let store = TestStore::default();
    let replica = || service(&layer_with(|it| configure(it.store(store.clone()))));
    (store.clone(), [replica(), replica()])
}

// ===== Shared entries and tombstones =====

#[tokio::test(start_paused = true)]
async fn a_replica_serves_the_entry_of_another_replica() {
    let (_, [one, other]) = replicas(|it| it);
    give(&one, get(), good(&[("etag", "\"1\""), ("cache-control", "max-age=5")])).await;
    advance(MINUTE).await;
    let response = ask(&other.1, get()).await.unwrap();
    // Each replica reads the system's clock once, when it is built: the two clocks differ a little.
    let age = response.extensions().get::<Stale>().unwrap().age;
    assert_eq!((age + MILLISECOND).as_secs(), 60);
    assert_eq!(response.headers()["etag"], "\"1\"");
    assert_eq!(response.headers()["cache-status"], "steadfast; fwd=stale; ttl=-55; detail=transport");
    assert_eq!(read(response).await, "good");
}

#[tokio::test(start_paused = true)]
async fn the_newest_entry_of_all_replicas_is_served() {
    let (_, [one, other]) = replicas(|it| it);
    give(&one, get(), good(&[])).await;
    advance(MINUTE).await;
    give(&other, get(), answer(200, &[], "better")).await;
    advance(MINUTE).await;
    assert_eq!(stale(&one, get()).await.unwrap(), "better");
    assert_eq!(stale(&other, get()).await.unwrap(), "better");
}

#[tokio::test(start_paused = true)]
async fn replicas_share_all_variants() {
    let (_, [one, other]) = replicas(|it| it);
    let of = |language| request("GET", &[("accept-language", language)]);
    give(&one, of("de"), answer(200, &[("vary", "accept-language")], "gut")).await;
    give(&other, of("en"), good(&[("vary", "accept-language")])).await;
    for both in [&one, &other] {
        advance(MINUTE).await;
        assert_eq!(stale(both, of("de")).await.unwrap(), "gut");
        assert_eq!(stale(both, of("en")).await.unwrap(), "good");
        assert!(stale(both, of("fr")).await.is_none());
    }
}

#[tokio::test(start_paused = true)]
async fn an_entry_is_revoked_for_all_replicas() {
    for last in [answer(404, &[], ""), answer(200, &[("cache-control", "no-store")], "")] {
        let (_, [one, other]) = replicas(|it| it);
        give(&one, get(), good(&[])).await;
        give(&other, get(), good(&[])).await;
        advance(MINUTE).await;
        give(&other, get(), last).await;
        assert!(stale(&one, get()).await.is_none());
        assert!(stale(&other, get()).await.is_none());
        // A later good answer is stored and shared again.
        advance(SECOND).await;
        give(&other, get(), answer(200, &[], "new")).await;
        assert_eq!(stale(&one, get()).await.unwrap(), "new");
    }
}

#[tokio::test(start_paused = true)]
async fn an_unsafe_method_invalidates_entries_for_all_replicas() {
    let (_, [one, other]) = replicas(|it| it.digest_key([7; 32]));
    let alice = || request("GET", &[("authorization", "alice")]);
    let item = |id| Request::get(format!("http://sku.internal/v1/items/{id}")).body(String::new()).unwrap();
    for request in [get(), alice(), item("42"), item("43"), item("44")] {
        give(&one, request, good(&[])).await;
    }
    advance(MINUTE).await;
    let referring = [("location", "43"), ("content-location", "http://sku.internal/v1/items/44")];
    give(&other, request("POST", &[]), answer(201, &referring, "")).await;
    for request in [get(), alice(), item("42"), item("43"), item("44")] {
        assert!(stale(&one, request).await.is_none());
    }
}

#[tokio::test(start_paused = true)]
async fn an_answer_to_a_caller_with_credentials_is_shared_only_under_a_shared_digest_key() {
    let alice = || request("GET", &[("authorization", "alice")]);
    let (store, [one, other]) = replicas(|it| it);
    give(&one, alice(), good(&[])).await;
    assert!(store.keys().is_empty(), "no other replica could find it");
    assert!(stale(&other, alice()).await.is_none());
    assert!(stale(&one, alice()).await.is_some());

    let (store, [one, other]) = replicas(|it| it.digest_key([7; 32]));
    give(&one, alice(), good(&[])).await;
    assert_eq!(store.keys().len(), 1);
    assert!(stale(&other, request("GET", &[("authorization", "bob")])).await.is_none());
    assert!(stale(&other, get()).await.is_none());
    assert_eq!(stale(&other, alice()).await.unwrap(), "good");
}

#[tokio::test(start_paused = true)]
async fn an_entry_from_a_clock_far_ahead_is_not_served() {
    let store = TestStore::default();
    let replica = || service(&layer_with(|it| it.store(store.clone())));
    let one = replica();
    advance(2 * MINUTE).await;
    let other = replica(); // Its clock starts at the system's time, two minutes behind.
    give(&one, get(), good(&[])).await;
    assert!(stale(&other, get()).await.is_none());
}

#[tokio::test(start_paused = true)]
async fn a_damaged_or_misplaced_value_is_ignored() {
    let (store, [one, other]) = replicas(|it| it);
    let item = |id| Request::get(format!("http://sku.internal/{id}")).body(String::new()).unwrap();
    give(&one, item("a"), answer(200, &[], "a")).await;
    give(&one, item("b"), answer(200, &[], "b")).await;
    let [a, b] = store.keys().try_into().unwrap();
    let (value_of_a, keep_for) = store.0.lock().unwrap().values[&a].clone();
    let mut garbled = value_of_a.to_vec();
    *garbled.last_mut().unwrap() ^= 1;
    for value in [Bytes::new(), Bytes::from_static(b"{}"), garbled.into(), value_of_a.slice(1..)] {
        store.0.lock().unwrap().values.insert(a.clone(), (value, keep_for));
        assert!(stale(&other, item("a")).await.is_none());
    }
    store.0.lock().unwrap().values.insert(b, (value_of_a, keep_for));
    assert!(stale(&other, item("b")).await.is_none(), "the value belongs to the other key");
}

// ===== How often the store is read and written =====

#[tokio::test(start_paused = true)]
async fn writes_to_the_store_are_throttled() {
    let (store, [one, _]) = replicas(|it| it);
    for second in 0..21 {
        let body = if second % 2 == 0 { "good" } else { "better" };
        give(&one, get(), answer(200, &[], body)).await;
        advance(SECOND).await;
    }
    assert_eq!(store.counts(), (0, 3));
    // The memory always holds the last answer.
    assert_eq!(stale(&one, get()).await.unwrap(), "good");
}

#[tokio::test(start_paused = true)]
async fn reads_of_the_store_are_throttled_for_an_entry_in_memory() {
    let (store, [one, _]) = replicas(|it| it);
    give(&one, get(), good(&[])).await;
    for _ in 0..21 {
        stale(&one, get()).await.unwrap();
        advance(SECOND).await;
    }
    // Two look-ups with three reads each: the entry, the tombstone for all callers, and the tombstone for this
    // caller.
    assert_eq!(store.counts(), (6, 1));
}

#[tokio::test(start_paused = true)]
async fn a_store_keeps_nothing_for_longer_than_the_maximum_age() {
    let (store, [one, _]) = replicas(|it| it.max_age(MINUTE));
    let item = |id| Request::get(format!("http://sku.internal/{id}")).body(String::new()).unwrap();
    give(&one, item("a"), good(&[("age", "20")])).await;
    give(&one, item("b"), good(&[("cache-control", "stale-if-error=600")])).await;
    give(&one, item("c"), good(&[("cache-control", "stale-if-error=30")])).await;
    let times: Vec<_> =
        store.keys().iter().map(|key| store.0.lock().unwrap().values[key].1.as_secs()).collect();
    assert_eq!(times, [40, 60, 30]);
}
