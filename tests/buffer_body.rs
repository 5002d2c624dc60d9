//! Body buffering: small bodies are read inside the attempt; larger bodies stream.

mod support;

use std::error::Error as StdError;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use http_body::{Body, Frame, SizeHint};
use http_body_util::{BodyExt, Empty, Full};
use steadfast::buffer_body::{BufferBodyLayer, BufferedBody};
use steadfast::bulkhead::{Bulkhead, BulkheadLayer};
use steadfast::circuit_breaker::{CircuitBreaker, CircuitBreakerLayer, State};
use steadfast::deadline::DeadlineLayer;
use steadfast::last_known_good::{LastKnownGood, LastKnownGoodLayer};
use steadfast::retry::{Attempts, Backoff, Jitter, RetryLayer, RetryPolicy};
use steadfast::timeout::TimeoutLayer;
use steadfast::{CallOptions, Error, ErrorInfo, ErrorKind, TimeoutScope};
use tokio::time::Instant;
use tower::{Layer, Service, ServiceBuilder, ServiceExt};

use support::{Answer, MS, SECOND, Script, Step, TestBody, Upstream, get, post, send, status};

type Buffered = Response<BufferedBody<TestBody>>;

/// Returns the response to one call, with the given body.
async fn buffered(layer: BufferBodyLayer, script: &Script) -> Result<Buffered, Error<io::Error>> {
    send(&layer.layer(Upstream::answering([status(200).body(script)])), get()).await
}

/// Returns the response to one call, with the given content type and body.
async fn event_stream(layer: BufferBodyLayer, kind: &str, script: &Script) -> Buffered {
    let answer = status(200).header("content-type", kind).body(script);
    send(&layer.layer(Upstream::answering([answer])), get()).await.unwrap()
}

async fn text(response: Buffered) -> String {
    String::from_utf8(response.into_body().collect().await.unwrap().to_bytes().to_vec()).unwrap()
}

