//! The store behind the memory.

use std::collections::HashMap;

use steadfast::last_known_good::Store;
use steadfast::timeout::TimeoutLayer;
use tokio::time::{Instant, sleep};

use super::*;

const MILLISECOND: Duration = Duration::from_millis(1);

/// A store that can be looked into, and that can fail.
#[derive(Debug, Clone, Default)]
struct Shelf(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    values: HashMap<String, (Bytes, Duration)>,
    gets: usize,
    puts: usize,
    does: Does,
}

#[derive(Debug, Clone, Copy, Default, PartialEq)]
enum Does {
    #[default]
    Work,
    Fail,
    Hang,
    Take(Duration),
}

impl Shelf {
    fn will(&self, does: Does) {
        self.0.lock().unwrap().does = does;
    }

    /// How often it was asked, and told.
    fn counts(&self) -> (usize, usize) {
        let state = self.0.lock().unwrap();
        (state.gets, state.puts)
    }

    fn keys(&self) -> Vec<String> {
        let mut keys: Vec<_> = self.0.lock().unwrap().values.keys().cloned().collect();
        keys.sort_unstable();
        keys
    }

    async fn work(&self) -> Result<(), BoxError> {
        let does = self.0.lock().unwrap().does;
        match does {
            Does::Work => Ok(()),
            Does::Fail => Err("out of order".into()),
            Does::Hang => std::future::pending().await,
            Does::Take(time) => {
                sleep(time).await;
                Ok(())
            }
        }
    }
}

