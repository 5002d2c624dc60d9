//! What a bulkhead does, seen from outside.

use std::convert::Infallible;
use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::Response;
use http_body::{Body, Frame};
use http_body_util::{BodyExt, Full};
use steadfast::bulkhead::{Bulkhead, BulkheadLayer, Compartment, CompartmentBuilder};
use steadfast::retry::{Backoff, RetryLayer, RetryPolicy};
use steadfast::timeout::TimeoutLayer;
use steadfast::{Call, Error, Resend};
use tokio::sync::mpsc;
use tokio::time::{Instant, advance};
use tokio_test::{assert_pending, assert_ready, assert_ready_err, assert_ready_ok, task};
use tower::{Layer, Service, ServiceBuilder, ServiceExt};
use tower_test::mock;

const SECOND: Duration = Duration::from_secs(1);
const MS: Duration = Duration::from_millis(1);

// ===== An upstream that answers when it is told to =====

/// A request is the name of a caller.
type Request = Call<&'static str>;

/// What the test has to say to one call of the upstream.
type Answer = tokio::sync::oneshot::Sender<Result<Response<Stream>, io::Error>>;

/// The calls that have reached the upstream, in order.
#[derive(Debug, Clone, Default)]
struct Upstream(Arc<Mutex<Vec<(&'static str, Answer)>>>);

type Answering = Pin<Box<dyn Future<Output = Result<Response<Stream>, Error<io::Error>>> + Send>>;

impl Upstream {
    /// Who has been sent to the upstream, and not been answered.
    fn asked(&self) -> Vec<&'static str> {
        self.0.lock().unwrap().iter().map(|(name, _)| *name).collect()
    }

    /// Answers the call that came first.
    fn answer(&self, answer: Result<Response<Stream>, io::Error>) {
        let (_, sender) = self.0.lock().unwrap().remove(0);
        // Whoever asked may be gone.
        let _ = sender.send(answer);
    }
}

impl Service<Request> for Upstream {
    type Response = Response<Stream>;
    type Error = Error<io::Error>;
    type Future = Answering;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request) -> Answering {
        let (sender, answer) = tokio::sync::oneshot::channel();
        self.0.lock().unwrap().push((request.into_inner(), sender));
        Box::pin(async move { answer.await.expect("the test answers").map_err(Error::Upstream) })
    }
}

/// A body that the test sends piece by piece, or that is empty.
#[derive(Debug)]
struct Stream {
    pieces: mpsc::UnboundedReceiver<Result<&'static str, ()>>,
    /// Whether the head said that there is no body.
    empty: bool,
}

type Pieces = mpsc::UnboundedSender<Result<&'static str, ()>>;

impl Body for Stream {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        self.pieces.poll_recv(cx).map(|piece| match piece? {
            Ok(data) => Some(Ok(Frame::data(Bytes::from_static(data.as_bytes())))),
            Err(()) => Some(Err(io::ErrorKind::UnexpectedEof.into())),
        })
    }

    fn is_end_stream(&self) -> bool {
        self.empty
    }
}

fn streaming() -> (Pieces, Response<Stream>) {
    let (sender, pieces) = mpsc::unbounded_channel();
    (sender, Response::new(Stream { pieces, empty: false }))
}

fn empty() -> Response<Stream> {
    Response::new(Stream { pieces: mpsc::unbounded_channel().1, empty: true })
}

// ===== Helpers =====

type Guarded = Bulkhead<Upstream>;

struct Rig {
    compartment: Compartment,
    upstream: Upstream,
    service: Guarded,
}

/// A call that has been made and polled once.
type Begun = task::Spawn<<Guarded as Service<Request>>::Future>;

impl Rig {
    fn new(builder: CompartmentBuilder) -> Self {
        let compartment = builder.build().unwrap();
        let upstream = Upstream::default();
        let service = BulkheadLayer::new(compartment.clone()).layer(upstream.clone());
        Self { compartment, upstream, service }
    }

    /// One call at a time, and ten in the queue for up to ten seconds.
    fn one() -> Self {
        Self::new(one())
    }