fn is_reset(error: &(dyn StdError + 'static)) -> bool {
    error.downcast_ref().is_some_and(|error: &io::Error| error.kind() == io::ErrorKind::ConnectionReset)
}

fn up_to(limit: usize) -> BufferBodyLayer {
    BufferBodyLayer::new().limit(limit)
}

/// Three retries, without waits and without a budget.
fn retry() -> RetryLayer {
    let backoff = Backoff::new().base(Duration::ZERO).jitter(Jitter::None);
    RetryLayer::new(RetryPolicy::builder().backoff(backoff).build().unwrap()).without_budget()
}

// ===== Stated length =====

#[tokio::test(start_paused = true)]
async fn a_small_body_of_stated_length_is_read_before_it_is_handed_on() {
    let script =
        Script::pieces(&["one ", "two"]).then(Step::Wait(SECOND)).then(Step::Data(" three".into())).sized();
    let began = Instant::now();
    let response = buffered(BufferBodyLayer::new(), &script).await.unwrap();
    assert_eq!((script.read(), began.elapsed()), (13, SECOND));
    assert_eq!(text(response).await, "one two three");
}

#[tokio::test(start_paused = true)]
async fn a_body_of_just_the_limit_is_read_and_a_longer_one_streams() {
    let script = || Script::pieces(&["abc", "def"]).sized();
    for (limit, read) in [(6, 6), (5, 0), (0, 0)] {
        let script = script();
        let response = buffered(up_to(limit), &script).await.unwrap();
        assert_eq!(script.read(), read, "up to {limit}");
        assert_eq!(text(response).await, "abcdef");
    }
}

#[tokio::test(start_paused = true)]
async fn the_default_limit_is_a_mebibyte() {
    const MEBIBYTE: usize = 1024 * 1024;
    for (length, read) in [(MEBIBYTE, MEBIBYTE), (MEBIBYTE + 1, 0)] {
        let script = Script::of(&[Step::Data(vec![0; length].into())]).sized();
        let response = buffered(BufferBodyLayer::default(), &script).await.unwrap();
        assert_eq!(script.read(), read);
        assert_eq!(text(response).await.len(), length);
    }
}

#[tokio::test(start_paused = true)]
async fn a_longer_body_is_handed_on_while_it_streams() {
    let script = Script::pieces(&["one"]).then(Step::Stall).stating(2_000_000);
    let response = buffered(BufferBodyLayer::new(), &script).await.unwrap();
    let mut body = response.into_body();
    assert_eq!((script.read(), body.size_hint().exact()), (0, Some(2_000_000)));
    assert_eq!(body.frame().await.unwrap().unwrap().into_data().unwrap(), "one");
}

#[tokio::test(start_paused = true)]
async fn a_longer_body_that_breaks_breaks_for_its_reader_alone() {
    let script = Script::pieces(&["one"]).then(Step::Fail).stating(2_000_000);
    let response = buffered(BufferBodyLayer::new(), &script).await.unwrap();
    let error = response.into_body().collect().await.unwrap_err();
    assert!(is_reset(&*error));
}

#[tokio::test(start_paused = true)]
async fn the_head_of_the_response_is_kept() {
    let script = Script::pieces(&["one"]).sized();
    let answer = status(203).header("etag", "\"7\"").body(&script);
    let response = send(&BufferBodyLayer::new().layer(Upstream::answering([answer])), get()).await.unwrap();
    assert_eq!((response.status().as_u16(), &response.headers()["etag"]), (203, &"\"7\"".parse().unwrap()));
}

#[tokio::test(start_paused = true)]
async fn an_error_of_the_attempt_is_handed_on() {
    let upstream = Upstream::answering([support::fault(io::ErrorKind::ConnectionReset)]);
    let error = send(&BufferBodyLayer::new().layer(upstream), get()).await.unwrap_err();
    assert_eq!(error.inner().unwrap().kind(), io::ErrorKind::ConnectionReset);
}

// ===== Pieces and trailers =====

#[tokio::test(start_paused = true)]
async fn a_body_in_one_piece_is_not_copied() {
    let piece = Bytes::from(vec![7; 1000]);
    for trailing in [&[][..], &[Step::Trailers(HeaderMap::new())]] {
        let mut script = Script::of(&[Step::Data(piece.clone())]);
        for step in trailing {
            script = script.then(step.clone());
        }
        let response = buffered(BufferBodyLayer::new(), &script.sized()).await.unwrap();
        let handed_on = response.into_body().frame().await.unwrap().unwrap().into_data().unwrap();
        assert_eq!(handed_on.as_ptr(), piece.as_ptr());
        assert_eq!(handed_on, piece);
    }
}

#[tokio::test(start_paused = true)]
async fn a_body_in_many_pieces_comes_as_one() {
    let pieces: Vec<_> = (0..1000_u32).map(|piece| Step::Data(piece.to_be_bytes().to_vec().into())).collect();
    let expected: Vec<u8> = (0..1000_u32).flat_map(u32::to_be_bytes).collect();
    for unsized_bodies in [false, true] {
        let script = Script::of(&pieces);
        let script = if unsized_bodies { script } else { script.sized() };
        let layer = BufferBodyLayer::new().unsized_bodies(unsized_bodies);
        let mut body = buffered(layer, &script).await.unwrap().into_body();
        assert_eq!(body.size_hint().exact(), Some(4000));
        assert_eq!(body.frame().await.unwrap().unwrap().into_data().unwrap(), expected);
        assert!(body.is_end_stream());
        assert!(body.frame().await.is_none());
    }
}

#[tokio::test(start_paused = true)]
async fn empty_pieces_change_nothing() {
    let script = Script::pieces(&["", "one", "", "", " two", ""]).sized();
    assert_eq!(text(buffered(BufferBodyLayer::new(), &script).await.unwrap()).await, "one two");
}

#[tokio::test(start_paused = true)]
async fn trailers_are_kept() {
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", "0".parse().unwrap());
    let script = || Script::pieces(&["one"]).then(Step::Trailers(trailers.clone()));
    for (layer, script) in [
        (BufferBodyLayer::new(), script().sized()),
        (BufferBodyLayer::new().unsized_bodies(true), script()),
        // The layer hands these bodies on before their end.
        (BufferBodyLayer::new(), script()),
        (up_to(1).unsized_bodies(true), script()),
    ] {
        let body = buffered(layer, &script).await.unwrap().into_body();
        assert!(!body.is_end_stream());
        let read = body.collect().await.unwrap();
        assert_eq!(read.trailers(), Some(&trailers));
        assert_eq!(read.to_bytes(), "one");
    }
}

// ===== Empty bodies =====

#[tokio::test(start_paused = true)]
async fn a_response_without_a_body_passes_through() {
    for layer in [BufferBodyLayer::new(), up_to(0), BufferBodyLayer::new().unsized_bodies(true)] {
        let response = buffered(layer, &Script::of(&[]).sized()).await.unwrap();
        assert!(response.body().is_end_stream());
        assert_eq!(text(response).await, "");
    }
}

#[tokio::test(start_paused = true)]
async fn a_response_to_head_is_not_taken_for_one_that_was_cut_short() {
    // The client knows that the body is empty. `Content-Length` is the length of the body that a GET would have had.
    let service = ServiceBuilder::new()
        .layer(BufferBodyLayer::new())
        .map_err(Error::from_upstream)
        .service_fn(async |_: Request<()>| {
            Ok::<_, io::Error>(
                Response::builder().header("content-length", "1000").body(Empty::<Bytes>::new()).unwrap(),
            )
        });
    let head = Request::head("http://sku.internal/v1/items/42").body(()).unwrap();
    let response = service.oneshot(head).await.unwrap();
    assert_eq!(response.headers()["content-length"], "1000");
    assert!(response.body().is_end_stream());
}

#[tokio::test(start_paused = true)]
async fn a_body_of_unstated_length_that_is_empty_is_whole() {
    let script = Script::of(&[Step::Wait(SECOND)]);
    let response = buffered(BufferBodyLayer::new().unsized_bodies(true), &script).await.unwrap();
    assert!(response.body().is_end_stream());
}

// ===== Cut short, broken, stalled =====

/// Returns the error of a body that cannot be read whole, after its data.
async fn body_error(script: &Script) -> String {
    let response = buffered(BufferBodyLayer::new().unsized_bodies(true), script).await.unwrap();
    assert_eq!(response.status(), 200);
    let mut body = response.into_body();
    assert!(!body.is_end_stream());
    if script.read() > 0 {
        assert_eq!(body.frame().await.unwrap().unwrap().into_data().unwrap().len(), script.read());
    }
    let error = body.frame().await.unwrap().unwrap_err();
    assert!(body.is_end_stream() && body.frame().await.is_none());
    error.to_string()
}

#[tokio::test(start_paused = true)]
async fn a_body_cut_short_is_an_error() {
    for pieces in [&["one ", "two"][..], &["one"]] {
        let length: usize = pieces.iter().map(|piece| piece.len()).sum();
        let error = body_error(&Script::pieces(pieces).stating(10)).await;
        assert_eq!(error, format!("the body has {length} bytes of 10"));
    }
}

/// A body without a byte that states ten, as in the response to a HEAD request over HTTP/2.
struct Absent;

impl Body for Absent {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        _cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        Poll::Ready(None)
    }

    fn is_end_stream(&self) -> bool {
        true
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(10)
    }
}

