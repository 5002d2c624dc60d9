//! The operations of the handle, and the settings of the rules.

use http::{HeaderName, Uri};
use steadfast::last_known_good::InsertError;

use super::*;

fn uri() -> Uri {
    URI.parse().unwrap()
}

fn pushed(headers: &[(&str, &str)], body: &'static str) -> Response<Bytes> {
    let head = headers.iter().fold(Response::builder(), |it, (name, value)| it.header(*name, *value));
    head.body(Bytes::from(body)).unwrap()
}

fn with_handle() -> (LastKnownGood, (Upstream, Layered)) {
    let cache = LastKnownGood::builder().max_entry_bytes(10).build().unwrap();
    let both = service(&LastKnownGoodLayer::new(cache.clone()));
    (cache, both)
}

// ===== Operations =====

#[tokio::test(start_paused = true)]
async fn an_inserted_entry_is_served() {
    let (cache, both) = with_handle();
    cache.insert(&uri(), pushed(&[("x-from", "event")], "pushed")).await.unwrap();
    advance(MINUTE).await;
    let response = ask(&both.1, get()).await.unwrap();
    assert_eq!(response.extensions().get::<Stale>().unwrap().age, MINUTE);
    assert_eq!(response.headers()["x-from"], "event");
    assert_eq!(read(response).await, "pushed");
    // A later answer of the upstream replaces the inserted entry.
    give(&both, get(), good(&[])).await;
    assert_eq!(stale(&both, get()).await.unwrap(), "good");
    cache.insert(&uri(), pushed(&[], "again")).await.unwrap();
    assert_eq!(stale(&both, get()).await.unwrap(), "again");
}

#[tokio::test(start_paused = true)]
async fn the_answer_to_an_earlier_call_does_not_replace_an_inserted_entry() {
    let (cache, both) = with_handle();
    let (sender, body) = streamed();
    both.0.will(with(200, &[], body));
    let response = ask(&both.1, get()).await.unwrap();
    cache.insert(&uri(), pushed(&[], "pushed")).await.unwrap();
    advance(SECOND).await;
    sender.send(Ok("before")).unwrap();
    drop(sender);
    assert_eq!(read(response).await, "before");
    assert_eq!(stale(&both, get()).await.unwrap(), "pushed");
}

#[tokio::test(start_paused = true)]
async fn a_response_that_may_not_be_stored_is_not_inserted() {
    let (cache, both) = with_handle();
    cache.insert(&uri(), pushed(&[], "stored")).await.unwrap();
    let insert =
        async |request: Request<String>, response| cache.insert(&request, response).await.unwrap_err();
    for headers in [[("cache-control", "no-store")], [("set-cookie", "a=b")], [("vary", "*")]] {
        assert_eq!(insert(get(), pushed(&headers, "")).await, InsertError::Response);
    }
    assert_eq!(insert(request("POST", &[]), pushed(&[], "")).await, InsertError::Request);
    assert_eq!(
        insert(request("GET", &[("range", "bytes=0-1")]), pushed(&[], "")).await,
        InsertError::Request
    );
    let too_large = InsertError::TooLarge { bytes: 11, allowed: 10 };
    assert_eq!(insert(get(), pushed(&[], "01234567890")).await, too_large);
    assert_eq!(too_large.to_string(), "not stored: the body has 11 bytes, more than the maximum of 10");
    assert_eq!(stale(&both, get()).await.unwrap(), "stored");
}

#[tokio::test(start_paused = true)]
async fn an_entry_inserted_for_one_caller_is_served_to_that_caller_alone() {
    let (cache, both) = with_handle();
    let alice = || request("GET", &[("authorization", "alice")]);
    cache.insert(&alice(), pushed(&[("cache-control", "private")], "alice's")).await.unwrap();
    assert!(stale(&both, get()).await.is_none());
    assert!(stale(&both, request("GET", &[("authorization", "bob")])).await.is_none());
    assert_eq!(stale(&both, alice()).await.unwrap(), "alice's");
}

#[tokio::test(start_paused = true)]
async fn invalidate_removes_the_entries_of_all_callers() {
    let (cache, both) = with_handle();
    let requests = || {
        ["alice", "bob"].map(|it| request("GET", &[("cookie", it)])).into_iter().chain([
            get(),
            request("HEAD", &[]),
            request("GET", &[("accept", "text/html")]),
        ])
    };
    for request in requests() {
        give(&both, request, good(&[("vary", "accept")])).await;
    }
    for request in requests() {
        assert!(stale(&both, request).await.is_some());
    }
    cache.invalidate(&uri()).await;
    for request in requests() {
        assert!(stale(&both, request).await.is_none());
    }
    assert!(cache.is_empty());
}

