//! A store that fails, hangs or is late, behind the in-memory cache.

use steadfast::deadline::DeadlineLayer;
use tokio::time::{Instant, sleep};

use super::store::{Behaviour, MILLISECOND, TestStore, replicas};
use super::*;

#[tokio::test(start_paused = true)]
async fn a_store_that_fails_fails_no_call() {
    let store = TestStore::default();
    let cache = LastKnownGood::builder().store(store.clone()).build().unwrap();
    let both = service(&LastKnownGoodLayer::new(cache.clone()));
    store.will(Behaviour::Fail);
    give(&both, get(), good(&[])).await;
    assert_eq!(cache.store_failures(), 1);
    advance(MINUTE).await;
    assert_eq!(stale(&both, get()).await.unwrap(), "good");
    give(&both, request("DELETE", &[]), answer(204, &[], "")).await;
    assert!(ask(&both.1, get()).await.unwrap_err().inner().is_some());
    assert_eq!(cache.store_failures(), 10);
    cache.insert(&get(), Response::new("pushed".into())).await.unwrap();
    cache.invalidate(&get()).await;
}

#[tokio::test(start_paused = true)]
async fn a_store_that_missed_a_tombstone_brings_nothing_back() {
    let (store, [one, other]) = replicas(|it| it);
    give(&one, get(), good(&[])).await;
    advance(SECOND).await;
    store.will(Behaviour::Fail);
    give(&one, get(), answer(404, &[], "")).await;
    store.will(Behaviour::Work);
    assert!(stale(&one, get()).await.is_none(), "it is gone");
    advance(SECOND).await;
    give(&other, get(), answer(200, &[], "new")).await;
    assert_eq!(stale(&one, get()).await.unwrap(), "new");
}