/// The client verifies that a response without a body, as to a HEAD request, ends as it should.
#[tokio::test(start_paused = true)]
async fn an_absent_body_is_whole_whatever_length_it_states() {
    let service = ServiceBuilder::new()
        .layer(BufferBodyLayer::new())
        .map_err(Error::from_upstream)
        .service_fn(async |_: Request<()>| Ok::<_, io::Error>(Response::new(Absent)));
    let response = service.oneshot(get()).await.unwrap();
    assert!(response.body().is_end_stream());
    assert_eq!(response.body().size_hint().exact(), Some(10));
    for code in [204, 304] {
        let script = Script::of(&[Step::Stall]).stating(10);
        let upstream = Upstream::answering([status(code).body(&script)]);
        assert_eq!(send(&BufferBodyLayer::new().layer(upstream), get()).await.unwrap().status(), code);
    }
}

#[tokio::test(start_paused = true)]
async fn a_body_longer_than_its_stated_length_is_an_error() {
    assert_eq!(body_error(&Script::pieces(&["one ", "two"]).stating(5)).await, "the body has 7 bytes of 5");
}

#[tokio::test(start_paused = true)]
async fn a_body_that_breaks_is_an_error_with_its_cause() {
    for script in [
        Script::of(&[Step::Fail]).stating(10),
        Script::pieces(&["one"]).then(Step::Fail).stating(10),
        Script::pieces(&["one"]).then(Step::Fail),
    ] {
        assert_eq!(body_error(&script).await, io::Error::from(io::ErrorKind::ConnectionReset).to_string());
    }
}

