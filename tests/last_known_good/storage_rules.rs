//! The rules for storing an answer, for the age of an entry, and for removing an entry.

use super::*;

// ===== storing =====

#[tokio::test(start_paused = true)]
async fn a_503_is_never_stored() {
    // Known mistake 30.
    let both = service(&layer());
    give(&both, get(), answer(503, &[("cache-control", "max-age=60")], "no")).await;
    assert!(stale(&both, get()).await.is_none());
}

#[tokio::test(start_paused = true)]
async fn only_successful_responses_are_stored() {
    for status in [206, 301, 302, 304, 400, 403, 404, 429, 500, 503] {
        let both = service(&layer());
        give(&both, get(), answer(status, &[], "")).await;
        assert!(stale(&both, get()).await.is_none(), "{status}");
    }
    for status in [200, 201, 203, 204] {
        let both = service(&layer());
        give(&both, get(), answer(status, &[], "")).await;
        assert!(stale(&both, get()).await.is_some(), "{status}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_response_that_the_origin_forbids_to_store_is_not_stored() {
    for headers in [
        ("cache-control", "no-store"),
        ("cache-control", "max-age=60, No-Store"),
        ("cache-control", "private"),
        ("cache-control", "no-cache"),
        ("set-cookie", "session=1"),
        ("vary", "*"),
        ("vary", "accept, *"),
    ] {
        let both = service(&layer());
        give(&both, get(), good(&[headers])).await;
        assert!(stale(&both, get()).await.is_none(), "{headers:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn no_store_on_a_request_keeps_its_answer_out_of_the_cache() {
    let both = service(&layer());
    let no_store = || request("GET", &[("cache-control", "no-store")]);
    give(&both, no_store(), good(&[])).await;
    assert!(stale(&both, get()).await.is_none());
    give(&both, get(), good(&[])).await;
    assert_eq!(stale(&both, no_store()).await.unwrap(), "good");
}

#[tokio::test(start_paused = true)]
async fn get_and_head_have_separate_entries_and_other_methods_have_none() {
    for method in ["GET", "HEAD", "POST", "PUT", "OPTIONS"] {
        let both = service(&layer());
        give(&both, request(method, &[]), good(&[])).await;
        for other in ["GET", "HEAD", "POST", "PUT", "OPTIONS"] {
            let stored = method == other && ["GET", "HEAD"].contains(&method);
            assert_eq!(stale(&both, request(other, &[])).await.is_some(), stored, "{method} {other}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn each_uri_has_an_entry_of_its_own() {
    let both = service(&layer());
    give(&both, get(), good(&[])).await;
    for uri in [
        "http://sku.internal/v1/items/43",
        "http://sku.internal/v1/items/42?x",
        "http://sku.internal:81/v1/items/42",
    ] {
        let other = Request::get(uri).body(String::new()).unwrap();
        assert!(stale(&both, other).await.is_none(), "{uri}");
    }
    let same = Request::get("HTTP://SKU.internal:80/v1/items/42").body(String::new()).unwrap();
    assert_eq!(stale(&both, same).await.unwrap(), "good");
}

// ===== age =====

#[tokio::test(start_paused = true)]
async fn an_entry_is_served_until_it_is_too_old() {
    let both = service(&layer_with(|it| it.max_age(MINUTE)));
    give(&both, get(), good(&[])).await;
    advance(ALMOST_A_MINUTE).await;
    assert_eq!(stale(&both, get()).await.unwrap(), "good");
    advance(SECOND).await;
    assert!(stale(&both, get()).await.is_none());
}

#[tokio::test(start_paused = true)]
async fn the_age_that_an_answer_came_with_counts() {
    let both = service(&layer_with(|it| it.max_age(MINUTE)));
    give(&both, get(), good(&[("age", "59")])).await;
    assert!(stale(&both, get()).await.is_some());
    advance(SECOND).await;
    assert!(stale(&both, get()).await.is_none());
}

#[tokio::test(start_paused = true)]
async fn the_entry_is_still_there_after_failed_refreshes() {
    // Known mistake 31.
    let both = service(&layer_with(|it| it.max_age(MINUTE)));
    give(&both, get(), good(&[("cache-control", "max-age=1")])).await;
    advance(2 * SECOND).await;
    for _ in 0..5 {
        assert_eq!(stale(&both, get()).await.unwrap(), "good");
        both.0.will(answer(503, &[], ""));
        assert_eq!(stale(&both, get()).await.unwrap(), "good");
    }
}

#[tokio::test(start_paused = true)]
async fn an_entry_is_as_old_as_its_last_good_answer() {
    let both = service(&layer_with(|it| it.max_age(MINUTE)));
    for _ in 0..3 {
        give(&both, get(), good(&[])).await;
        advance(ALMOST_A_MINUTE).await;
        let response = ask(&both.1, get()).await.unwrap();
        assert_eq!(response.extensions().get::<Stale>().unwrap().age, ALMOST_A_MINUTE);
    }
}

#[tokio::test(start_paused = true)]
async fn must_revalidate_forbids_a_stale_response_where_a_plain_answer_allows_it() {
    // Known mistake 33.
    for (cache_control, served) in [
        ("max-age=60", true),
        ("max-age=60, must-revalidate", false),
        ("max-age=60, proxy-revalidate", false),
        ("s-maxage=60", false),
        ("max-age=60, must-revalidate, stale-if-error=600", false),
    ] {
        let both = service(&layer());
        give(&both, get(), good(&[("cache-control", cache_control)])).await;
        advance(ALMOST_A_MINUTE).await;
        assert!(stale(&both, get()).await.is_some(), "{cache_control}: it is fresh");
        advance(SECOND).await;
        assert_eq!(stale(&both, get()).await.is_some(), served, "{cache_control}");
    }
}

#[tokio::test(start_paused = true)]
async fn stale_if_error_limits_the_age_of_a_stale_response() {
    for (cache_control, seconds) in [
        ("max-age=60, stale-if-error=30", 90),
        ("stale-if-error=120", 120),
        ("max-age=5, stale-if-error=86400", 86405),
    ] {
        let both = service(&layer_with(|it| it.max_age(MINUTE)));
        give(&both, get(), good(&[("cache-control", cache_control)])).await;
        advance((seconds - 1) * SECOND).await;
        assert!(stale(&both, get()).await.is_some(), "{cache_control}");
        advance(SECOND).await;
        assert!(stale(&both, get()).await.is_none(), "{cache_control}");
    }
}

// ===== removing an entry =====

#[tokio::test(start_paused = true)]
async fn a_404_or_410_is_handed_on_and_removes_the_entry() {
    for (status, method) in [(404, "GET"), (410, "GET"), (404, "HEAD")] {
        let both = service(&layer());
        give(&both, get(), good(&[])).await;
        both.0.will(answer(status, &[], "gone"));
        let response = ask(&both.1, request(method, &[])).await.unwrap();
        assert_eq!(response.status(), status);
        assert!(response.extensions().get::<Stale>().is_none());
        assert_eq!(read(response).await, "gone");
        assert!(stale(&both, get()).await.is_none(), "{status} {method}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_successful_unsafe_method_removes_the_entry_and_a_failed_one_does_not() {
    for (method, status, removed) in [
        ("POST", 201, true),
        ("PUT", 204, true),
        ("PATCH", 200, true),
        ("DELETE", 200, true),
        ("POST", 303, true),
        ("UNKNOWN", 200, true),
        ("PUT", 409, false),
        ("DELETE", 500, false),
        ("POST", 503, false),
        ("OPTIONS", 200, false),
    ] {
        let both = service(&layer());
        give(&both, get(), good(&[])).await;
        give(&both, request("HEAD", &[]), answer(200, &[], "")).await;
        give(&both, request(method, &[]), answer(status, &[], "")).await;
        assert_eq!(stale(&both, get()).await.is_none(), removed, "{method} {status}");
        assert_eq!(stale(&both, request("HEAD", &[])).await.is_none(), removed, "{method} {status}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_unsafe_method_that_did_not_reach_the_upstream_removes_nothing() {
    let both = service(&layer());
    give(&both, get(), good(&[])).await;
    assert!(ask(&both.1, request("DELETE", &[])).await.is_err());
    assert_eq!(stale(&both, get()).await.unwrap(), "good");
}

#[tokio::test(start_paused = true)]
async fn a_newer_answer_that_may_not_be_stored_removes_the_older_entry() {
    for headers in [("cache-control", "no-store"), ("set-cookie", "session=1"), ("vary", "*")] {
        let both = service(&layer());
        give(&both, get(), good(&[])).await;
        give(&both, get(), answer(200, &[headers], "newer")).await;
        assert!(stale(&both, get()).await.is_none(), "{headers:?}");
    }
}
