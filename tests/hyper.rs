//! The layers around hyper-util's own client, on loopback.
#![cfg(feature = "hyper")]

mod server;

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode};
use http_body::Frame;
use http_body_util::{BodyExt as _, Full, StreamBody};
use hyper_util::client::legacy::{self, connect::HttpConnector};
use hyper_util::rt::TokioExecutor;
use steadfast::buffer_body::BufferBodyLayer;
use steadfast::bulkhead::{Bulkhead, BulkheadLayer};
use steadfast::circuit_breaker::{CircuitBreaker, CircuitBreakerLayer, State};
use steadfast::deadline::DeadlineLayer;
use steadfast::http::{Fault, ReplayBodyLayer, TransportError};
use steadfast::last_known_good::{Cause, LastKnownGood, LastKnownGoodLayer, Stale};
use steadfast::retry::{Attempts, Backoff, RetryLayer, RetryPolicy};
use steadfast::timeout::TimeoutLayer;
use steadfast::{BoxError, CallOptions, Error, ErrorKind, TimeoutScope};
use tower::{Service, ServiceBuilder, ServiceExt as _};

use self::server::{Reply, Server, chunk, chunked_head};

const MINUTE: Duration = Duration::from_secs(60);
const SHORT: Duration = Duration::from_millis(80);

type Body = Full<Bytes>;
type Hyper = legacy::Client<HttpConnector, Body>;
type Failure = Error<legacy::Error>;

fn hyper() -> Hyper {
    legacy::Client::builder(TokioExecutor::new()).retry_canceled_requests(false).build_http()
}

/// Three immediate retries, without a budget.
fn retry() -> RetryLayer {
    let policy = RetryPolicy::builder().backoff(Backoff::new().base(Duration::ZERO)).build().unwrap();
    RetryLayer::new(policy).without_budget()
}

/// A stack of layers around hyper-util's client, with handles to the circuit and the bulkhead.
struct Stack {
    circuit: CircuitBreaker,
    bulkhead: Bulkhead,
    last_known_good: LastKnownGoodLayer,
    hyper: Hyper,
}

impl Stack {
    fn new() -> Self {
        let circuit = CircuitBreaker::builder().consecutive_failures(8, Duration::ZERO).build().unwrap();
        let last_known_good = LastKnownGoodLayer::new(LastKnownGood::default());
        Self { circuit, bulkhead: Bulkhead::default(), last_known_good, hyper: hyper() }
    }

    async fn ask(&self, request: Request<Body>) -> Result<Response<Bytes>, Failure> {
        let service = ServiceBuilder::new()
            .layer(self.last_known_good.clone())
            .layer(DeadlineLayer::new(MINUTE))
            .layer(retry().advised_by(self.circuit.clone()))
            .layer(CircuitBreakerLayer::new(self.circuit.clone()))
            .layer(BulkheadLayer::new(self.bulkhead.clone()))
            .layer(TimeoutLayer::new(MINUTE))
            .layer(BufferBodyLayer::new())
            .map_err(Error::from_upstream)
            .service(self.hyper.clone());
        let (parts, body) = service.oneshot(request).await?.into_parts();
        let body = body.collect().await.map_err(Error::from_body)?.to_bytes();
        Ok(Response::from_parts(parts, body))
    }

    fn failures(&self) -> u16 {
        self.circuit.snapshot().consecutive_failures
    }
}

fn request(method: Method, server: &Server) -> Request<Body> {
    Request::builder().method(method).uri(server.url("/")).body(Body::from("body")).unwrap()
}

fn get(server: &Server) -> Request<Body> {
    request(Method::GET, server).map(|_| Body::default())
}

fn attempts<B>(response: &Response<B>) -> u32 {
    response.extensions().get::<Attempts>().map_or(1, |attempts| attempts.made)
}

#[tokio::test]
async fn a_fault_is_retried() {
    for reply in [Reply::unavailable(), Reply::Reset, Reply::closed(), Reply::cut_short("go", 4)] {
        let server = Server::new([reply.clone(), Reply::ok("good")]);
        let response = Stack::new().ask(request(Method::PUT, &server)).await.unwrap();
        assert_eq!((response.status(), attempts(&response)), (StatusCode::OK, 2), "{reply:?}");
        assert_eq!(response.body(), "good");
        assert!(server.received().iter().all(|request| request.body() == "body"));
    }
}

#[tokio::test]
async fn a_post_is_sent_once_unless_it_may_be_sent_twice() {
    for reply in [Reply::unavailable(), Reply::Reset, Reply::closed()] {
        let server = Server::new([reply.clone()]);
        let _ = Stack::new().ask(request(Method::POST, &server)).await;
        assert_eq!(server.requests(), 1, "{reply:?}");

        let mut keyed = request(Method::POST, &server);
        keyed.headers_mut().insert("idempotency-key", HeaderValue::from_static("8e03978e"));
        let _ = Stack::new().ask(keyed).await;
        assert_eq!(server.requests(), 5, "{reply:?}");

        let mut allowed = request(Method::POST, &server);
        allowed.extensions_mut().insert(CallOptions::new().idempotent(true));
        let _ = Stack::new().ask(allowed).await;
        assert_eq!(server.requests(), 9, "{reply:?}");
    }
}