impl Store for Shelf {
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
fn replicas(configure: impl Fn(FallbackBuilder) -> FallbackBuilder) -> (Shelf, [(Upstream, Layered); 2]) {
    let shelf = Shelf::default();
    let replica = || service(&layer_with(|it| configure(it.store(shelf.clone()))));
    (shelf.clone(), [replica(), replica()])
}

// ===== What is shared =====

#[tokio::test(start_paused = true)]
async fn what_one_has_kept_another_serves() {
    let (_, [one, other]) = replicas(|it| it);
    give(&one, get(), good(&[("etag", "\"1\""), ("cache-control", "max-age=5")])).await;
    advance(MINUTE).await;
    let response = ask(&other.1, get()).await.unwrap();
    // Each has looked at the system's clock once, at its beginning.
    let age = response.extensions().get::<Stale>().unwrap().age;
    assert_eq!((age + MILLISECOND).as_secs(), 60);
    assert_eq!(response.headers()["etag"], "\"1\"");
    assert_eq!(response.headers()["cache-status"], "steadfast; fwd=stale; ttl=-55; detail=transport");
    assert_eq!(read(response).await, "good");
}

#[tokio::test(start_paused = true)]
async fn the_newest_of_all_is_served() {
    let (_, [one, other]) = replicas(|it| it);
    give(&one, get(), good(&[])).await;
    advance(MINUTE).await;
    give(&other, get(), answer(200, &[], "better")).await;
    advance(MINUTE).await;
    assert_eq!(stale(&one, get()).await.unwrap(), "better");
    assert_eq!(stale(&other, get()).await.unwrap(), "better");
}

#[tokio::test(start_paused = true)]
async fn each_keeps_the_variants_that_the_other_knows() {
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
async fn what_is_gone_is_gone_for_all() {
    for last in [answer(404, &[], ""), answer(200, &[("cache-control", "no-store")], "")] {
        let (_, [one, other]) = replicas(|it| it);
        give(&one, get(), good(&[])).await;
        give(&other, get(), good(&[])).await;
        advance(MINUTE).await;
        give(&other, get(), last).await;
        assert!(stale(&one, get()).await.is_none());
        assert!(stale(&other, get()).await.is_none());
        // What comes after is good again.
        advance(SECOND).await;
        give(&other, get(), answer(200, &[], "new")).await;
        assert_eq!(stale(&one, get()).await.unwrap(), "new");
    }
}

#[tokio::test(start_paused = true)]
async fn what_has_changed_has_changed_for_all() {
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
async fn what_is_somebodys_is_shared_only_under_a_key_that_is() {
    let alice = || request("GET", &[("authorization", "alice")]);
    let (shelf, [one, other]) = replicas(|it| it);
    give(&one, alice(), good(&[])).await;
    assert!(shelf.keys().is_empty(), "nobody could find it");
    assert!(stale(&other, alice()).await.is_none());
    assert!(stale(&one, alice()).await.is_some());

    let (shelf, [one, other]) = replicas(|it| it.digest_key([7; 32]));
    give(&one, alice(), good(&[])).await;
    assert_eq!(shelf.keys().len(), 1);
    assert!(stale(&other, request("GET", &[("authorization", "bob")])).await.is_none());
    assert!(stale(&other, get()).await.is_none());
    assert_eq!(stale(&other, alice()).await.unwrap(), "good");
}

#[tokio::test(start_paused = true)]
async fn what_comes_from_a_clock_far_ahead_is_not_served() {
    let shelf = Shelf::default();
    let replica = || service(&layer_with(|it| it.store(shelf.clone())));
    let one = replica();
    advance(2 * MINUTE).await;
    let other = replica(); // Its clock is the system's, and has not moved on.
    give(&one, get(), good(&[])).await;
    assert!(stale(&other, get()).await.is_none());
}

#[tokio::test(start_paused = true)]
async fn a_value_that_is_not_what_was_put_is_nothing() {
    let (shelf, [one, other]) = replicas(|it| it);
    let item = |id| Request::get(format!("http://sku.internal/{id}")).body(String::new()).unwrap();
    give(&one, item("a"), answer(200, &[], "a")).await;
    give(&one, item("b"), answer(200, &[], "b")).await;
    let [a, b] = shelf.keys().try_into().unwrap();
    let (value_of_a, keep_for) = shelf.0.lock().unwrap().values[&a].clone();
    let mut garbled = value_of_a.to_vec();
    *garbled.last_mut().unwrap() ^= 1;
    for value in [Bytes::new(), Bytes::from_static(b"{}"), garbled.into(), value_of_a.slice(1..)] {
        shelf.0.lock().unwrap().values.insert(a.clone(), (value, keep_for));
        assert!(stale(&other, item("a")).await.is_none());
    }
    shelf.0.lock().unwrap().values.insert(b, (value_of_a, keep_for));
    assert!(stale(&other, item("b")).await.is_none(), "it is the other one's");
}

// ===== How often =====

#[tokio::test(start_paused = true)]
async fn the_store_is_told_once_in_a_while_whatever_comes() {
    let (shelf, [one, _]) = replicas(|it| it);
    for second in 0..21 {
        let body = if second % 2 == 0 { "good" } else { "better" };
        give(&one, get(), answer(200, &[], body)).await;
        advance(SECOND).await;
    }
    assert_eq!(shelf.counts(), (0, 3));
    // In memory there is always the last one.
    assert_eq!(stale(&one, get()).await.unwrap(), "good");
}

#[tokio::test(start_paused = true)]
async fn the_store_is_asked_once_in_a_while_for_what_is_in_memory() {
    let (shelf, [one, _]) = replicas(|it| it);
    give(&one, get(), good(&[])).await;
    for _ in 0..21 {
        stale(&one, get()).await.unwrap();
        advance(SECOND).await;
    }
    // Twice, each time for the response, and for whether it is gone for all or for the caller.
    assert_eq!(shelf.counts(), (6, 1));
}

#[tokio::test(start_paused = true)]
async fn a_store_keeps_nothing_for_longer_than_the_maximum_age() {
    let (shelf, [one, _]) = replicas(|it| it.max_age(MINUTE));
    let item = |id| Request::get(format!("http://sku.internal/{id}")).body(String::new()).unwrap();
    give(&one, item("a"), good(&[("age", "20")])).await;
    give(&one, item("b"), good(&[("cache-control", "stale-if-error=600")])).await;
    give(&one, item("c"), good(&[("cache-control", "stale-if-error=30")])).await;
    let times: Vec<_> =
        shelf.keys().iter().map(|key| shelf.0.lock().unwrap().values[key].1.as_secs()).collect();
    assert_eq!(times, [40, 60, 30]);
}

// ===== When it fails =====

#[tokio::test(start_paused = true)]
async fn a_store_that_fails_fails_no_call() {
    let shelf = Shelf::default();
    let fallback = Fallback::builder().store(shelf.clone()).build().unwrap();
    let both = service(&LastKnownGoodLayer::new(fallback.clone()));
    shelf.will(Does::Fail);
    give(&both, get(), good(&[])).await;
    assert_eq!(fallback.store_failures(), 1);
    advance(MINUTE).await;
    assert_eq!(stale(&both, get()).await.unwrap(), "good");
    give(&both, request("DELETE", &[]), answer(204, &[], "")).await;
    assert!(ask(&both.1, get()).await.unwrap_err().upstream().is_some());
    assert_eq!(fallback.store_failures(), 10);
    fallback.insert(&get(), Response::new("pushed".into())).await.unwrap();
    fallback.invalidate(&get()).await;
}

#[tokio::test(start_paused = true)]
async fn a_store_that_could_not_be_told_brings_back_nothing() {
    let (shelf, [one, other]) = replicas(|it| it);
    give(&one, get(), good(&[])).await;
    advance(SECOND).await;
    shelf.will(Does::Fail);
    give(&one, get(), answer(404, &[], "")).await;
    shelf.will(Does::Work);
    assert!(stale(&one, get()).await.is_none(), "it is gone");
    advance(SECOND).await;
    give(&other, get(), answer(200, &[], "new")).await;
    assert_eq!(stale(&one, get()).await.unwrap(), "new");
}

#[tokio::test(start_paused = true)]
async fn what_is_gone_takes_no_variant_along_that_is_newer() {
    let (_, [one, other]) = replicas(|it| it);
    let of = |language| request("GET", &[("accept-language", language)]);
    let vary = [("vary", "accept-language")];
    give(&one, of("de"), answer(200, &vary, "gut")).await;
    give(&one, of("en"), good(&vary)).await;
    advance(MINUTE).await;
    give(&other, request("DELETE", &[]), answer(204, &[], "")).await;
    advance(SECOND).await;
    give(&one, of("en"), answer(200, &vary, "better")).await;
    assert_eq!(stale(&one, of("en")).await.unwrap(), "better");
    assert!(stale(&one, of("de")).await.is_none());
}

#[tokio::test(start_paused = true)]
async fn a_store_that_hangs_is_waited_for_no_longer_than_its_bound() {
    let (shelf, [one, other]) = replicas(|it| it.store_timeout(50 * MILLISECOND));
    give(&one, get(), good(&[])).await;
    shelf.will(Does::Hang);
    for (both, request, what) in [
        (&one, request("DELETE", &[]), "told that something has changed"),
        (&other, get(), "asked for what is not in memory"),
    ] {
        both.0.will(answer(503, &[], ""));
        if request.method() == "DELETE" {
            both.0.0.lock().unwrap().clear();
            both.0.will(answer(204, &[], ""));
        }
        let began = Instant::now();
        ask(&both.1, request).await.unwrap();
        assert_eq!(began.elapsed(), 50 * MILLISECOND, "{what}");
    }
    // Of a body that streams, every piece passes without a wait; it ends when the store was given its chance.
    let (sender, body) = streamed();
    one.0.will(with(200, &[], body));
    let began = Instant::now();
    let mut body = ask(&one.1, get()).await.unwrap().into_body();
    sender.send(Ok("whole")).unwrap();
    drop(sender);
    assert_eq!(body.frame().await.unwrap().unwrap().into_data().unwrap(), "whole");
    assert_eq!(began.elapsed(), Duration::ZERO);
    assert!(!body.is_end_stream());
    assert!(body.frame().await.is_none());
    assert_eq!(began.elapsed(), 50 * MILLISECOND);
    assert!(body.is_end_stream() && body.frame().await.is_none());
    assert_eq!(stale(&one, get()).await.unwrap(), "whole");
}

#[tokio::test(start_paused = true)]
async fn who_reads_no_further_than_the_stated_length_has_had_the_store_told() {
    let (shelf, [one, other]) = replicas(|it| it);
    shelf.will(Does::Take(50 * MILLISECOND));
    one.0.will(good(&[]));
    let mut body = ask(&one.1, get()).await.unwrap().into_body();
    assert_eq!(body.size_hint().exact(), Some(4));
    let began = Instant::now();
    assert_eq!(body.frame().await.unwrap().unwrap().into_data().unwrap(), "good");
    assert_eq!(began.elapsed(), 50 * MILLISECOND);
    assert!(body.is_end_stream());
    drop(body);
    shelf.will(Does::Work);
    assert_eq!(stale(&other, get()).await.unwrap(), "good");
}

#[tokio::test(start_paused = true)]
async fn a_body_that_has_ended_is_not_asked_again() {
    let (shelf, [one, _]) = replicas(|it| it);
    shelf.will(Does::Take(50 * MILLISECOND));
    let frames = futures_util::stream::unfold(0, |n| async move {
        (n < 2).then(|| (Ok::<_, io::Error>(Frame::data(Bytes::from("x"))), n + 1))
    });
    give(&one, get(), with(200, &[], StreamBody::new(frames).boxed_unsync())).await;
    assert_eq!(stale(&one, get()).await.unwrap(), "xx");
}

#[tokio::test(start_paused = true)]
async fn a_response_without_a_body_is_kept_whether_or_not_that_is_read() {
    let (shelf, [one, other]) = replicas(|it| it);
    one.0.will(answer(204, &[], ""));
    let response = ask(&one.1, get()).await.unwrap();
    assert_eq!((response.status().as_u16(), shelf.counts().1), (204, 1));
    drop(response);
    assert!(stale(&other, get()).await.is_some());
}

/// A put of an older answer that comes late, from wherever, does not bring back what was taken back since.
#[tokio::test(start_paused = true)]
async fn what_is_told_late_brings_nothing_back() {
    let (shelf, [one, other]) = replicas(|it| it);
    give(&one, get(), good(&[])).await;
    let before = shelf.0.lock().unwrap().values.clone();
    advance(MINUTE).await;
    give(&one, get(), answer(404, &[], "")).await;
    shelf.0.lock().unwrap().values.extend(before);
    for both in [&one, &other] {
        assert!(stale(both, get()).await.is_none());
    }
}

#[tokio::test(start_paused = true)]
async fn what_could_not_be_told_of_one_is_not_forgotten_for_another() {
    let of = |who| request("GET", &[("authorization", who)]);
    for one_is_forgotten in [answer(403, &[], ""), answer(204, &[], "")] {
        let (shelf, [one, _]) = replicas(|it| it.digest_key([7; 32]));
        give(&one, of("alice"), good(&[])).await;
        advance(SECOND).await;
        shelf.will(Does::Fail);
        let method = if one_is_forgotten.status() == 204 { "DELETE" } else { "GET" };
        give(&one, request(method, &[("authorization", "alice")]), one_is_forgotten).await;
        shelf.will(Does::Work);
        advance(SECOND).await;
        give(&one, of("bob"), answer(404, &[], "")).await;
        give(&one, get(), answer(401, &[], "")).await;
        assert!(stale(&one, of("alice")).await.is_none(), "{method}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_forgotten_after_it_was_looked_for_is_not_served() {
    let shelf = Shelf::default();
    let fallback =
        Fallback::builder().store(shelf).store_timeout(SECOND).renew_after(SECOND).build().unwrap();
    let layer = LastKnownGoodLayer::new(fallback.clone());
    give(&service(&layer), get(), good(&[])).await;
    advance(MINUTE).await;
    let hangs = tower::service_fn(|_: Request<String>| std::future::pending::<Answer>());
    let call = tokio::spawn(layer.layer(TimeoutLayer::total(3 * SECOND).layer(hangs)).oneshot(get()));
    sleep(2500 * MILLISECOND).await;
    fallback.invalidate(&get()).await;
    assert!(call.await.unwrap().is_err());
}

#[tokio::test(start_paused = true)]
async fn that_there_is_nothing_is_told_once_in_a_while() {
    let (shelf, [one, _]) = replicas(|it| it);
    for _ in 0..11 {
        give(&one, get(), answer(404, &[], "")).await;
        advance(SECOND).await;
    }
    // The note, and the names of both methods, twice.
    assert_eq!(shelf.counts().1, 6);
    // Unless there was something since.
    give(&one, get(), good(&[])).await;
    give(&one, get(), answer(404, &[], "")).await;
    assert_eq!(shelf.counts().1, 10);
}

/// Calls through a total timeout of a second, to an upstream that hangs, while the store has something.
async fn total(does: Does) -> (Duration, Option<Bytes>) {
    let (shelf, [one, _]) = replicas(|it| it);
    give(&one, get(), good(&[])).await;
    shelf.will(does);
    let hangs = tower::service_fn(|_: Request<String>| std::future::pending::<Answer>());
    let service = layer_with(|it| it.store(shelf)).layer(TimeoutLayer::total(SECOND).layer(hangs));
    let began = Instant::now();
    let response = service.oneshot(get()).await;
    let elapsed = began.elapsed();
    let body = match response {
        Ok(response) => Some(response.into_body().collect().await.unwrap().to_bytes()),
        Err(error) => {
            assert!(error.is_timeout());
            None
        }
    };
    (elapsed, body)
}

#[tokio::test(start_paused = true)]
async fn the_wait_for_a_store_counts_within_the_total_time_of_the_call() {
    assert_eq!(total(Does::Work).await, (SECOND, Some("good".into())));
    // It is asked before it is too late for it.
    assert_eq!(total(Does::Take(80 * MILLISECOND)).await, (SECOND, Some("good".into())));
    assert_eq!(total(Does::Hang).await, (SECOND, None));
    assert_eq!(total(Does::Fail).await, (SECOND, None));
}

#[tokio::test(start_paused = true)]
async fn the_end_of_a_body_is_not_waited_for_beyond_the_total_time() {
    let shelf = Shelf::default();
    shelf.will(Does::Hang);
    let upstream = tower::service_fn(|_: Request<String>| async {
        sleep(980 * MILLISECOND).await;
        Ok::<_, Error<io::Error>>(good(&[]))
    });
    let service = layer_with(|it| it.store(shelf)).layer(TimeoutLayer::total(SECOND).layer(upstream));
    let began = Instant::now();
    let response = service.oneshot(get()).await.unwrap();
    assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), "good");
    assert_eq!(began.elapsed(), SECOND);
}

#[tokio::test(start_paused = true)]
async fn a_call_that_is_dropped_while_the_store_is_asked_leaves_it_usable() {
    let (shelf, [one, other]) = replicas(|it| it);
    give(&one, get(), good(&[])).await;
    shelf.will(Does::Hang);
    let mut call = tokio_test::task::spawn(other.1.clone().oneshot(get()));
    assert!(call.poll().is_pending());
    drop(call);
    shelf.will(Does::Work);
    assert_eq!(stale(&other, get()).await.unwrap(), "good");
}