#[tokio::test(start_paused = true)]
async fn an_invalidation_removes_no_newer_variant() {
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
    let (store, [one, other]) = replicas(|it| it.store_timeout(50 * MILLISECOND));
    give(&one, get(), good(&[])).await;
    store.will(Behaviour::Hang);
    for (both, request, case) in [
        (&one, request("DELETE", &[]), "an invalidation"),
        (&other, get(), "a read of an entry that is not in memory"),
    ] {
        both.0.will(answer(503, &[], ""));
        if request.method() == "DELETE" {
            both.0.0.lock().unwrap().clear();
            both.0.will(answer(204, &[], ""));
        }
        let began = Instant::now();
        ask(&both.1, request).await.unwrap();
        assert_eq!(began.elapsed(), 50 * MILLISECOND, "{case}");
    }
    // Each piece of a streamed body passes without a wait. Only the end of the body waits for the write to the store.
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
async fn a_body_read_to_its_stated_length_has_been_written_to_the_store() {
    let (store, [one, other]) = replicas(|it| it);
    store.will(Behaviour::Delay(50 * MILLISECOND));
    one.0.will(good(&[]));
    let mut body = ask(&one.1, get()).await.unwrap().into_body();
    assert_eq!(body.size_hint().exact(), Some(4));
    let began = Instant::now();
    assert_eq!(body.frame().await.unwrap().unwrap().into_data().unwrap(), "good");
    assert_eq!(began.elapsed(), 50 * MILLISECOND);
    assert!(body.is_end_stream());
    drop(body);
    store.will(Behaviour::Work);
    assert_eq!(stale(&other, get()).await.unwrap(), "good");
}

#[tokio::test(start_paused = true)]
async fn a_body_that_has_ended_is_not_polled_again() {
    let (store, [one, _]) = replicas(|it| it);
    store.will(Behaviour::Delay(50 * MILLISECOND));
    let frames = futures_util::stream::unfold(0, |n| async move {
        (n < 2).then(|| (Ok::<_, io::Error>(Frame::data(Bytes::from("x"))), n + 1))
    });
    give(&one, get(), with(200, &[], StreamBody::new(frames).boxed_unsync())).await;
    assert_eq!(stale(&one, get()).await.unwrap(), "xx");
}

#[tokio::test(start_paused = true)]
async fn a_response_without_a_body_is_stored_even_if_unread() {
    let (store, [one, other]) = replicas(|it| it);
    one.0.will(answer(204, &[], ""));
    let response = ask(&one.1, get()).await.unwrap();
    assert_eq!((response.status().as_u16(), store.counts().1), (204, 1));
    drop(response);
    assert!(stale(&other, get()).await.is_some());
}

/// A late write of an older answer, from any replica, does not bring back an entry that was invalidated since.
#[tokio::test(start_paused = true)]
async fn a_late_write_brings_nothing_back() {
    let (store, [one, other]) = replicas(|it| it);
    give(&one, get(), good(&[])).await;
    let before = store.0.lock().unwrap().values.clone();
    advance(MINUTE).await;
    give(&one, get(), answer(404, &[], "")).await;
    store.0.lock().unwrap().values.extend(before);
    for both in [&one, &other] {
        assert!(stale(both, get()).await.is_none());
    }
}

#[tokio::test(start_paused = true)]
async fn a_pending_tombstone_of_one_caller_survives_a_tombstone_of_another() {
    let of = |caller| request("GET", &[("authorization", caller)]);
    for revoking in [answer(403, &[], ""), answer(204, &[], "")] {
        let (store, [one, _]) = replicas(|it| it.digest_key([7; 32]));
        give(&one, of("alice"), good(&[])).await;
        advance(SECOND).await;
        store.will(Behaviour::Fail);
        let method = if revoking.status() == 204 { "DELETE" } else { "GET" };
        give(&one, request(method, &[("authorization", "alice")]), revoking).await;
        store.will(Behaviour::Work);
        advance(SECOND).await;
        give(&one, of("bob"), answer(404, &[], "")).await;
        give(&one, get(), answer(401, &[], "")).await;
        assert!(stale(&one, of("alice")).await.is_none(), "{method}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_entry_invalidated_after_its_look_up_is_not_served() {
    let store = TestStore::default();
    let cache =
        LastKnownGood::builder().store(store).store_timeout(SECOND).renew_after(SECOND).build().unwrap();
    let layer = LastKnownGoodLayer::new(cache.clone());
    give(&service(&layer), get(), good(&[])).await;
    advance(MINUTE).await;
    let hangs = tower::service_fn(|_: Request<String>| std::future::pending::<Answer>());
    let call = tokio::spawn(DeadlineLayer::new(3 * SECOND).layer(layer.layer(hangs)).oneshot(get()));
    sleep(2500 * MILLISECOND).await;
    cache.invalidate(&get()).await;
    assert!(call.await.unwrap().is_err());
}

#[tokio::test(start_paused = true)]
async fn writes_of_repeated_tombstones_are_throttled() {
    let (store, [one, _]) = replicas(|it| it);
    for _ in 0..11 {
        give(&one, get(), answer(404, &[], "")).await;
        advance(SECOND).await;
    }
    // Two rounds of three writes: the tombstone, and the keys of GET and HEAD.
    assert_eq!(store.counts().1, 6);
    // After a new entry, the next tombstone is written at once.
    give(&one, get(), good(&[])).await;
    give(&one, get(), answer(404, &[], "")).await;
    assert_eq!(store.counts().1, 10);
}

/// Calls an upstream that hangs, with a deadline of one second, while the store holds an entry. Returns the elapsed
/// time and the body of the stale response.
async fn total(behaviour: Behaviour) -> (Duration, Option<Bytes>) {
    let (store, [one, _]) = replicas(|it| it);
    give(&one, get(), good(&[])).await;
    store.will(behaviour);
    let hangs = tower::service_fn(|_: Request<String>| std::future::pending::<Answer>());
    let service = DeadlineLayer::new(SECOND).layer(layer_with(|it| it.store(store)).layer(hangs));
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
    assert_eq!(total(Behaviour::Work).await, (SECOND, Some("good".into())));
    // The store is read early enough to answer before the deadline.
    assert_eq!(total(Behaviour::Delay(80 * MILLISECOND)).await, (SECOND, Some("good".into())));
    assert_eq!(total(Behaviour::Hang).await, (SECOND, None));
    assert_eq!(total(Behaviour::Fail).await, (SECOND, None));
}

#[tokio::test(start_paused = true)]
async fn the_end_of_a_body_is_not_waited_for_beyond_the_total_time() {
    let store = TestStore::default();
    store.will(Behaviour::Hang);
    let upstream = tower::service_fn(|_: Request<String>| async {
        sleep(980 * MILLISECOND).await;
        Ok::<_, Error<io::Error>>(good(&[]))
    });
    let service = DeadlineLayer::new(SECOND).layer(layer_with(|it| it.store(store)).layer(upstream));
    let began = Instant::now();
    let response = service.oneshot(get()).await.unwrap();
    assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), "good");
    assert_eq!(began.elapsed(), SECOND);
}

#[tokio::test(start_paused = true)]
async fn a_call_that_is_dropped_while_the_store_is_read_leaves_the_store_usable() {
    let (store, [one, other]) = replicas(|it| it);
    give(&one, get(), good(&[])).await;
    store.will(Behaviour::Hang);
    let mut call = tokio_test::task::spawn(other.1.clone().oneshot(get()));
    assert!(call.poll().is_pending());
    drop(call);
    store.will(Behaviour::Work);
    assert_eq!(stale(&other, get()).await.unwrap(), "good");
}
