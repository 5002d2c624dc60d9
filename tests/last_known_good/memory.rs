//! The in-memory cache: eviction, and the bound in bytes.

use super::*;

async fn fill(both: &(Upstream, Layered), keys: std::ops::Range<usize>, length: usize) {
    for key in keys {
        let request = Request::get(format!("http://sku.internal/{key}")).body(String::new()).unwrap();
        give(both, request, with(200, &[], full(vec![b'x'; length]))).await;
    }
}

async fn stored(both: &(Upstream, Layered), keys: std::ops::Range<usize>) -> Vec<usize> {
    let mut stored = Vec::new();
    for key in keys {
        let request = Request::get(format!("http://sku.internal/{key}")).body(String::new()).unwrap();
        if stale(both, request).await.is_some() {
            stored.push(key);
        }
    }
    stored
}

#[tokio::test(start_paused = true)]
async fn a_full_cache_stores_all_new_keys() {
    // Known mistake 32.
    let cache = LastKnownGood::builder().max_bytes(1024 * 1024).build().unwrap();
    let both = service(&LastKnownGoodLayer::new(cache.clone()));
    fill(&both, 0..1000, 1024).await;
    let full = cache.len();
    fill(&both, 1000..1300, 1024).await;
    assert!(full < 1000, "it is full: {full}");
    assert_eq!(stored(&both, 1000..1300).await.len(), 300);
}

#[tokio::test(start_paused = true)]
async fn the_least_recently_used_entry_is_evicted_first() {
    let cache = LastKnownGood::builder().max_bytes(100 * 1024).build().unwrap();
    let both = service(&LastKnownGoodLayer::new(cache.clone()));
    fill(&both, 0..4, 20 * 1024).await;
    assert_eq!(stored(&both, 0..1).await, [0]);
    fill(&both, 4..5, 20 * 1024).await;
    assert_eq!(stored(&both, 0..5).await, [0, 2, 3, 4]);
}

#[tokio::test(start_paused = true)]
async fn the_cache_stays_within_its_bytes() {
    let cache = LastKnownGood::builder().max_bytes(64 * 1024).build().unwrap();
    let both = service(&LastKnownGoodLayer::new(cache.clone()));
    for (round, length) in [0, 100, 10_000, 60_000, 3_000].into_iter().enumerate() {
        for key in 0..50 {
            // Entries of old keys grow and shrink, and new keys are added.
            let start = key + round * 25;
            fill(&both, start..start + 1, length).await;
            assert!(cache.bytes() <= 64 * 1024, "{} bytes", cache.bytes());
        }
    }
    assert!(cache.bytes() >= 32 * 1024 && !cache.is_empty(), "{cache:?}");
}

#[tokio::test(start_paused = true)]
async fn an_answer_larger_than_the_cache_is_handed_on_and_not_stored() {
    let cache = LastKnownGood::builder().max_bytes(1024).build().unwrap();
    let both = service(&LastKnownGoodLayer::new(cache.clone()));
    fill(&both, 0..1, 10).await;
    fill(&both, 0..2, 4096).await;
    // A body that is too large leaves the older entry in place.
    assert_eq!(stored(&both, 0..2).await, [0]);
    assert!(cache.len() == 1 && cache.bytes() <= 1024);
}

#[tokio::test(start_paused = true)]
async fn a_removed_entry_is_not_counted() {
    let cache = LastKnownGood::default();
    let both = service(&LastKnownGoodLayer::new(cache.clone()));
    give(&both, get(), good(&[])).await;
    assert_eq!(cache.len(), 1);
    give(&both, get(), answer(404, &[], "")).await;
    assert_eq!((cache.len(), cache.bytes()), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn a_dropped_call_leaves_no_entry() {
    let cache = LastKnownGood::default();
    let service = LastKnownGoodLayer::new(cache.clone()).layer(tower::service_fn(|_: Request<String>| {
        std::future::pending::<Result<Response<Body>, Error<io::Error>>>()
    }));
    let mut call = tokio_test::task::spawn(service.oneshot(get()));
    assert!(call.poll().is_pending());
    drop(call);
    assert!(cache.is_empty());
}

#[tokio::test(start_paused = true)]
async fn the_newest_variants_stay_if_not_all_have_room() {
    let cache = LastKnownGood::builder().max_bytes(40 * 1024).build().unwrap();
    let both = service(&LastKnownGoodLayer::new(cache.clone()));
    let of = |tenant: &str| request("GET", &[("x-tenant", tenant)]);
    let tenants = ["a", "b", "c", "d", "e"];
    for tenant in tenants {
        give(&both, of(tenant), with(200, &[("vary", "x-tenant")], full(vec![b'x'; 10 * 1024]))).await;
        assert!(stale(&both, of(tenant)).await.is_some());
    }
    let mut stored = Vec::new();
    for tenant in tenants {
        stored.extend(stale(&both, of(tenant)).await.map(|_| tenant));
    }
    assert_eq!(stored, ["c", "d", "e"]);
    assert!(cache.bytes() <= 40 * 1024);
}
