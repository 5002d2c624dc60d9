//! The bulkhead, tested through its public API.
//!
//! Known mistakes are listed in `docs/known_mistakes.md`.

mod permits;
mod queue;
mod service;

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
use steadfast::bulkhead::{Bulkhead, BulkheadBuilder, BulkheadLayer, BulkheadService};
use steadfast::deadline::DeadlineLayer;
use steadfast::retry::{Backoff, RetryLayer, RetryPolicy};
use steadfast::{Call, Error, ErrorInfo, ErrorKind, RetrySafety, classify};
use tokio::sync::mpsc;
use tokio::time::{Instant, advance};
use tokio_test::{assert_pending, assert_ready, assert_ready_err, assert_ready_ok, task};
use tower::{Layer, Service, ServiceBuilder, ServiceExt};
use tower_test::mock;

const SECOND: Duration = Duration::from_secs(1);
const MS: Duration = Duration::from_millis(1);

// ===== An upstream that the test controls =====

/// A request, which carries the name of the caller.
type Request = Call<&'static str>;

/// The sender of the answer to one request.
type Answer = tokio::sync::oneshot::Sender<Result<Response<Stream>, io::Error>>;

/// The requests that wait for an answer, in the order of arrival.
#[derive(Debug, Clone, Default)]
struct Upstream(Arc<Mutex<Vec<(&'static str, Answer)>>>);

type Answering = Pin<Box<dyn Future<Output = Result<Response<Stream>, Error<io::Error>>> + Send>>;

impl Upstream {
    /// Returns the names of the callers that wait for an answer.
    fn pending(&self) -> Vec<&'static str> {
        self.0.lock().unwrap().iter().map(|(name, _)| *name).collect()
    }

    /// Answers the oldest request.
    fn answer(&self, answer: Result<Response<Stream>, io::Error>) {
        let (_, sender) = self.0.lock().unwrap().remove(0);
        // The receiver is gone if the call was dropped.
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
        Box::pin(async move { answer.await.expect("the test answers").map_err(Error::from_upstream) })
    }
}

/// A body that the test sends piece by piece, or an empty body.
#[derive(Debug)]
struct Stream {
    pieces: mpsc::UnboundedReceiver<Result<&'static str, ()>>,
    /// True if the head states that the body is empty.
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

type Guarded = BulkheadService<Upstream>;

struct Rig {
    bulkhead: Bulkhead,
    upstream: Upstream,
    service: Guarded,
}

/// A call that has been made and polled once.
type Begun = task::Spawn<<Guarded as Service<Request>>::Future>;

impl Rig {
    fn new(builder: BulkheadBuilder) -> Self {
        let bulkhead = builder.build().unwrap();
        let upstream = Upstream::default();
        let service = BulkheadLayer::new(bulkhead.clone()).layer(upstream.clone());
        Self { bulkhead, upstream, service }
    }

    /// A bulkhead with one permit, and a queue of ten calls for up to ten seconds.
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

    /// Makes a call that is refused at once, and returns the error.
    fn refused(&self, request: impl Into<Request>) -> Error<io::Error> {
        assert_ready_err!(task::spawn(self.service.clone().call(request.into())).poll())
    }

    /// The numbers of calls in flight, waiting, and refused.
    fn figures(&self) -> (usize, usize, u64) {
        (self.bulkhead.in_flight(), self.bulkhead.waiting(), self.bulkhead.refused())
    }
}

fn one() -> BulkheadBuilder {
    Bulkhead::builder().max_concurrent(1).max_waiting(10).max_wait(10 * SECOND)
}

/// A call to a service that is always ready.
trait CallOnce<Req>: Service<Req> + Sized {
    fn call_once(mut self, request: Req) -> Self::Future {
        self.call(request)
    }
}

impl<S: Service<Req>, Req> CallOnce<Req> for S {}

type HttpRequest = http::Request<()>;
type Answered = Result<Response<Full<Bytes>>, Error<io::Error>>;

fn idempotent() -> HttpRequest {
    let mut request = http::Request::new(());
    request.extensions_mut().insert(steadfast::CallOptions::new().retry_safety(RetrySafety::Idempotent));
    request
}

/// Judges every result as transient.
fn faulty<B>(_: Result<&Response<B>, &ErrorInfo>) -> steadfast::Outcome {
    steadfast::Outcome::transient()
}