#[tokio::test(start_paused = true)]
async fn the_answer_to_a_call_under_way_is_not_stored_after_an_invalidation() {
    let (cache, both) = with_handle();
    let (sender, body) = streamed();
    both.0.will(with(200, &[], body));
    let response = ask(&both.1, get()).await.unwrap();
    cache.invalidate(&uri()).await;
    sender.send(Ok("old")).unwrap();
    drop(sender);
    assert_eq!(read(response).await, "old");
    assert!(stale(&both, get()).await.is_none());
}

#[tokio::test(start_paused = true)]
async fn entries_describes_each_entry() {
    let (cache, both) = with_handle();
    give(&both, request("GET", &[("authorization", "secret")]), answer(203, &[], "hers")).await;
    advance(MINUTE).await;
    give(&both, get(), good(&[("cache-control", "stale-if-error=90")])).await;
    advance(SECOND).await;
    let mut entries = cache.entries();
    entries.sort_by_key(|it| it.age);
    assert_eq!(entries.len(), 2);
    let (hers, all) = (&entries[1], &entries[0]);
    assert_eq!((all.method.as_str(), all.uri.as_str()), ("GET", "http://sku.internal:80/v1/items/42"));
    assert_eq!((all.age, all.left, all.bytes, all.has_credentials), (SECOND, 89 * SECOND, 4, false));
    assert_eq!((hers.status.as_u16(), hers.age, hers.has_credentials), (203, MINUTE + SECOND, true));
    assert!(!format!("{entries:?}").contains("secret"));
}

// ===== Settings =====

#[tokio::test(start_paused = true)]
async fn serves_stale_on_the_configured_causes() {
    let both = service(&layer_with(|it| it.serve_stale_on(|cause| cause == Cause::CircuitOpen)));
    give(&both, get(), good(&[])).await;
    both.0.will(answer(503, &[], "no"));
    let response = ask(&both.1, get()).await.unwrap();
    assert_eq!((response.status().as_u16(), response.extensions().get::<Stale>()), (503, None));
    both.0.will_fail(Error::new(ErrorKind::CircuitOpen { retry_after: None }));
    assert_eq!(stale(&both, get()).await.unwrap(), "good");
}

#[tokio::test(start_paused = true)]
async fn ignored_origin_prohibitions_exclude_set_cookie_and_vary_on_everything() {
    let ignoring = || service(&layer_with(|it| it.max_age(MINUTE).ignore_origin_prohibitions()));
    for value in ["no-store", "no-cache", "private", "max-age=1, must-revalidate", "stale-if-error=1"] {
        let both = ignoring();
        give(&both, get(), good(&[("cache-control", value)])).await;
        advance(ALMOST_A_MINUTE).await;
        assert!(stale(&both, get()).await.is_some(), "{value}");
        advance(SECOND).await;
        assert!(stale(&both, get()).await.is_none(), "{value}");
    }
    for headers in [("set-cookie", "a=b"), ("vary", "*")] {
        let both = ignoring();
        give(&both, get(), good(&[headers])).await;
        assert!(stale(&both, get()).await.is_none(), "{headers:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_header_can_be_declared_a_credential() {
    let tenant = HeaderName::from_static("x-tenant");
    let cache = LastKnownGood::builder().private_header(tenant).build().unwrap();
    let both = service(&LastKnownGoodLayer::new(cache.clone()));
    let of = |tenant| request("GET", &[("x-tenant", tenant)]);
    give(&both, of("a"), good(&[])).await;
    assert!(stale(&both, of("b")).await.is_none());
    assert!(stale(&both, get()).await.is_none());
    assert!(stale(&both, of("a")).await.is_some());
    assert!(cache.entries()[0].has_credentials);
}

#[tokio::test(start_paused = true)]
async fn cache_control_of_a_request_limits_the_accepted_entries() {
    for (cache_control, served) in [
        ("no-cache", false),
        ("max-age=30", true),
        ("max-age=29", false),
        ("max-stale=20", true),
        ("max-stale=19", false),
        ("stale-if-error=20", true),
        ("stale-if-error=19", false),
        ("no-cache, stale-if-error=20", true),
        ("min-fresh=1", false),
    ] {
        let both = service(&layer());
        give(&both, get(), good(&[("cache-control", "max-age=10")])).await;
        advance(30 * SECOND).await;
        let request = request("GET", &[("cache-control", cache_control)]);
        assert_eq!(stale(&both, request).await.is_some(), served, "{cache_control}");
    }
}
