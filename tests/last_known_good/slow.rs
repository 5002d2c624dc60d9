//! A slow upstream and the soft limit, `serve_stale_after`.

use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};

use steadfast::deadline::DeadlineLayer;
use tokio::task::yield_now;
use tokio::time::{Instant, sleep};

use super::*;

type Call = Pin<Box<dyn Future<Output = Answer> + Send>>;
type Layered = LastKnownGoodService<Slow>;

/// An upstream whose scripted answers come after a given time, or never.
#[derive(Debug, Clone, Default)]
pub(super) struct Slow(Arc<Mutex<VecDeque<Delayed>>>, Arc<Counts>);

type Delayed = (Option<Duration>, Answer);

#[derive(Debug, Default)]
struct Counts {
    called: AtomicUsize,
    under_way: AtomicUsize,
}

/// Counts a call as under way until dropped.
struct UnderWay(Arc<Counts>);

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.under_way.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Slow {
    pub(super) fn will(&self, after: Duration, answer: Response<Body>) {
        self.0.lock().unwrap().push_back((Some(after), Ok(answer)));
    }

    pub(super) fn will_never(&self) {
        self.0.lock().unwrap().push_back((None, refused()));
    }

    pub(super) fn called(&self) -> usize {
        self.1.called.load(Ordering::Relaxed)
    }

    pub(super) fn under_way(&self) -> usize {
        self.1.under_way.load(Ordering::Relaxed)
    }
}

impl Service<Request<String>> for Slow {
    type Response = Response<Body>;
    type Error = Error<io::Error>;
    type Future = Call;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _request: Request<String>) -> Call {
        let (after, answer) = self.0.lock().unwrap().pop_front().unwrap_or((Some(Duration::ZERO), refused()));
        self.1.called.fetch_add(1, Ordering::Relaxed);
        self.1.under_way.fetch_add(1, Ordering::Relaxed);
        let under_way = UnderWay(Arc::clone(&self.1));
        Box::pin(async move {
            let _under_way = under_way;
            match after {
                Some(after) => sleep(after).await,
                None => std::future::pending().await,
            }
            answer
        })
    }
}

/// A layer with a soft limit of one second.
fn impatient() -> LastKnownGoodLayer {
    layer_with(|it| it.serve_stale_after(SECOND))
}

fn slow(layer: &LastKnownGoodLayer) -> (Slow, Layered) {
    let upstream = Slow::default();
    (upstream.clone(), layer.layer(upstream))
}

/// The body of the answer, and the cause if the answer is stale. `None` if the call fails.
async fn body_and_cause<S, B>(service: &S, request: Request<String>) -> Option<(Bytes, Option<Cause>)>
where
    S: Service<Request<String>, Response = Response<B>, Error = Error<io::Error>> + Clone,
    B: http_body::Body<Data = Bytes, Error = BoxError>,
{
    let response = service.clone().oneshot(request).await.ok()?;
    let cause = response.extensions().get::<Stale>().map(|stale| stale.cause);
    Some((response.into_body().collect().await.unwrap().to_bytes(), cause))
}

fn stale_good() -> (Bytes, Option<Cause>) {
    ("good".into(), Some(Cause::Slow))
}

/// Lets background tasks run as far as they can while time stands still.
async fn settle() {
    for _ in 0..10 {
        yield_now().await;
    }
}

/// A service whose cache holds "good" for the GET.
async fn primed(layer: &LastKnownGoodLayer) -> (Slow, Layered) {
    let (upstream, service) = slow(layer);
    upstream.will(Duration::ZERO, good(&[]));
    assert_eq!(body_and_cause(&service, get()).await, Some(("good".into(), None)));
    (upstream, service)
}

#[tokio::test(start_paused = true)]
async fn an_entry_is_served_after_the_soft_limit_and_the_call_renews_it() {
    let (upstream, service) = primed(&impatient()).await;
    advance(MINUTE).await;
    upstream.will(3 * SECOND, answer(200, &[], "better"));
    let began = Instant::now();
    let response = service.clone().oneshot(get()).await.unwrap();
    assert_eq!(began.elapsed(), SECOND);
    assert_eq!(response.extensions().get::<Stale>().unwrap().age, MINUTE + SECOND);
    assert_eq!(response.headers()["cache-status"], "steadfast; fwd=stale; ttl=-61; detail=slow");
    assert_eq!(upstream.under_way(), 1, "the call goes on");
    sleep(2 * SECOND).await;
    settle().await;
    assert_eq!((upstream.called(), upstream.under_way()), (2, 0));
    // The late answer has become the entry.
    assert_eq!(body_and_cause(&service, get()).await.unwrap().0, "better");
}

#[tokio::test(start_paused = true)]
async fn an_answer_within_the_soft_limit_is_fresh() {
    let (upstream, service) = primed(&impatient()).await;
    upstream.will(Duration::from_millis(999), answer(200, &[], "better"));
    assert_eq!(body_and_cause(&service, get()).await, Some(("better".into(), None)));
}

#[tokio::test(start_paused = true)]
async fn without_an_entry_a_slow_call_is_awaited() {
    let (upstream, service) = slow(&impatient());
    upstream.will(5 * SECOND, good(&[]));
    let began = Instant::now();
    assert_eq!(body_and_cause(&service, get()).await, Some(("good".into(), None)));
    assert_eq!(began.elapsed(), 5 * SECOND);
}

