//! Prefetching: a URI that was called once is fetched again from time to time.

use steadfast::HasCallOptions;
use steadfast::last_known_good::{PrefetchBuilder, PrefetchLayer, PrefetchService};
use tokio::time::{Instant, sleep};

use super::slow::Slow;
use super::*;

type Layered = PrefetchService<LastKnownGoodService<Slow>>;

/// A prefetching service with an interval of one minute, and a cache with a maximum age of ten minutes.
fn prefetched(configure: impl FnOnce(PrefetchBuilder) -> PrefetchBuilder) -> (Slow, Layered, PrefetchLayer) {
    let cache = LastKnownGood::builder().max_age(10 * MINUTE).build().unwrap();
    let prefetch = configure(PrefetchLayer::builder().every(MINUTE).seed(1)).build(&cache).unwrap();
    let upstream = Slow::default();
    let service = prefetch.layer(LastKnownGoodLayer::new(cache).layer(upstream.clone()));
    (upstream, service, prefetch)
}

fn of(key: usize) -> Request<String> {
    Request::get(format!("http://sku.internal/{key}")).body(String::new()).unwrap()
}

async fn call(service: &Layered, upstream: &Slow, request: Request<String>, answer: Response<Body>) {
    upstream.will(Duration::ZERO, answer);
    service.clone().oneshot(request).await.unwrap().into_body().collect().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_uri_called_once_is_prefetched_about_every_minute() {
    let (upstream, service, prefetch) = prefetched(|it| it);
    call(&service, &upstream, of(1), good(&[])).await;
    assert_eq!(prefetch.uris(), ["http://sku.internal:80/1"]);
    (0..20).for_each(|_| upstream.will(Duration::ZERO, answer(200, &[], "better")));
    sleep(10 * MINUTE).await;
    let called = upstream.called() - 1;
    assert!((9..=12).contains(&called), "{called} times");
    // The last prefetched answer is served stale, and is less than two minutes old.
    while upstream.called() < 21 {
        sleep(MINUTE).await;
    }
    let response = service.clone().oneshot(of(1)).await.unwrap();
    assert!(response.extensions().get::<Stale>().unwrap().age < 2 * MINUTE);
    assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), "better");
}

#[tokio::test(start_paused = true)]
async fn a_uri_that_callers_fetch_often_is_not_prefetched() {
    let (upstream, service, _prefetch) = prefetched(|it| it);
    for _ in 0..60 {
        call(&service, &upstream, of(1), good(&[])).await;
        sleep(10 * SECOND).await;
    }
    assert_eq!(upstream.called(), 60);
}