#[tokio::test(start_paused = true)]
async fn a_body_that_is_not_whole_fails_its_attempt_and_is_retried() {
    let whole = status(200).body(&Script::pieces(&["whole"]).sized());
    for failed in [
        Script::pieces(&["wh"]).stating(5),
        Script::pieces(&["wh"]).then(Step::Fail).stating(5),
        Script::pieces(&["wh"]).then(Step::Stall).stating(5),
    ] {
        let upstream = Upstream::answering([status(200).body(&failed), whole.clone()]);
        let service = ServiceBuilder::new()
            .layer(retry())
            .layer(TimeoutLayer::new(SECOND))
            .layer(BufferBodyLayer::new())
            .service(upstream.clone());
        let response = send(&service, get()).await.unwrap();
        assert_eq!(response.extensions().get::<Attempts>().unwrap().made, 2);
        assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), "whole");
        assert_eq!((upstream.count(), failed.dropped()), (2, 1));
    }
}

#[tokio::test(start_paused = true)]
async fn a_post_whose_answer_was_cut_short_is_not_sent_again() {
    let upstream = Upstream::answering([status(200).body(&Script::pieces(&["wh"]).stating(5))]);
    let service =
        ServiceBuilder::new().layer(retry()).layer(BufferBodyLayer::new()).service(upstream.clone());
    let response = send(&service, post()).await.unwrap();
    assert_eq!((response.status().as_u16(), upstream.count()), (200, 1));
    assert!(response.into_body().collect().await.is_err());
}

#[tokio::test(start_paused = true)]
async fn a_body_that_stalls_is_cut_by_the_time_of_its_attempt() {
    let script = Script::pieces(&["wh"]).then(Step::Stall).stating(5);
    let service = ServiceBuilder::new()
        .layer(TimeoutLayer::new(SECOND))
        .layer(BufferBodyLayer::new())
        .service(Upstream::answering([status(200).after(300 * MS).body(&script)]));
    let began = Instant::now();
    let response = send(&service, get()).await.unwrap();
    assert_eq!((response.status().as_u16(), began.elapsed(), script.dropped()), (200, SECOND, 1));
    let mut body = response.into_body();
    assert_eq!(body.frame().await.unwrap().unwrap().into_data().unwrap(), "wh");
    let error = body.frame().await.unwrap().unwrap_err();
    let kind = ErrorInfo::find(&*error).unwrap().kind();
    assert_eq!(kind, ErrorKind::Timeout { scope: TimeoutScope::Attempt, after: Some(SECOND) });
}

#[tokio::test(start_paused = true)]
async fn a_body_that_is_not_whole_counts_against_the_upstream_once() {
    for (failures, expected) in [(1, State::Open), (2, State::Closed)] {
        let circuit =
            CircuitBreaker::builder().consecutive_failures(failures, Duration::ZERO).build().unwrap();
        let script = Script::pieces(&["wh"]).then(Step::Fail).stating(5);
        let service = ServiceBuilder::new()
            .layer(CircuitBreakerLayer::new(circuit.clone()))
            .layer(BufferBodyLayer::new())
            .service(Upstream::answering([status(200).body(&script)]));
        let response = send(&service, get()).await.unwrap();
        assert!(response.into_body().collect().await.is_err());
        assert_eq!(circuit.state(), expected, "after one of {failures}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_body_in_memory_holds_no_permit() {
    // Case 20: many small answers are awaited together, and read afterwards.
    let bulkhead = Bulkhead::builder().max_concurrent(1).max_waiting(0).build().unwrap();
    let answers: Vec<_> = (0..200).map(|_| status(200).body(&Script::pieces(&["five!"]).sized())).collect();
    let service = ServiceBuilder::new()
        .layer(BulkheadLayer::new(bulkhead.clone()))
        .layer(BufferBodyLayer::new())
        .service(Upstream::answering(answers));
    let mut unread = vec![];
    for _ in 0..200 {
        unread.push(send(&service, get()).await.unwrap());
    }
    assert_eq!(bulkhead.in_flight(), 0);
    for response in unread {
        assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), "five!");
    }
}

#[tokio::test(start_paused = true)]
async fn a_body_in_memory_is_judged_with_its_head() {
    let circuit = CircuitBreaker::builder().consecutive_failures(2, Duration::ZERO).build().unwrap();
    let service = ServiceBuilder::new()
        .layer(CircuitBreakerLayer::new(circuit.clone()))
        .layer(BufferBodyLayer::new())
        .service(Upstream::answering([status(503), status(200).body(&Script::pieces(&["one"]).sized())]));
    send(&service, get()).await.unwrap();
    assert_eq!(circuit.snapshot().consecutive_failures, 1);
    let _unread = send(&service, get()).await.unwrap();
    assert_eq!(circuit.snapshot().consecutive_failures, 0);
}