#[tokio::test(start_paused = true)]
async fn an_entry_that_may_not_be_served_is_not_served_to_a_slow_call() {
    let (upstream, service) =
        primed(&layer_with(|it| it.serve_stale_after(SECOND).serve_stale_on(|cause| cause != Cause::Slow)))
            .await;
    upstream.will(5 * SECOND, answer(200, &[], "better"));
    assert_eq!(body_and_cause(&service, get()).await, Some(("better".into(), None)));
    let (upstream, service) = primed(&impatient()).await;
    for mut request in
        [get(), request("GET", &[("cache-control", "no-cache")]), request("GET", &[("x", "y")])]
    {
        upstream.will(5 * SECOND, answer(200, &[], "better"));
        request.extensions_mut().insert(CallOptions::new().without_last_known_good());
        assert_eq!(body_and_cause(&service, request).await, Some(("better".into(), None)));
    }
}

#[tokio::test(start_paused = true)]
async fn one_call_for_each_key_goes_on_and_the_others_are_dropped() {
    let (upstream, service) = primed(&impatient()).await;
    for _ in 0..5 {
        upstream.will(MINUTE, answer(200, &[], "better"));
        assert_eq!(body_and_cause(&service, get()).await, Some(stale_good()));
    }
    assert_eq!(upstream.under_way(), 1);
    sleep(MINUTE).await;
    settle().await;
    assert_eq!(upstream.under_way(), 0);
    // After the end of that call, another may go on.
    upstream.will(MINUTE, good(&[]));
    assert_eq!(body_and_cause(&service, get()).await, Some(("better".into(), Some(Cause::Slow))));
    assert_eq!(upstream.under_way(), 1);
}

#[tokio::test(start_paused = true)]
async fn the_number_of_calls_that_go_on_is_bounded() {
    let upstream = Slow::default();
    let service = layer_with(|it| it.serve_stale_after(SECOND).max_refreshes(3)).layer(upstream.clone());
    let of = |key: usize| Request::get(format!("http://sku.internal/{key}")).body(String::new()).unwrap();
    for key in 0..10 {
        upstream.will(Duration::ZERO, good(&[]));
        body_and_cause(&service, of(key)).await.unwrap();
    }
    for key in 0..10 {
        upstream.will_never();
        assert_eq!(body_and_cause(&service, of(key)).await, Some(stale_good()));
    }
    assert_eq!(upstream.under_way(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_call_that_goes_on_ends_with_its_deadline() {
    let upstream = Slow::default();
    let service = DeadlineLayer::new(3 * SECOND).layer(impatient().layer(upstream.clone()));
    upstream.will(Duration::ZERO, good(&[]));
    body_and_cause(&service, get()).await.unwrap();
    upstream.will_never();
    assert_eq!(body_and_cause(&service, get()).await, Some(stale_good()));
    sleep(Duration::from_millis(1999)).await;
    assert_eq!(upstream.under_way(), 1);
    sleep(Duration::from_millis(1)).await;
    settle().await;
    assert_eq!(upstream.under_way(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_call_without_a_deadline_goes_on_for_a_minute() {
    let (upstream, service) = primed(&impatient()).await;
    upstream.will_never();
    assert_eq!(body_and_cause(&service, get()).await, Some(stale_good()));
    sleep(MINUTE).await;
    settle().await;
    assert_eq!(upstream.under_way(), 0);
}

#[tokio::test(start_paused = true)]
async fn the_late_result_of_a_call_that_goes_on_follows_the_same_rules() {
    // A 404 removes the entry.
    let (upstream, service) = primed(&impatient()).await;
    upstream.will(2 * SECOND, answer(404, &[], ""));
    assert_eq!(body_and_cause(&service, get()).await, Some(stale_good()));
    sleep(2 * SECOND).await;
    settle().await;
    assert_eq!(body_and_cause(&service, get()).await, None);
    // A 503 leaves the entry in place.
    let (upstream, service) = primed(&impatient()).await;
    upstream.will(2 * SECOND, answer(503, &[], ""));
    assert_eq!(body_and_cause(&service, get()).await, Some(stale_good()));
    sleep(2 * SECOND).await;
    settle().await;
    assert_eq!(body_and_cause(&service, get()).await.unwrap().0, "good");
}

#[tokio::test(start_paused = true)]
async fn a_dropped_call_does_not_go_on() {
    let (upstream, service) = primed(&impatient()).await;
    upstream.will_never();
    let mut call = tokio_test::task::spawn(service.clone().oneshot(get()));
    assert!(call.poll().is_pending());
    drop(call);
    settle().await;
    assert_eq!(upstream.under_way(), 0);
}

/// The soft limit also works for a request that cannot be cloned.
#[tokio::test(start_paused = true)]
async fn a_soft_limit_works_for_a_request_that_cannot_be_cloned() {
    type Once = UnsyncBoxBody<Bytes, std::convert::Infallible>;
    let once = || Request::get(URI).body(Once::new(http_body_util::Empty::new())).unwrap();
    let upstream = tower::service_fn(|_: Request<Once>| async {
        sleep(500 * Duration::from_millis(1)).await;
        Ok::<_, Error<io::Error>>(good(&[]))
    });
    let service = impatient().layer(upstream);
    assert!(service.oneshot(once()).await.is_ok());
}