#[tokio::test]
async fn a_post_that_was_refused_is_sent_again() {
    let mut server = Server::absent();
    let stack = Stack::new();
    let error = stack.ask(request(Method::POST, &server)).await.unwrap_err();
    assert!(error.inner().is_some_and(legacy::Error::is_connect), "{error:?}");
    assert_eq!(stack.failures(), 4);

    server.replies([Reply::ok("good")]);
    let post = request(Method::POST, &server);
    // The first poll of the call fails to connect.
    let (response, ()) = tokio::join!(biased; stack.ask(post), async { server.listen() });
    assert_eq!((attempts(&response.unwrap()), server.requests()), (2, 1));
}

#[tokio::test]
async fn a_503_is_handed_on_when_the_retries_are_exhausted() {
    let server = Server::new([Reply::status(503, &[], "no")]);
    let response = Stack::new().ask(get(&server)).await.unwrap();
    assert_eq!((response.status(), attempts(&response)), (StatusCode::SERVICE_UNAVAILABLE, 4));
    assert_eq!((response.body().as_ref(), server.requests()), (&b"no"[..], 4));
}

#[tokio::test]
async fn the_last_good_answer_covers_an_outage_until_the_circuit_opens_and_after() {
    let mut server = Server::new([Reply::ok("good")]);
    let stack = Stack::new();
    assert_eq!(stack.ask(get(&server)).await.unwrap().body(), "good");
    server.stop().await;
    for cause in [Cause::Transport, Cause::Transport, Cause::CircuitOpen] {
        let response = stack.ask(get(&server)).await.unwrap();
        assert_eq!(response.extensions().get::<Stale>().map(|stale| stale.cause), Some(cause));
        assert_eq!(response.body(), "good");
    }
    assert_eq!((stack.circuit.state(), server.requests()), (State::Open, 1));
    assert_eq!(stack.bulkhead.in_flight(), 0);
}

#[tokio::test]
async fn an_attempt_that_hangs_is_cut() {
    let server = Server::new([Reply::never()]);
    let mut service =
        ServiceBuilder::new().layer(TimeoutLayer::new(SHORT)).map_err(Error::from_upstream).service(hyper());
    let error = service.ready().await.unwrap().call(get(&server)).await.unwrap_err();
    assert!(
        matches!(error.kind(), ErrorKind::Timeout { scope: TimeoutScope::Attempt, after: Some(SHORT) }),
        "{error:?}"
    );
}

#[tokio::test]
async fn a_deadline_in_the_extensions_bounds_the_call() {
    let server = Server::new([Reply::never()]);
    let mut request = get(&server);
    request.extensions_mut().insert(CallOptions::new().timeout(SHORT));
    let error = Stack::new().ask(request).await.unwrap_err();
    assert!(error.is_total_timeout(), "{error:?}");
    assert_eq!(server.requests(), 1);
}

#[tokio::test]
async fn a_streamed_body_that_breaks_counts_as_one_failure() {
    let server = Server::new([Reply::Close([chunked_head(200), chunk(b"one")].concat())]);
    let stack = Stack::new();
    let error = stack.ask(get(&server)).await.unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::Body), "{error:?}");
    assert_eq!((stack.failures(), server.requests()), (1, 1));
}

#[tokio::test]
async fn a_streaming_request_body_is_made_replayable_by_a_layer_of_its_own() {
    let server = Server::new([Reply::unavailable(), Reply::ok("good")]);
    let hyper = legacy::Client::builder(TokioExecutor::new()).build_http();
    let service = ServiceBuilder::new()
        .layer(ReplayBodyLayer::new(1024))
        .layer(retry())
        .map_err(Error::from_upstream)
        .service(hyper);
    let frames = ["some ", "pieces"].map(|piece| Ok::<_, BoxError>(Frame::data(Bytes::from(piece))));
    let body = StreamBody::new(futures_util::stream::iter(frames));
    let response = service.oneshot(Request::put(server.url("/")).body(body).unwrap()).await.unwrap();
    assert_eq!((response.status(), attempts(&response)), (StatusCode::OK, 2));
    assert!(server.received().iter().all(|request| request.body() == "some pieces"));
}

// ===== Faults of hyper's errors =====