    fn begin(&self, request: impl Into<Request>) -> Begun {
        let mut call = task::spawn(self.service.clone().call(request.into()));
        assert_pending!(call.poll());
        call
    }

    fn begin_all<const N: usize>(&self, names: [&'static str; N]) -> [Begun; N] {
        names.map(|name| self.begin(name))
    }

    /// A call that is refused at once.
    fn refused(&self, request: impl Into<Request>) -> Error<io::Error> {
        assert_ready_err!(task::spawn(self.service.clone().call(request.into())).poll())
    }

    /// In flight, waiting, refused.
    fn figures(&self) -> (usize, usize, u64) {
        (self.compartment.in_flight(), self.compartment.waiting(), self.compartment.refused())
    }
}

fn one() -> CompartmentBuilder {
    Compartment::builder().max_concurrent(1).max_waiting(10).max_wait(10 * SECOND)
}

/// Calls a service that is always ready.
trait CallOnce<Req>: Service<Req> + Sized {
    fn call_once(mut self, request: Req) -> Self::Future {
        self.call(request)
    }
}

impl<S: Service<Req>, Req> CallOnce<Req> for S {}

type HttpRequest = http::Request<()>;
type Answered = Result<Response<Full<Bytes>>, Error<io::Error>>;

fn resendable() -> HttpRequest {
    let mut request = http::Request::new(());
    request.extensions_mut().insert(steadfast::Options::new().resend(Resend::Always));
    request
}

/// Everything deserves another attempt.
fn faulty<B>(_: Result<&Response<B>, &Error<io::Error>>) -> steadfast::Outcome {
    steadfast::Outcome::transient()
}

// ===== Refusing =====

#[tokio::test(start_paused = true)]
async fn without_a_queue_a_full_bulkhead_refuses_at_once() {
    // Mistakes 26 and 27.
    let rig = Rig::new(Compartment::builder().max_concurrent(2).max_waiting(0));
    let _holders = rig.begin_all(["a", "b"]);
    let before = Instant::now();
    let error = rig.refused("c");
    assert!(matches!(error, Error::BulkheadFull { max_concurrent: 2 }));
    assert_eq!(Instant::now(), before);
    assert_eq!(rig.upstream.asked(), ["a", "b"]);
}

#[tokio::test(start_paused = true)]
async fn full_is_not_a_timeout() {
    // Mistake 26.
    let rig = Rig::one();
    let _holder = rig.begin("a");
    let mut waiter = rig.begin("b");
    advance(10 * SECOND).await;
    let error = assert_ready_err!(waiter.poll());
    assert!(error.is_bulkhead_full() && error.is_refusal() && !error.is_timeout());
}

#[tokio::test(start_paused = true)]
async fn a_wait_of_zero_refuses_at_once() {
    let rig = Rig::new(one().max_wait(Duration::ZERO));
    let _holder = rig.begin("a");
    assert!(rig.refused("b").is_bulkhead_full());
    assert_eq!(rig.figures(), (1, 0, 1));
}

#[tokio::test(start_paused = true)]
async fn the_queue_is_bounded() {
    // Mistake 27.
    let rig = Rig::new(one().max_waiting(3));
    let _holder = rig.begin("a");
    let _queue = rig.begin_all(["b", "c", "d"]);
    assert!(rig.refused("e").is_bulkhead_full());
    assert_eq!(rig.figures(), (1, 3, 1));
}

#[tokio::test(start_paused = true)]
async fn the_wait_is_bounded() {
    // Mistake 27.
    let rig = Rig::one();
    let _holder = rig.begin("a");
    let mut waiter = rig.begin("b");
    advance(9999 * MS).await;
    assert_pending!(waiter.poll());
    advance(MS).await;
    assert!(assert_ready_err!(waiter.poll()).is_bulkhead_full());
    assert_eq!(rig.figures(), (1, 0, 1));
}

#[tokio::test(start_paused = true)]
async fn by_default_nobody_waits_for_ever() {
    // Mistake 27.
    let rig = Rig::new(Compartment::builder());
    let _holders: Vec<_> = (0..128).map(|_| rig.begin("holder")).collect();
    let mut waiters: Vec<_> = (0..128).map(|_| rig.begin("waiter")).collect();
    for _ in 0..10_000 {
        assert!(rig.refused("too many").is_bulkhead_full());
    }
    advance(SECOND).await;
    for waiter in &mut waiters {
        assert!(assert_ready_err!(waiter.poll()).is_bulkhead_full());
    }
    assert_eq!(rig.figures(), (128, 0, 10_128));
}

#[tokio::test(start_paused = true)]
async fn the_deadline_of_a_call_bounds_its_wait() {
    let rig = Rig::one();
    let _holder = rig.begin("a");
    let mut hurried = rig.begin(Call::new("b").deadline(Instant::now() + SECOND));
    let mut patient = rig.begin(Call::new("c").deadline(Instant::now() + 100 * SECOND));
    advance(SECOND).await;
    assert!(assert_ready_err!(hurried.poll()).is_bulkhead_full());
    assert_pending!(patient.poll());
    advance(9 * SECOND).await;
    assert!(assert_ready_err!(patient.poll()).is_bulkhead_full(), "a deadline does not lengthen the wait");
}

#[tokio::test(start_paused = true)]
async fn a_call_whose_deadline_has_passed_does_not_wait() {
    let rig = Rig::one();
    let _holder = rig.begin("a");
    assert!(rig.refused(Call::new("b").deadline(Instant::now())).is_bulkhead_full());
}

#[tokio::test(start_paused = true)]
async fn a_total_timeout_above_bounds_the_wait() {
    let compartment = one().build().unwrap();
    let service = ServiceBuilder::new()
        .layer(TimeoutLayer::total(SECOND))
        .layer(BulkheadLayer::new(compartment.clone()))
        .service(Upstream::default());
    let mut holder = task::spawn(service.clone().call(Call::new("a").timeout(100 * SECOND)));
    assert_pending!(holder.poll());
    let before = Instant::now();
    assert!(service.oneshot(Call::new("b")).await.is_err());
    assert_eq!(before.elapsed(), SECOND);
    assert_eq!((compartment.in_flight(), compartment.waiting()), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn a_retry_gives_up_at_once_when_the_bulkhead_is_full() {
    let compartment = one().max_waiting(0).build().unwrap();
    let service = ServiceBuilder::new()
        .layer(RetryLayer::new(RetryPolicy::default()).without_budget().classifier(faulty))
        .layer(BulkheadLayer::new(compartment.clone()))
        .service(tower::service_fn(async |_: HttpRequest| std::future::pending::<Answered>().await));
    let mut holder = task::spawn(service.clone().call(resendable()));
    assert_pending!(holder.poll());
    let mut refused = task::spawn(service.clone().call(resendable()));
    assert!(assert_ready_err!(refused.poll()).is_bulkhead_full());
    assert_eq!(compartment.refused(), 1);
}

// ===== The queue =====

#[tokio::test(start_paused = true)]
async fn waiters_are_served_in_the_order_in_which_they_came() {
    let rig = Rig::one();
    let mut calls = rig.begin_all(["a", "b", "c", "d"]);
    for (index, name) in [(1, "b"), (2, "c"), (3, "d")] {
        rig.upstream.answer(Ok(empty()));
        drop(assert_ready_ok!(calls[index - 1].poll()));
        let waiting = &calls[index..];
        assert!(waiting[0].is_woken() && !waiting[1..].iter().any(task::Spawn::is_woken));
        assert_pending!(calls[index].poll());
        assert_eq!(rig.upstream.asked(), [name]);
    }
}

#[tokio::test(start_paused = true)]
async fn a_newcomer_does_not_overtake_the_queue() {
    let rig = Rig::one();
    let holder = rig.begin("a");
    let mut waiter = rig.begin("b");
    drop(holder);
    // The permit is the waiter's, although it has not been polled yet.
    let _newcomer = rig.begin("c");
    assert_pending!(waiter.poll());
    assert_eq!(rig.upstream.asked(), ["a", "b"]);
}

#[tokio::test(start_paused = true)]
async fn a_dropped_waiter_leaves_no_trace_and_its_turn_passes_on() {
    let rig = Rig::one();
    let holder = rig.begin("a");
    let [first, mut second] = rig.begin_all(["b", "c"]);
    drop(first);
    assert_eq!(rig.figures(), (1, 1, 0));
    drop(holder);
    assert!(second.is_woken());
    assert_pending!(second.poll());
    assert_eq!(rig.upstream.asked(), ["a", "c"]);
}

#[tokio::test(start_paused = true)]
async fn a_waiter_that_is_dropped_after_its_turn_has_come_passes_it_on() {
    let rig = Rig::one();
    let holder = rig.begin("a");
    let [first, mut second] = rig.begin_all(["b", "c"]);
    drop(holder);
    assert!(first.is_woken());
    drop(first);
    assert!(second.is_woken());
    assert_pending!(second.poll());
    assert_eq!(rig.upstream.asked(), ["a", "c"]);
    drop(second);
    assert_eq!(rig.figures(), (0, 0, 0));
    assert_pending!(rig.begin("d").poll());
}

#[tokio::test(start_paused = true)]
async fn a_waiter_whose_time_is_up_passes_its_turn_on() {
    let rig = Rig::one();
    let holder = rig.begin("a");
    let mut late = rig.begin(Call::new("b").deadline(Instant::now() + SECOND));
    let mut next = rig.begin("c");
    advance(SECOND).await;
    assert_ready_err!(late.poll());
    drop(holder);
    assert_pending!(next.poll());
    assert_eq!(rig.upstream.asked(), ["a", "c"]);
}

#[tokio::test(start_paused = true)]
async fn whoever_is_dropped_at_any_point_gives_back_what_it_held() {
    let rig = Rig::one();
    for _ in 0..100 {
        let never_polled = rig.service.clone().call(Call::new("a"));
        assert_eq!(rig.figures(), (1, 0, 0));
        let waits_unpolled = rig.service.clone().call(Call::new("b"));
        let waits = rig.begin("c");
        assert_eq!(rig.figures(), (1, 2, 0));
        drop((never_polled, waits_unpolled, waits));
        assert_eq!(rig.figures(), (0, 0, 0));
        let in_flight = rig.begin("d");
        drop(in_flight);
        assert_eq!(rig.figures(), (0, 0, 0));
    }
}

#[tokio::test(start_paused = true)]
async fn a_panic_of_the_service_below_gives_the_permit_back() {
    let compartment = one().build().unwrap();
    let service =
        BulkheadLayer::new(compartment.clone()).layer(tower::service_fn(async |request: Request| {
            assert!(request.into_inner() != "a", "a bug of someone else's");
            Ok::<_, Error<Infallible>>(Response::new(Full::<Bytes>::default()))
        }));
    assert!(tokio::spawn(service.oneshot(Call::new("a"))).await.unwrap_err().is_panic());
    assert_eq!(compartment.in_flight(), 0);
}

// ===== How long a permit is held =====

#[tokio::test(start_paused = true)]
async fn the_permit_is_held_while_the_body_is_read() {
    // Mistake 28.
    let rig = Rig::one();
    let mut call = rig.begin("a");
    let (pieces, response) = streaming();
    rig.upstream.answer(Ok(response));
    let mut body = assert_ready_ok!(call.poll()).into_body();
    drop(call);
    assert_eq!(rig.compartment.in_flight(), 1);
    let mut waiter = rig.begin("b");
    pieces.send(Ok("slowly")).unwrap();
    assert_eq!(body.frame().await.unwrap().unwrap().into_data().unwrap(), "slowly");
    assert_pending!(waiter.poll());
    drop(pieces);
    assert!(body.frame().await.is_none());
    assert_eq!(rig.compartment.in_flight(), 0, "the body object lives on");
    assert_pending!(waiter.poll());
    assert_eq!(rig.upstream.asked(), ["b"]);
}

#[tokio::test(start_paused = true)]
async fn the_permit_is_given_back_when_the_body_is_dropped() {
    // Mistake 28.
    let rig = Rig::one();
    let mut call = rig.begin("a");
    let (_pieces, response) = streaming();
    rig.upstream.answer(Ok(response));
    let response = assert_ready_ok!(call.poll());
    assert_eq!(rig.compartment.in_flight(), 1);
    drop(response);
    assert_eq!(rig.compartment.in_flight(), 0);
}

#[tokio::test(start_paused = true)]
async fn the_last_frame_gives_the_permit_back_although_the_body_lives_on() {
    let compartment = one().build().unwrap();
    let service = BulkheadLayer::new(compartment.clone()).layer(tower::service_fn(async |_: Request| {
        Ok::<_, Error<Infallible>>(Response::new(Full::new(Bytes::from_static(b"whole"))))
    }));
    let mut body = service.oneshot(Call::new("a")).await.unwrap().into_body();
    assert_eq!(compartment.in_flight(), 1);
    body.frame().await.unwrap().unwrap();
    assert_eq!(compartment.in_flight(), 0);
    assert!(body.is_end_stream());
}

#[tokio::test(start_paused = true)]
async fn an_empty_body_gives_the_permit_back_at_once() {
    let rig = Rig::one();
    let mut call = rig.begin("a");
    rig.upstream.answer(Ok(empty()));
    let _response = assert_ready_ok!(call.poll());
    assert_eq!(rig.compartment.in_flight(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_body_that_breaks_gives_the_permit_back() {
    let rig = Rig::one();
    let mut call = rig.begin("a");
    let (pieces, response) = streaming();
    rig.upstream.answer(Ok(response));
    let mut body = assert_ready_ok!(call.poll()).into_body();
    pieces.send(Err(())).unwrap();
    assert!(body.frame().await.unwrap().is_err());
    assert_eq!(rig.compartment.in_flight(), 0);
}

#[tokio::test(start_paused = true)]
async fn an_error_gives_the_permit_back() {
    let rig = Rig::one();
    let mut call = rig.begin("a");
    rig.upstream.answer(Err(io::ErrorKind::ConnectionReset.into()));
    assert_ready_err!(call.poll());
    assert_eq!(rig.compartment.in_flight(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_plain_response_gives_the_permit_back() {
    let compartment = one().build().unwrap();
    let (inner, mut upstream) = mock::pair::<Request, &'static str>();
    let service = ServiceBuilder::new()
        .layer(BulkheadLayer::new(compartment.clone()).plain())
        .map_err(Error::Upstream)
        .service(inner);
    let mut call = task::spawn(service.oneshot(Call::new("a")));
    assert_pending!(call.poll());
    assert_eq!(compartment.in_flight(), 1);
    upstream.next_request().await.unwrap().1.send_response("plain");
    let _response = assert_ready_ok!(call.poll());
    assert_eq!(compartment.in_flight(), 0);
}

#[tokio::test(start_paused = true)]
async fn no_permit_is_held_while_a_retry_backs_off() {
    let compartment = one().max_waiting(0).build().unwrap();
    let policy = RetryPolicy::builder().backoff(Backoff::new()).seed(1).build().unwrap();
    let service = ServiceBuilder::new()
        .layer(RetryLayer::new(policy).without_budget().classifier(faulty))
        .layer(BulkheadLayer::new(compartment.clone()))
        .service_fn(async |_: HttpRequest| {
            // A body that never ends: only being thrown away can free its permit.
            let (pieces, response) = streaming();
            tokio::spawn(async move { pieces.closed().await });
            Ok::<_, Error<io::Error>>(response)
        });
    let mut call = task::spawn(service.call_once(resendable()));
    assert_pending!(call.poll());
    assert_eq!(compartment.in_flight(), 0);
}

// ===== Size =====

#[tokio::test(start_paused = true)]
async fn growing_wakes_those_who_wait() {
    let rig = Rig::one();
    let _holder = rig.begin("a");
    let mut queue = rig.begin_all(["b", "c", "d"]);
    rig.compartment.resize(3).unwrap();
    assert_eq!(queue.each_ref().map(task::Spawn::is_woken), [true, true, false]);
    for waiter in &mut queue {
        assert_pending!(waiter.poll());
    }
    assert_eq!(rig.upstream.asked(), ["a", "b", "c"]);
    assert_eq!(rig.figures(), (3, 1, 0));
}

#[tokio::test(start_paused = true)]
async fn shrinking_lets_those_in_flight_finish_and_is_reached_as_they_do() {
    let rig = Rig::new(one().max_concurrent(3).max_waiting(0));
    let [a, b, c] = rig.begin_all(["a", "b", "c"]);
    rig.compartment.resize(1).unwrap();
    assert_eq!(rig.compartment.in_flight(), 3);
    assert!(matches!(rig.refused("d"), Error::BulkheadFull { max_concurrent: 1 }));
    drop(a);
    assert!(rig.refused("d").is_bulkhead_full());
    drop(b);
    assert!(rig.refused("d").is_bulkhead_full());
    drop(c);
    let _next = rig.begin("d");
    assert!(rig.refused("e").is_bulkhead_full());
}

#[tokio::test(start_paused = true)]
async fn shrinking_keeps_the_queue_waiting_until_the_size_is_reached() {
    let rig = Rig::new(one().max_concurrent(2));
    let [a, b] = rig.begin_all(["a", "b"]);
    let mut waiter = rig.begin("c");
    rig.compartment.resize(1).unwrap();
    drop(a);
    assert_pending!(waiter.poll());
    assert_eq!(rig.upstream.asked(), ["a", "b"]);
    drop(b);
    assert_pending!(waiter.poll());
    assert_eq!(rig.upstream.asked(), ["a", "b", "c"]);
}

#[tokio::test(start_paused = true)]
async fn a_turn_that_a_dropped_waiter_gives_back_goes_to_the_smaller_size_first() {
    let rig = Rig::new(one().max_concurrent(2));
    let [_a, b] = rig.begin_all(["a", "b"]);
    let waiter = rig.begin("c");
    drop(b);
    assert!(waiter.is_woken());
    rig.compartment.resize(1).unwrap();
    drop(waiter);
    let _newcomer = rig.begin("d");
    assert_eq!(rig.upstream.asked(), ["a", "b"], "one at a time, and that is a");
}

#[tokio::test(start_paused = true)]
async fn a_size_that_goes_down_and_up_again_is_neither_lost_nor_doubled() {
    let rig = Rig::new(one().max_concurrent(5).max_waiting(0));
    let held = rig.begin_all(["a", "b", "c", "d"]);
    for size in [1, 5, 2, 3, 1, 4, 2] {
        rig.compartment.resize(size).unwrap();
    }
    drop(held);
    let _two = rig.begin_all(["e", "f"]);
    assert!(rig.refused("g").is_bulkhead_full());
}

#[tokio::test(start_paused = true)]
async fn a_size_of_zero_is_refused_and_changes_nothing() {
    let rig = Rig::one();
    let error = rig.compartment.resize(0).unwrap_err();
    assert_eq!((error.field(), error.value()), ("bulkhead.max_concurrent", "0"));
    let _holder = rig.begin("a");
    assert_eq!(rig.compartment.max_concurrent(), 1);
}

/// Counts those that are in flight, dropped ones as well.
struct InFlight(Arc<AtomicUsize>);

impl InFlight {
    fn new(count: Arc<AtomicUsize>) -> Self {
        count.fetch_add(1, Ordering::SeqCst);
        Self(count)
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn no_permit_is_lost_or_made_when_calls_and_sizes_race() {
    let compartment = Compartment::builder().max_concurrent(4).max_waiting(8).build().unwrap();
    let (now, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let service = BulkheadLayer::new(compartment.clone()).layer(tower::service_fn({
        let (now, most) = (Arc::clone(&now), Arc::clone(&most));
        move |_: HttpRequest| {
            let (now, most) = (Arc::clone(&now), Arc::clone(&most));
            async move {
                let now = InFlight::new(now);
                most.fetch_max(now.0.load(Ordering::SeqCst), Ordering::SeqCst);
                tokio::task::yield_now().await;
                drop(now);
                Ok::<_, Error<Infallible>>(Response::new(Full::<Bytes>::default()))
            }
        }
    }));
    let tasks: Vec<_> = (0..8)
        .map(|number| {
            let (service, compartment) = (service.clone(), compartment.clone());
            tokio::spawn(async move {
                for round in 0..500 {
                    // Some are dropped in the queue or in flight.
                    let call = service.clone().oneshot(HttpRequest::new(()));
                    if round % 3 == 0 {
                        tokio::select! {
                            biased;
                            _ = call => {}
                            () = std::future::ready(()) => {}
                        }
                    } else {
                        let _ = call.await;
                    }
                    if round % 50 == number {
                        compartment.resize(1 + (round + number) % 6).unwrap();
                    }
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    assert_eq!((compartment.in_flight(), compartment.waiting()), (0, 0));
    compartment.resize(3).unwrap();
    let held: Vec<_> = (0..3).map(|_| service.clone().call_once(HttpRequest::new(()))).collect();
    assert_eq!((compartment.in_flight(), compartment.waiting()), (3, 0));
    let _fourth = service.clone().call_once(HttpRequest::new(()));
    assert_eq!((compartment.in_flight(), compartment.waiting()), (3, 1));
    drop(held);
    assert!(most.load(Ordering::SeqCst) <= 6, "more than the largest size at a time");
}

// ===== Sharing, figures =====

#[tokio::test(start_paused = true)]
async fn a_layer_that_is_applied_twice_shares_its_compartment() {
    // Mistake 8.
    let compartment = one().max_waiting(0).build().unwrap();
    let layer = BulkheadLayer::new(compartment.clone());
    let (one, two) = (layer.layer(Upstream::default()), layer.clone().layer(Upstream::default()));
    let _holder = one.call_once(Call::new("a"));
    assert!(two.oneshot(Call::new("b")).await.unwrap_err().is_bulkhead_full());
}

#[tokio::test(start_paused = true)]
async fn a_fresh_compartment_shares_only_the_configuration() {
    let rig = Rig::new(one().max_waiting(0));
    let _holder = rig.begin("a");
    let fresh = rig.compartment.fresh();
    assert_eq!((fresh.max_concurrent(), fresh.in_flight()), (1, 0));
    let service = BulkheadLayer::new(fresh).layer(Upstream::default());
    let _other = service.clone().call_once(Call::new("b"));
    assert!(service.oneshot(Call::new("c")).await.unwrap_err().is_bulkhead_full());
}

#[tokio::test(start_paused = true)]
async fn the_figures_say_who_is_where() {
    let rig = Rig::new(one().max_concurrent(2).max_waiting(1));
    assert_eq!(rig.figures(), (0, 0, 0));
    let [mut a, _b] = rig.begin_all(["a", "b"]);
    assert_eq!(rig.figures(), (2, 0, 0));
    let mut waiter = rig.begin("c");
    assert_eq!(rig.figures(), (2, 1, 0));
    rig.refused("d");
    assert_eq!(rig.figures(), (2, 1, 1));
    rig.upstream.answer(Ok(empty()));
    drop(assert_ready_ok!(a.poll()));
    assert_pending!(waiter.poll());
    assert_eq!(rig.figures(), (2, 0, 1));
}

// ===== Readiness =====

#[tokio::test(start_paused = true)]
async fn a_thousand_clones_that_are_ready_and_never_called_hold_nothing() {
    // Mistake 29.
    let rig = Rig::one();
    let mut idle: Vec<_> = (0..1000).map(|_| rig.service.clone()).collect();
    for service in &mut idle {
        service.ready().await.unwrap();
    }
    assert_eq!(rig.figures(), (0, 0, 0));
    let _call = rig.begin("a");
    assert_eq!(rig.upstream.asked(), ["a"]);
}

#[tokio::test(start_paused = true)]
async fn a_parked_clone_does_not_absorb_the_next_permit() {
    // Mistake 29.
    let rig = Rig::one();
    let holder = rig.begin("a");
    let mut parked = rig.service.clone();
    parked.ready().await.unwrap();
    drop(holder);
    let _next = rig.begin("b");
    assert_eq!(rig.upstream.asked(), ["a", "b"]);
}

/// A service of which each clone has a number, counts how often it was polled ready, and wants to be before a call.
#[derive(Debug)]
struct Numbered {
    number: usize,
    next: Arc<AtomicUsize>,
    polled: usize,
    /// The number of each that was called, and how often it had been polled ready since its last call.
    called: Arc<Mutex<Vec<(usize, usize)>>>,
}

impl Numbered {
    fn new() -> Self {
        Self { number: 0, next: Arc::new(AtomicUsize::new(1)), polled: 0, called: Arc::default() }
    }
}

impl Clone for Numbered {
    fn clone(&self) -> Self {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        Self { number, next: Arc::clone(&self.next), polled: 0, called: Arc::clone(&self.called) }
    }
}

impl Service<Request> for Numbered {
    type Response = Response<Full<Bytes>>;
    type Error = Error<Infallible>;
    type Future = std::future::Ready<Result<Self::Response, Self::Error>>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.polled += 1;
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _request: Request) -> Self::Future {
        self.called.lock().unwrap().push((self.number, self.polled));
        self.polled = 0;
        std::future::ready(Ok(Response::new(Full::new(Bytes::from_static(b"held")))))
    }
}

#[tokio::test(start_paused = true)]
async fn after_a_wait_the_service_that_was_polled_ready_is_the_one_that_is_called() {
    let compartment = one().build().unwrap();
    let inner = Numbered::new();
    let called = Arc::clone(&inner.called);
    let mut service = BulkheadLayer::new(compartment).layer(inner);
    let mut holder = task::spawn(service.ready().await.unwrap().call(Call::new("a")));
    let response = assert_ready_ok!(holder.poll());
    // Number 0 is polled ready, and waits in the queue; the service goes on with a clone.
    let mut waiter = task::spawn(service.ready().await.unwrap().call(Call::new("b")));
    assert_pending!(waiter.poll());
    let mut next = task::spawn(service.ready().await.unwrap().call(Call::new("c")));
    assert_pending!(next.poll());
    drop(response);
    drop(assert_ready_ok!(waiter.poll()));
    drop(assert_ready_ok!(next.poll()));
    assert_eq!(*called.lock().unwrap(), [(0, 1), (0, 1), (1, 1)]);
}

#[tokio::test(start_paused = true)]
async fn a_bulkhead_is_as_ready_as_what_is_below_it() {
    let (inner, mut upstream) = mock::pair::<Request, &'static str>();
    let service = ServiceBuilder::new()
        .layer(BulkheadLayer::new(one().build().unwrap()).plain())
        .map_err(Error::Upstream)
        .service(inner);
    let mut service = mock::Spawn::new(service);
    upstream.allow(0);
    assert_pending!(service.poll_ready());
    upstream.allow(1);
    assert_ready!(service.poll_ready()).unwrap();
    // The mock panics if it is called without having been polled ready.
    let mut call = task::spawn(service.call(Call::new("a")));
    assert_pending!(call.poll());
    upstream.next_request().await.unwrap().1.send_response("answer");
    assert_eq!(assert_ready_ok!(call.poll()), "answer");
}

#[tokio::test(start_paused = true)]
async fn no_task_is_spawned() {
    let rig = Rig::one();
    let _holder = rig.begin("a");
    let _waiter = rig.begin("b");
    advance(SECOND).await;
    assert_eq!(tokio::runtime::Handle::current().metrics().num_alive_tasks(), 0);
}

// ===== Configuration =====

#[test]
fn a_configuration_that_cannot_work_is_refused_when_it_is_built() {
    let error = Compartment::builder().max_concurrent(0).build().unwrap_err();
    assert_eq!(error.to_string(), "bulkhead.max_concurrent is 0: it must be between 1 and 1000000");
    let error = Compartment::builder().max_wait(Duration::MAX).build().unwrap_err();
    assert_eq!(error.field(), "bulkhead.max_wait");
}

#[tokio::test(start_paused = true)]
async fn the_extremes_that_are_allowed_work() {
    let year = Duration::from_secs(60 * 60 * 24 * 365);
    let largest = Compartment::builder().max_concurrent(1_000_000).max_waiting(1_000_000).max_wait(year);
    let rig = Rig::new(largest);
    rig.compartment.resize(1).unwrap();
    let holder = rig.begin("a");
    let mut waiter = rig.begin("b");
    drop(holder);
    assert_pending!(waiter.poll());
    assert_eq!(rig.upstream.asked(), ["a", "b"]);
}