#[tokio::test(start_paused = true)]
async fn prefetching_backs_off_while_the_upstream_is_down() {
    let (upstream, service, prefetch) = prefetched(|it| it);
    call(&service, &upstream, of(1), good(&[])).await;
    sleep(60 * MINUTE).await;
    let called = upstream.called() - 1;
    assert!((5..=7).contains(&called), "{called} times in an hour");
    assert_eq!(prefetch.uris().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_304_is_a_success_for_a_conditional_prefetch() {
    let (upstream, service, _prefetch) = prefetched(|it| it);
    let first = request("GET", &[("if-none-match", "\"1\"")]);
    call(&service, &upstream, first, good(&[("etag", "\"1\"")])).await;
    (0..100).for_each(|_| upstream.will(Duration::ZERO, answer(304, &[("etag", "\"1\"")], "")));
    sleep(60 * MINUTE).await;
    let called = upstream.called() - 1;
    assert!((50..=72).contains(&called), "{called} times in an hour");
}

#[tokio::test(start_paused = true)]
async fn the_number_of_prefetched_uris_is_bounded() {
    let (upstream, service, prefetch) = prefetched(|it| it.max_uris(3));
    for key in 0..10 {
        call(&service, &upstream, of(key), good(&[])).await;
    }
    let mut uris = prefetch.uris();
    uris.sort_unstable();
    assert_eq!(uris, ["http://sku.internal:80/0", "http://sku.internal:80/1", "http://sku.internal:80/2"]);
}

#[tokio::test(start_paused = true)]
async fn only_a_cacheable_get_without_credentials_is_prefetched() {
    let (upstream, service, prefetch) = prefetched(|it| it);
    for request in [
        request("GET", &[("authorization", "secret")]),
        request("GET", &[("cache-control", "no-store")]),
        request("POST", &[]),
        request("OPTIONS", &[]),
    ] {
        call(&service, &upstream, request, good(&[])).await;
    }
    assert!(prefetch.uris().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_404_or_no_store_ends_the_prefetching_of_a_uri() {
    let (upstream, service, prefetch) = prefetched(|it| it);
    for last in [answer(404, &[], ""), answer(200, &[("cache-control", "no-store")], "")] {
        call(&service, &upstream, of(1), good(&[])).await;
        assert_eq!(prefetch.uris().len(), 1);
        upstream.will(Duration::ZERO, last);
        sleep(2 * MINUTE).await;
        assert!(prefetch.uris().is_empty());
        let called = upstream.called();
        sleep(10 * MINUTE).await;
        assert_eq!(upstream.called(), called);
    }
}

#[tokio::test(start_paused = true)]
async fn prefetching_ends_with_the_last_layer_and_service() {
    let (upstream, service, prefetch) = prefetched(|it| it);
    for key in 0..5 {
        call(&service, &upstream, of(key), good(&[])).await;
    }
    drop(prefetch);
    sleep(2 * MINUTE).await;
    let called = upstream.called();
    assert!(called > 5, "the service goes on by itself");
    drop(service);
    sleep(60 * MINUTE).await;
    assert_eq!(upstream.called(), called);
}

#[tokio::test(start_paused = true)]
async fn a_fetch_has_as_much_time_as_the_call_had() {
    let (upstream, service, _prefetch) = prefetched(|it| it);
    let mut first = of(1);
    first.extensions_mut().insert(CallOptions::new().deadline(Instant::now() + 3 * SECOND));
    call(&service, &upstream, first, good(&[])).await;
    upstream.will_never();
    while upstream.called() < 2 {
        sleep(SECOND).await;
    }
    let began = Instant::now();
    while upstream.under_way() > 0 {
        sleep(Duration::from_millis(100)).await;
    }
    assert!(began.elapsed() <= 3 * SECOND, "{:?}", began.elapsed());
}

#[test]
fn a_configuration_that_cannot_work_is_an_error() {
    let field = |it: PrefetchBuilder| it.build(&LastKnownGood::default()).unwrap_err().field();
    assert_eq!(field(PrefetchLayer::builder().every(Duration::ZERO)), "prefetch.every");
    assert_eq!(field(PrefetchLayer::builder().max_uris(0)), "prefetch.max_uris");
}

#[test]
fn prefetching_that_ended_with_a_runtime_starts_again_on_the_next() {
    let (upstream, service, prefetch) = prefetched(|it| it);
    let runtime = || {
        let mut builder = tokio::runtime::Builder::new_current_thread();
        builder.enable_all().start_paused(true).build().unwrap()
    };
    // The runtime ends before the first poll of the prefetch task.
    runtime().block_on(call(&service, &upstream, of(1), good(&[])));
    assert!(prefetch.uris().is_empty());
    runtime().block_on(async {
        call(&service, &upstream, of(1), good(&[])).await;
        upstream.will(Duration::ZERO, good(&[]));
        sleep(2 * MINUTE).await;
    });
    assert!(upstream.called() > 2);
}

#[tokio::test(start_paused = true)]
async fn a_deadline_that_no_clock_reaches_does_not_end_prefetching() {
    let (upstream, service, _prefetch) = prefetched(|it| it);
    let (mut far, mut step) = (Instant::now(), Duration::from_secs(1 << 62));
    while step >= Duration::from_millis(1500) {
        match far.checked_add(step) {
            Some(later) => far = later,
            None => step /= 2,
        }
    }
    let mut request = of(1);
    request.set_options(CallOptions::new().deadline(far));
    call(&service, &upstream, request, good(&[])).await;
    upstream.will(Duration::ZERO, good(&[]));
    sleep(2 * MINUTE).await;
    assert!(upstream.called() > 1);
}
