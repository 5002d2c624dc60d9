//! Memory is bounded: at most two kibibytes for an upstream, at most the limit for a body that can be sent again, and
//! no growth in an hour of traffic after a warm-up.
#![cfg(feature = "reqwest")]

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt as _;
use http::{Request, Response};
use http_body::{Body, Frame};
use http_body_util::{BodyExt, Full};
use steadfast::bulkhead::{Bulkhead, BulkheadLayer};
use steadfast::circuit_breaker::{CircuitBreaker, CircuitBreakerLayer};
use steadfast::deadline::DeadlineLayer;
use steadfast::http::{ReplayBody, TryCloneBody};
use steadfast::last_known_good::{LastKnownGood, LastKnownGoodLayer};
use steadfast::per_upstream::{PerUpstreamLayer, UpstreamKey};
use steadfast::retry::{RetryBudget, RetryLayer, RetryPolicy};
use steadfast::timeout::TimeoutLayer;
use steadfast::{Call, Client, Error, ResponseExt};
use tokio::time::Instant;
use tower::{ServiceBuilder, ServiceExt};

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);

/// Returns the number of bytes that `work` allocates and does not free.
fn retained_by(work: impl FnOnce()) -> i64 {
    allocation_counter::measure(work).bytes_current
}

#[test]
fn an_upstream_takes_at_most_two_kibibytes() {
    const UPSTREAMS: u32 = 500;
    let client = Client::builder().max_upstreams(UPSTREAMS as usize).build().unwrap();
    let visit = |number| drop(client.upstream_at(format!("http://sku-{number}.internal")).unwrap());
    let retained = retained_by(|| (0..UPSTREAMS).for_each(visit));
    assert_eq!(client.upstreams().len(), UPSTREAMS as usize);
    assert!(retained / i64::from(UPSTREAMS) <= 2048, "{} bytes", retained / i64::from(UPSTREAMS));
    // At the limit, a new upstream replaces an old one. The first round fills the places in which this thread keeps
    // handles of evicted upstreams.
    (0..UPSTREAMS).for_each(|number| visit(UPSTREAMS + number));
    let retained = retained_by(|| (0..UPSTREAMS).for_each(|number| visit(2 * UPSTREAMS + number)));
    assert!(retained <= 4096, "{retained} bytes");
}

/// A body of pieces of 16 bytes, as hyper yields them from slow peers: each is a slice of a read buffer of 8 KiB.
struct Trickle {
    pieces: u32,
}

impl Body for Trickle {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let Some(left) = self.pieces.checked_sub(1) else { return Poll::Ready(None) };
        self.pieces = left;
        Poll::Ready(Some(Ok(Frame::data(Bytes::from(vec![b'x'; 8 * 1024]).slice(..16)))))
    }
}

#[test]
fn a_replayable_body_holds_no_more_than_its_limit_however_small_its_frames_are() {
    const LIMIT: usize = 64 * 1024;
    let mut read = 0;
    let mut bodies = None;
    let memory = allocation_counter::measure(|| {
        let mut body = ReplayBody::new(Trickle { pieces: 4000 }, LIMIT);
        let copy = body.try_clone().unwrap();
        while let Some(Some(frame)) = body.frame().now_or_never() {
            read += frame.unwrap().into_data().unwrap().len();
        }
        bodies = Some((body, copy));
    });
    assert_eq!(read, 64_000);
    assert!(bodies.is_some_and(|(_, copy)| copy.take_over()), "the body can be sent again");
    let limit = i64::try_from(LIMIT).unwrap();
    assert!(memory.bytes_current <= limit + 1024, "{} bytes", memory.bytes_current);
    // The buffer grows in steps, and holds its old and its new memory in between.
    let most = memory.bytes_max;
    assert!(most <= 2 * LIMIT as u64, "{most} bytes");
}

/// An upstream that succeeds for a minute, fails for a minute, hangs for a minute, and begins again.
async fn answer(_request: Request<Full<Bytes>>) -> Result<Response<Full<Bytes>>, Infallible> {
    let body = Full::new(Bytes::from_static(b"an answer"));
    let minute = Instant::now().duration_since(*BEGAN.get().unwrap()).as_secs() / 60;
    match minute % 3 {
        0 => {}
        1 => return Ok(Response::builder().status(503).body(body).unwrap()),
        _ => tokio::time::sleep(MINUTE).await,
    }
    Ok(Response::new(body))
}

static BEGAN: std::sync::OnceLock<Instant> = std::sync::OnceLock::new();

#[test]
fn nothing_grows_in_an_hour_of_traffic() {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    let _context = runtime.enter();
    BEGAN.set(Instant::now()).unwrap();
    let stack_maker = |_: &UpstreamKey| {
        let circuit = CircuitBreaker::builder().failure_rate(0.5).slow_calls(SECOND, 0.5).build().unwrap();
        let layers = ServiceBuilder::new()
            .layer(DeadlineLayer::new(3 * SECOND))
            .layer(
                RetryLayer::new(RetryPolicy::default())
                    .budget(RetryBudget::default())
                    .advised_by(circuit.clone()),
            )
            .layer(CircuitBreakerLayer::new(circuit))
            .layer(BulkheadLayer::new(Bulkhead::default()))
            .layer(TimeoutLayer::new(SECOND))
            .into_inner();
        (layers, ())
    };
    let service = ServiceBuilder::new()
        .layer(LastKnownGoodLayer::new(LastKnownGood::builder().max_bytes(64 * 1024).build().unwrap()))
        .layer(PerUpstreamLayer::new(stack_maker).max_upstreams(10))
        .map_err(Error::from_upstream)
        .map_request(Call::into_inner)
        .service_fn(answer);
    let (mut fresh, mut stale, mut refused, mut failed) = (0, 0, 0, 0);
    let mut traffic = |minutes: u32| {
        runtime.block_on(async {
            let end = Instant::now() + minutes * MINUTE;
            for number in 0_u32.. {
                // Every 50th call goes to an upstream that was not called for a while.
                let upstream = if number % 50 == 0 { 10 + number / 50 % 20 } else { number % 4 };
                let uri = format!("http://sku-{upstream}.internal/items/{}", number % 100);
                let call = Call::new(Request::get(uri).body(Full::default()).unwrap());
                let call = if number % 7 == 0 { call.without_last_known_good() } else { call };
                match service.clone().oneshot(call).await {
                    Ok(response) => {
                        *(if response.stale().is_some() { &mut stale } else { &mut fresh }) += 1;
                        response.into_body().collect().await.unwrap();
                    }
                    Err(error) if error.is_refusal() => refused += 1,
                    Err(_) => failed += 1,
                }
                tokio::time::sleep(SECOND / 10).await;
                if Instant::now() > end {
                    break;
                }
            }
        });
    };
    traffic(12);
    let retained = retained_by(|| traffic(60));
    assert!(retained < 4096, "{retained} bytes");
    assert!(
        [fresh, stale, refused, failed].iter().all(|&calls| calls > 100),
        "{fresh} {stale} {refused} {failed}"
    );
}