// ===== A body that arrives =====

const KIB: usize = 1024;

/// A total time of which an attempt has a second.
const TOTAL: Duration = Duration::from_millis(3400);

/// `count` pieces of this size, each after a wait of this length.
fn pieces(count: usize, size: usize, wait: Duration) -> Vec<Step> {
    (0..count).flat_map(|_| [Step::Wait(wait), Step::Data(vec![b'x'; size].into())]).collect()
}

/// Makes the only attempt of a call with the total time [`TOTAL`]. Returns the length of the body, or the error with
/// which the body ended, and the time that the attempt took.
async fn read_in(
    timeout: TimeoutLayer,
    buffer: BufferBodyLayer,
    answer: Answer,
    another_may_follow: bool,
) -> (Result<usize, ErrorKind>, Duration) {
    let service = ServiceBuilder::new()
        .layer(DeadlineLayer::new(TOTAL))
        .layer(timeout)
        .layer(buffer)
        .service(Upstream::answering([answer]));
    let mut request = get();
    request.extensions_mut().insert(CallOptions::new().attempt(1, another_may_follow));
    let began = Instant::now();
    let body = send(&service, request).await.unwrap().into_body();
    let took = began.elapsed();
    let read = body.collect().await.map(|read| read.to_bytes().len());
    (read.map_err(|error| ErrorInfo::find(&*error).unwrap().kind()), took)
}

/// Like [`read_in`], with the default time of an attempt and a body of these steps.
async fn read(
    steps: &[Step],
    stated: usize,
    another_may_follow: bool,
) -> (Result<usize, ErrorKind>, Duration) {
    let answer = status(200).body(&Script::of(steps).stating(stated as u64));
    read_in(TimeoutLayer::share_of(TOTAL), BufferBodyLayer::new(), answer, another_may_follow).await
}

fn late(scope: TimeoutScope, after: Duration) -> Result<usize, ErrorKind> {
    Err(ErrorKind::Timeout { scope, after: Some(after) })
}

#[tokio::test(start_paused = true)]
async fn a_body_that_arrives_over_a_slow_link_is_read_whole_by_one_attempt() {
    for length in [512 * KIB, 1024 * KIB] {
        let script = Script::of(&pieces(length / (16 * KIB), 16 * KIB, SECOND / 8)).sized();
        let upstream = Upstream::answering([status(200).body(&script)]);
        let service = ServiceBuilder::new()
            .layer(DeadlineLayer::new(10 * SECOND))
            .layer(RetryLayer::new(RetryPolicy::default()))
            .layer(TimeoutLayer::share_of(10 * SECOND))
            .layer(BufferBodyLayer::new())
            .service(upstream.clone());
        let began = Instant::now();
        let body = send(&service, get()).await.unwrap().into_body();
        assert_eq!(began.elapsed(), SECOND / 128 * (length / KIB).try_into().unwrap());
        assert_eq!((body.collect().await.unwrap().to_bytes().len(), upstream.count()), (length, 1));
    }
}

#[tokio::test(start_paused = true)]
async fn a_body_that_stops_arriving_is_cut_after_the_idle_timeout_and_retried() {
    // The last data arrives in the last moment of the attempt's second. The share bounds the idle timeout of 2 s.
    let stalled = [pieces(1, 4, 999 * MS), vec![Step::Stall]].concat();
    assert_eq!(read(&stalled, 5, true).await, (late(TimeoutScope::Attempt, 1999 * MS), 1999 * MS));

    let answers = [
        status(200).body(&Script::of(&stalled).stating(5)),
        status(200).body(&Script::pieces(&["whole"]).sized()),
    ];
    let upstream = Upstream::answering(answers);
    let service = ServiceBuilder::new()
        .layer(DeadlineLayer::new(TOTAL))
        .layer(retry())
        .layer(TimeoutLayer::share_of(TOTAL))
        .layer(BufferBodyLayer::new().idle_timeout(500 * MS))
        .service(upstream.clone());
    let body = send(&service, get()).await.unwrap().into_body();
    assert_eq!(body.collect().await.unwrap().to_bytes(), "whole");
    assert_eq!(upstream.times(), [Duration::ZERO, 1499 * MS]);
}