#[tokio::test]
async fn every_error_of_hyper_utils_client_has_its_fault() {
    let error = async |request: Request<Body>| hyper().request(request).await.unwrap_err();
    assert_eq!(error(get(&Server::absent())).await.fault(), Fault::Connect);

    let nonsense = Reply::Answer(b"HTTP/1.1 nonsense\r\n\r\n".to_vec());
    for reply in [Reply::Reset, Reply::closed(), nonsense] {
        let server = Server::new([reply.clone()]);
        assert_eq!(error(get(&server)).await.fault(), Fault::Exchange, "{reply:?}");
    }

    let mut connect = get(&Server::absent());
    *connect.version_mut() = http::Version::HTTP_09;
    for request in [Request::get("/no/host").body(Body::default()).unwrap(), connect] {
        assert_eq!(error(request).await.fault(), Fault::Caller);
    }
}

#[tokio::test]
async fn a_request_body_that_fails_is_the_callers_fault() {
    let server = Server::new([Reply::ok("")]);
    let frames = [Ok(Frame::data(Bytes::from("one"))), Err(BoxError::from("the file is gone"))];
    let body = StreamBody::new(futures_util::stream::iter(frames));
    let hyper = legacy::Client::builder(TokioExecutor::new()).build_http();
    let error = hyper.request(Request::put(server.url("/")).body(body).unwrap()).await.unwrap_err();
    assert_eq!(error.fault(), Fault::Caller, "{error:?}");
}

#[tokio::test]
async fn a_response_body_that_breaks_is_a_fault_of_the_exchange() {
    let server = Server::new([Reply::cut_short("go", 4)]);
    let body = hyper().request(get(&server)).await.unwrap().into_body();
    let error: hyper::Error = body.collect().await.unwrap_err();
    assert_eq!(error.fault(), Fault::Exchange, "{error:?}");
}

/// Serves HTTP/2, and refuses the first stream of each connection without processing it. Returns the address.
#[cfg(feature = "http2")]
async fn refusing_server() -> std::net::SocketAddr {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut connection = h2::server::handshake(stream).await.unwrap();
                let mut is_first = true;
                while let Some(Ok((_, mut respond))) = connection.accept().await {
                    if std::mem::take(&mut is_first) {
                        respond.send_reset(h2::Reason::REFUSED_STREAM);
                    } else {
                        respond.send_response(Response::new(()), true).unwrap();
                    }
                }
            });
        }
    });
    address
}

#[cfg(feature = "http2")]
#[tokio::test]
async fn a_post_that_an_http2_server_has_not_processed_is_sent_again() {
    let address = refusing_server().await;
    let client = legacy::Client::builder(TokioExecutor::new()).http2_only(true).build_http();
    let circuit = CircuitBreaker::builder().consecutive_failures(1, Duration::ZERO).build().unwrap();
    let never = RetryPolicy::builder().max_retries(0).build().unwrap();
    let service = ServiceBuilder::new()
        .layer(ReplayBodyLayer::new(1024))
        .layer(RetryLayer::new(never))
        .layer(CircuitBreakerLayer::new(circuit.clone()))
        .map_err(Error::from_upstream)
        .service(client);
    let pieces = ["one", "two"].map(|piece| Ok::<_, BoxError>(Frame::data(Bytes::from(piece))));
    let body = StreamBody::new(futures_util::stream::iter(pieces));
    let request = Request::post(format!("http://{address}/")).body(body).unwrap();
    let response = service.oneshot(request).await.unwrap();
    assert_eq!((response.status(), attempts(&response)), (StatusCode::OK, 2));
    assert_eq!(circuit.state(), State::Closed);
}

/// An error of a user that hides the error of reqwest, but not its causes, as `#[error(transparent)]` does.
#[cfg(feature = "reqwest")]
#[derive(Debug)]
struct Transparent(reqwest::Error);

#[cfg(feature = "reqwest")]
impl std::fmt::Display for Transparent {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(feature = "reqwest")]
impl std::error::Error for Transparent {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.0.source()
    }
}

/// The error of hyper-util inside says that the last request was not sent, and cannot know of the redirect.
#[cfg(feature = "reqwest")]
#[tokio::test]
async fn a_redirected_post_is_sent_once_also_if_an_unknown_error_hides_the_redirect() {
    let hide: [fn(reqwest::Error) -> BoxError; 2] =
        [|error| Transparent(error).into(), |error| Box::new(error).into()];
    for hide in hide {
        let server = Server::new([Reply::status(307, &[("location", &Server::absent().url("/"))], "")]);
        let http = reqwest::Client::new();
        let service = ServiceBuilder::new().layer(retry()).map_err(Error::from_boxed).service_fn(
            move |request: Request<String>| {
                let request = reqwest::Request::try_from(request).unwrap();
                let answer = http.execute(request);
                async move { answer.await.map(Response::<reqwest::Body>::from).map_err(hide) }
            },
        );
        let post = Request::post(server.url("/pay")).body("pay".to_owned()).unwrap();
        let error = service.oneshot(post).await.unwrap_err();
        assert_eq!((server.requests(), error.maybe_sent()), (1, true), "{error:?}");
    }
}
