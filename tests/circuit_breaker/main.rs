//! The circuit breaker, tested through its public API.
//!
//! Known mistakes are listed in `docs/known_mistakes.md`.

mod by_hand;
mod counts;
mod cuts;
mod half_open;
mod pipeline;
mod queues;
mod trips;
mod verdicts;

use std::collections::VecDeque;
use std::convert::Infallible;
use std::future::pending;
use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt as _;
use http::{Response, StatusCode};
use http_body::{Body, Frame};
use http_body_util::{BodyExt, Full};
use steadfast::buffer_body::BufferBodyLayer;
use steadfast::bulkhead::{Bulkhead, BulkheadLayer, BulkheadService};
use steadfast::circuit_breaker::{
    CircuitBreaker, CircuitBreakerBuilder, CircuitBreakerLayer, CircuitBreakerService, State, Window,
};
use steadfast::deadline::DeadlineLayer;
use steadfast::http::HttpClassifier;
use steadfast::retry::{Backoff, RetryLayer, RetryPolicy};
use steadfast::timeout::TimeoutLayer;
use steadfast::{
    Call, CallOptions, Error, ErrorInfo, ErrorKind, HasCallOptions, Outcome, RetrySafety, RetryableRequest,
    TimeoutScope, classify,
};
use tokio::sync::oneshot;
use tokio::time::{Instant, advance};
use tokio_test::{assert_pending, assert_ready, task};
use tower::util::ServiceFn;
use tower::{Layer, Service, ServiceBuilder, ServiceExt};
use tower_test::mock;

const SECOND: Duration = Duration::from_secs(1);
const MS: Duration = Duration::from_millis(1);

// ===== A scripted upstream =====

/// A request that scripts the answer of the upstream.
#[derive(Debug)]
enum Ask {
    /// An immediate response with this status.
    Status(u16),
    /// A response with status 200 after this time.
    After(Duration),
    /// A connection reset.
    Reset,
    /// The given error.
    Fail(Error<io::Error>),
    /// No answer.
    Hang,
    /// A response whose status the test sends.
    Later(oneshot::Receiver<u16>),
    /// A response with status 200 and a body of these pieces. An empty piece never comes.
    Pieces(Vec<Result<&'static str, ()>>),
}

const GOOD: Ask = Ask::Status(200);
const BAD: Ask = Ask::Status(503);

impl HasCallOptions for Ask {}

type Answer = Result<Response<Pieces>, Error<io::Error>>;
type Answering = Pin<Box<dyn Future<Output = Answer> + Send>>;
type Upstream = ServiceFn<fn(Ask) -> Answering>;
type Guarded = CircuitBreakerService<Upstream>;

fn answer(ask: Ask) -> Answering {
    Box::pin(async move {
        match ask {
            Ask::Status(status) => Ok(status_of(status)),
            Ask::After(time) => {
                tokio::time::sleep(time).await;
                Ok(status_of(200))
            }
            Ask::Reset => Err(Error::from_upstream(io::ErrorKind::ConnectionReset.into())),
            Ask::Fail(error) => Err(error),
            Ask::Hang => pending().await,
            Ask::Later(status) => Ok(status_of(status.await.unwrap())),
            Ask::Pieces(pieces) => Ok(Response::new(Pieces(pieces.into()))),
        }
    })
}

fn upstream() -> Upstream {
    tower::service_fn(answer as fn(Ask) -> Answering)
}

fn status_of(status: u16) -> Response<Pieces> {
    Response::builder().status(status).body(Pieces::default()).unwrap()
}

/// A streamed body. Only a further poll shows that the body has ended.
#[derive(Debug, Default)]
struct Pieces(VecDeque<Result<&'static str, ()>>);

impl Body for Pieces {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        if self.0.front() == Some(&Ok("")) {
            return Poll::Pending;
        }
        Poll::Ready(self.0.pop_front().map(|piece| match piece {
            Ok(data) => Ok(Frame::data(Bytes::from_static(data.as_bytes()))),
            Err(()) => Err(io::ErrorKind::UnexpectedEof.into()),
        }))
    }
}

// ===== Helpers =====

/// A circuit that trips on the first failure, and then opens for at most a second.
fn brittle() -> CircuitBreakerBuilder {
    CircuitBreaker::builder().consecutive_failures(1, Duration::ZERO).seed(1)
}

/// A circuit that trips on the second failure in a row.
fn two_strikes() -> CircuitBreakerBuilder {
    CircuitBreaker::builder().consecutive_failures(2, Duration::ZERO)
}

fn build(builder: CircuitBreakerBuilder) -> (CircuitBreaker, Guarded) {
    let circuit = builder.build().unwrap();
    let service = CircuitBreakerLayer::new(circuit.clone()).layer(upstream());
    (circuit, service)
}

/// Makes a call and returns the status of the response.
async fn call(service: &Guarded, ask: Ask) -> Result<StatusCode, Error<io::Error>> {
    service.clone().oneshot(ask).await.map(|response| response.status())
}

async fn calls(service: &Guarded, number: usize, ask: fn() -> Ask) {
    for _ in 0..number {
        let _ = call(service, ask()).await;
    }
}

/// A call in flight.
type Begun = task::Spawn<<Guarded as Service<Ask>>::Future>;

/// Begins a call, which must be pending.
fn begin(service: &Guarded, ask: Ask) -> Begun {
    let mut call = task::spawn(service.clone().call(ask));
    assert_pending!(call.poll());
    call
}

/// Begins a call whose status the test sends.
fn begin_later(service: &Guarded) -> (oneshot::Sender<u16>, Begun) {
    let (answer, status) = oneshot::channel();
    (answer, begin(service, Ask::Later(status)))
}

/// Answers a call in flight, which must end.
fn finish((answer, mut call): (oneshot::Sender<u16>, Begun), status: u16) {
    answer.send(status).unwrap();
    assert_ready!(call.poll()).unwrap();
}

/// Advances the clock by the open time, and returns the open time.
async fn wait_out(circuit: &CircuitBreaker) -> Duration {
    assert_eq!(circuit.state(), State::Open);
    let wait = circuit.snapshot().retry_after.unwrap();
    advance(wait).await;
    wait
}

/// Trips a brittle circuit and waits out the open time. The next call is a probe.
async fn wait_for_probes(circuit: &CircuitBreaker, service: &Guarded) {
    calls(service, 1, || BAD).await;
    wait_out(circuit).await;
}

/// A circuit that trips only when half of the calls of ten seconds fail.
fn half_of_ten_seconds() -> CircuitBreakerBuilder {
    half_of_ten().window(Window::Time(10 * SECOND))
}

/// A circuit that trips only when half of the last ten calls fail.
fn half_of_ten() -> CircuitBreakerBuilder {
    CircuitBreaker::builder()
        .without_consecutive_failures()
        .window(Window::Calls(10))
        .failure_rate(0.5)
        .minimum_calls(10)
}

/// A circuit that trips only when half of the last ten calls took more than a second.
fn half_slow() -> CircuitBreakerBuilder {
    CircuitBreaker::builder()
        .without_consecutive_failures()
        .window(Window::Calls(10))
        .slow_calls(SECOND, 0.5)
        .minimum_calls(10)
}