#[tokio::test(start_paused = true)]
async fn a_body_that_is_idle_when_the_share_ends_is_cut_then() {
    let script = Script::of(&[pieces(1, 4, 100 * MS), vec![Step::Stall]].concat()).stating(5);
    for (idle, expected) in [(Duration::ZERO, SECOND), (899 * MS, SECOND), (901 * MS, 1001 * MS)] {
        let answer = status(200).body(&script);
        let buffer = BufferBodyLayer::new().idle_timeout(idle);
        let (result, took) = read_in(TimeoutLayer::share_of(TOTAL), buffer, answer, true).await;
        assert_eq!((result, took), (late(TimeoutScope::Attempt, expected), expected), "{idle:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_head_of_a_response_counts_as_data_and_an_empty_frame_does_not() {
    let late_body = [pieces(1, 4, 900 * MS), pieces(1, 1, 100 * MS)].concat();
    let answer = status(200).after(900 * MS).body(&Script::of(&late_body).sized());
    let share = TimeoutLayer::share_of(TOTAL);
    let (result, took) = read_in(share, BufferBodyLayer::new(), answer, true).await;
    assert_eq!((result, took), (Ok(5), 1900 * MS));
    let cut = read(&pieces(100, 0, 300 * MS), 5, true).await;
    assert_eq!(cut, (late(TimeoutScope::Attempt, SECOND), SECOND));
}

#[tokio::test(start_paused = true)]
async fn a_body_that_trickles_ends_at_the_deadline() {
    for another_may_follow in [true, false] {
        let cut = read(&pieces(100, 1, 300 * MS), 100, another_may_follow).await;
        assert_eq!(cut, (late(TimeoutScope::Total, TOTAL), TOTAL));
    }
}

#[tokio::test(start_paused = true)]
async fn the_body_of_the_last_attempt_has_all_the_time_that_is_left() {
    let answer = |wait| status(200).body(&Script::of(&pieces(2, 4, wait)).sized());
    for (wait, expected) in [(1600 * MS, Ok(8)), (2 * SECOND, late(TimeoutScope::Total, TOTAL))] {
        let buffer = BufferBodyLayer::new().idle_timeout(500 * MS);
        let (result, _) = read_in(TimeoutLayer::share_of(TOTAL), buffer, answer(wait), false).await;
        assert_eq!(result, expected);
    }
}

#[tokio::test(start_paused = true)]
async fn an_attempt_timeout_of_the_user_cuts_a_body_that_arrives() {
    for another_may_follow in [true, false] {
        let answer = status(200).body(&Script::of(&pieces(100, 1, 300 * MS)).sized());
        let timeout = TimeoutLayer::new(SECOND);
        let cut = read_in(timeout, BufferBodyLayer::new(), answer, another_may_follow).await;
        assert_eq!(cut, (late(TimeoutScope::Attempt, SECOND), SECOND));
    }
}

#[tokio::test(start_paused = true)]
async fn without_a_deadline_a_body_that_arrives_is_bounded_by_its_idle_timeout_alone() {
    let service = ServiceBuilder::new()
        .layer(TimeoutLayer::share_of(340 * SECOND))
        .layer(BufferBodyLayer::new().idle_timeout(Duration::MAX))
        .service(Upstream::answering([status(200).body(&Script::of(&pieces(10, 1, 60 * SECOND)).sized())]));
    let body = send(&service, get()).await.unwrap().into_body();
    assert_eq!(body.collect().await.unwrap().to_bytes().len(), 10);
}

#[tokio::test(start_paused = true)]
async fn a_body_that_arrives_in_another_task_is_cut_by_the_time_of_its_attempt() {
    let script = Script::of(&pieces(100, 1, 300 * MS)).sized();
    let below = BufferBodyLayer::new().layer(Upstream::answering([status(200).body(&script)]));
    let spawned = tower::service_fn(move |request: Request<()>| {
        let call = tokio::spawn(below.clone().oneshot(request));
        async move { call.await.unwrap() }
    });
    let error = send(&TimeoutLayer::share_of(TOTAL).layer(spawned), get()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Timeout { scope: TimeoutScope::Attempt, after: Some(SECOND) });
}

// ===== Unstated length =====

#[tokio::test(start_paused = true)]
async fn a_body_of_unstated_length_is_not_touched_by_default() {
    let script = Script::pieces(&["one"]).then(Step::Stall);
    let mut body = buffered(BufferBodyLayer::new(), &script).await.unwrap().into_body();
    assert_eq!(script.read(), 0);
    assert_eq!(body.frame().await.unwrap().unwrap().into_data().unwrap(), "one");
}

#[tokio::test(start_paused = true)]
async fn a_body_of_unstated_length_is_read_if_configured() {
    let script = Script::pieces(&["one "]).then(Step::Wait(SECOND)).then(Step::Data("two".into()));
    let response = buffered(BufferBodyLayer::new().unsized_bodies(true), &script).await.unwrap();
    assert!(script.ended());
    assert_eq!(text(response).await, "one two");
}

#[tokio::test(start_paused = true)]
async fn a_body_of_unstated_length_over_the_limit_is_handed_on_whole() {
    let pieces = ["abcd", "efgh", "ijkl", "mnop"];
    for (limit, read) in [(1, 4), (4, 8), (5, 8), (12, 16), (15, 16), (16, 16)] {
        let script = Script::pieces(&pieces);
        let response = buffered(up_to(limit).unsized_bodies(true), &script).await.unwrap();
        assert_eq!(script.read(), read, "up to {limit}");
        assert_eq!(script.ended(), limit == 16, "up to {limit}");
        assert_eq!(text(response).await, "abcdefghijklmnop", "up to {limit}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_body_over_the_limit_streams_on_after_the_part_that_was_read() {
    let script = Script::pieces(&["abcd", "efgh"]).then(Step::Wait(SECOND)).then(Step::Data("ijkl".into()));
    let began = Instant::now();
    let mut body = buffered(up_to(5).unsized_bodies(true), &script).await.unwrap().into_body();
    assert_eq!(began.elapsed(), Duration::ZERO);
    assert_eq!((body.size_hint().lower(), body.size_hint().upper()), (8, None));
    assert_eq!(body.frame().await.unwrap().unwrap().into_data().unwrap(), "abcdefgh");
    assert_eq!(body.frame().await.unwrap().unwrap().into_data().unwrap(), "ijkl");
    assert!(body.frame().await.is_none());
    assert_eq!(began.elapsed(), SECOND);
}

#[tokio::test(start_paused = true)]
async fn a_body_over_the_limit_that_breaks_yields_its_data_before_the_error() {
    let script = Script::pieces(&["abcd", "efgh"]).then(Step::Fail);
    let mut body = buffered(up_to(5).unsized_bodies(true), &script).await.unwrap().into_body();
    assert_eq!(body.frame().await.unwrap().unwrap().into_data().unwrap(), "abcdefgh");
    assert!(is_reset(&*body.frame().await.unwrap().unwrap_err()));
}

#[tokio::test(start_paused = true)]
async fn an_event_stream_is_never_read() {
    let layer = BufferBodyLayer::new().unsized_bodies(true);
    for kind in ["text/event-stream", "text/event-stream; charset=utf-8", "Text/Event-Stream"] {
        let script = Script::pieces(&["data: 1\n\n"]).then(Step::Stall);
        let response = event_stream(layer, kind, &script).await;
        assert_eq!(script.read(), 0, "{kind}");
        let first = response.into_body().frame().await.unwrap().unwrap().into_data().unwrap();
        assert_eq!(first, "data: 1\n\n");
    }
    let script = Script::pieces(&["one"]);
    event_stream(layer, "text/plain", &script).await;
    assert!(script.ended());
}

// ===== Any input =====

#[tokio::test(start_paused = true)]
async fn a_huge_stated_length_neither_panics_nor_takes_memory() {
    // Promises: no panic on any input, and all memory is bounded.
    for stated in [u64::MAX, u64::MAX / 2, 1 << 40] {
        for limit in [0, 1, usize::MAX] {
            let script = Script::pieces(&["one ", "two"]).stating(stated);
            let response = buffered(up_to(limit), &script).await.unwrap();
            assert_eq!(script.ended(), limit == usize::MAX, "{stated} of {limit}");
            assert_eq!(response.into_body().collect().await.is_err(), limit == usize::MAX);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_limit_beyond_all_bodies_reads_them_all() {
    let script = Script::pieces(&["one ", "two"]);
    let response = buffered(up_to(usize::MAX).unsized_bodies(true), &script).await.unwrap();
    assert_eq!(text(response).await, "one two");
}

// ===== Promises =====

#[tokio::test(start_paused = true)]
async fn a_call_that_is_dropped_while_its_body_is_read_drops_the_body() {
    // Promise: dropping any future leaks nothing.
    let script = Script::pieces(&["wh"]).then(Step::Stall).stating(5);
    let service = BufferBodyLayer::new().layer(Upstream::answering([status(200).body(&script)]));
    let mut call = tokio_test::task::spawn(service.oneshot(get()));
    assert!(call.poll().is_pending());
    assert_eq!((script.read(), script.dropped()), (2, 0));
    drop(call);
    assert_eq!(script.dropped(), 1);
}

#[tokio::test(start_paused = true)]
async fn nothing_is_spawned() {
    // Promise: no background task.
    let tasks = || tokio::runtime::Handle::current().metrics().num_alive_tasks();
    let before = tasks();
    let script = Script::pieces(&["wh"]).then(Step::Wait(SECOND)).then(Step::Data("ole".into())).sized();
    let service = BufferBodyLayer::new().layer(Upstream::answering([status(200).body(&script)]));
    let mut call = tokio_test::task::spawn(service.oneshot(get()));
    assert!(call.poll().is_pending());
    assert_eq!(tasks(), before);
    call.await.unwrap();
    assert_eq!(tasks(), before);
}

#[tokio::test(start_paused = true)]
async fn the_service_that_was_polled_ready_is_the_one_called() {
    // The mock panics if it is called before it was polled ready.
    let (mock, mut handle) = tower_test::mock::pair::<Request<()>, Response<Full<Bytes>>>();
    let mut service =
        BufferBodyLayer::new().layer(mock.map_err(|error| Error::from_upstream(io::Error::other(error))));
    handle.allow(0);
    let mut ready = tokio_test::task::spawn(std::future::poll_fn(|cx| service.poll_ready(cx)));
    assert!(ready.poll().is_pending());
    handle.allow(1);
    assert!(ready.is_woken());
    ready.await.unwrap();
    let mut call = tokio_test::task::spawn(service.call(get()));
    assert!(call.poll().is_pending());
    let (_, reply) = handle.next_request().await.unwrap();
    reply.send_response(Response::new(Full::from("one")));
    let response = call.await.unwrap();
    assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), "one");
}

/// A body of empty frames, and of one byte at the end. All are there at once.
#[derive(Debug)]
struct EmptyFrames(usize);

impl Body for EmptyFrames {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: std::pin::Pin<&mut Self>,
        _cx: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<http_body::Frame<Bytes>, io::Error>>> {
        let Some(left) = self.0.checked_sub(1) else { return std::task::Poll::Ready(None) };
        self.0 = left;
        let data = Bytes::from_static(if left == 0 { b"x" } else { b"" });
        std::task::Poll::Ready(Some(Ok(http_body::Frame::data(data))))
    }
}

#[tokio::test(start_paused = true)]
async fn a_body_of_ten_thousand_empty_frames_is_read_whole_but_not_in_one_poll() {
    let service =
        BufferBodyLayer::new().unsized_bodies(true).layer(tower::service_fn(async |_: Request<()>| {
            Ok::<_, Error<io::Error>>(Response::new(EmptyFrames(10_001)))
        }));
    let mut call = tokio_test::task::spawn(service.oneshot(get()));
    let mut yields = 0;
    let response = loop {
        match call.poll() {
            std::task::Poll::Ready(response) => break response.unwrap(),
            std::task::Poll::Pending => yields += 1,
        }
        assert!(call.is_woken(), "the call is polled again at once");
    };
    assert!(yields > 10, "{yields} yields");
    assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), "x");
}

#[tokio::test(start_paused = true)]
async fn a_stale_response_in_place_of_a_broken_one_is_whole() {
    let good = status(200).body(&Script::pieces(&["good"]).sized());
    let broken = status(200).body(&Script::pieces(&["go"]).then(Step::Fail).stating(4));
    let upstream: Upstream<Request<String>> = Upstream::answering([good, broken]);
    let circuit = CircuitBreaker::builder().consecutive_failures(1, Duration::ZERO).build().unwrap();
    let service = ServiceBuilder::new()
        .layer(retry())
        .layer(CircuitBreakerLayer::new(circuit.clone()))
        .layer(LastKnownGoodLayer::new(LastKnownGood::default()))
        .layer(BufferBodyLayer::new())
        .service(upstream.clone());
    for _ in 0..2 {
        let response = send(&service, get().map(|()| String::new())).await.unwrap();
        assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), "good");
    }
    assert_eq!((upstream.count(), circuit.state()), (2, State::Closed));
}
