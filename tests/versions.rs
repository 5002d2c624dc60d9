//! The client over HTTP/1.1 and over HTTP/2: the same answers, errors and requests.
#![cfg(feature = "reqwest")]

use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, StatusCode, Version};
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use reqwest::redirect::Policy;
use steadfast::circuit_breaker::{CircuitBreaker, State};
use steadfast::http::HttpClassifier;
use steadfast::last_known_good::LastKnownGood;
use steadfast::retry::{Backoff, RetryPolicy};
use steadfast::{
    BoxError, Client, ClientBuilder, Error, ErrorInfo, ErrorKind, Outcome, ResponseExt, StopReason,
    TimeoutScope,
};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

const VERSIONS: [Version; 2] = [Version::HTTP_11, Version::HTTP_2];

// ===== The server =====

/// The server's reaction to a request.
#[derive(Debug, Clone)]
enum Reply {
    Status(u16),
    Redirect(String),
    Body(&'static str),
    /// A body that breaks off before its stated length.
    BreakOff,
    Hang,
    /// Reads the request's body to its end, and then answers 200.
    ReadFirst,
}

/// A server that speaks HTTP/1.1 and HTTP/2. Gives the replies in turn and repeats the last one.
struct Server {
    address: SocketAddr,
    requests: Arc<AtomicUsize>,
    _tasks: JoinSet<()>,
}

impl Server {
    async fn new(replies: impl IntoIterator<Item = Reply>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let replies: Arc<[Reply]> = replies.into_iter().collect();
        let requests = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&requests);
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let (replies, requests) = (Arc::clone(&replies), Arc::clone(&counted));
                let service = hyper::service::service_fn(move |request| {
                    let number = requests.fetch_add(1, Ordering::Relaxed);
                    let reply = replies[number.min(replies.len() - 1)].clone();
                    answer(reply, request)
                });
                connections.spawn(async move {
                    let server = auto::Builder::new(TokioExecutor::new());
                    // The client judges how a connection ends.
                    let _ = server.serve_connection(TokioIo::new(stream), service).await;
                });
            }
        });
        Self { address, requests, _tasks: tasks }
    }

    fn origin(&self) -> String {
        format!("http://{}", self.address)
    }

    fn url(&self) -> String {
        format!("{}/v1/items/42?token=secret", self.origin())
    }

    fn requests(&self) -> usize {
        self.requests.load(Ordering::Relaxed)
    }
}

/// The URL of a port without a listener.
async fn absent() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    format!("http://{}/", listener.local_addr().unwrap())
}

async fn answer(reply: Reply, request: Request<Incoming>) -> Result<Response<Sent>, Infallible> {
    let mut response = Response::new(Sent::default());
    match reply {
        Reply::Status(status) => *response.status_mut() = StatusCode::from_u16(status).unwrap(),
        Reply::Redirect(to) => {
            *response.status_mut() = StatusCode::TEMPORARY_REDIRECT;
            response.headers_mut().insert("location", to.parse().unwrap());
        }
        Reply::Body(body) => {
            *response.body_mut() = Sent::new(body, body.len() as u64);
        }
        Reply::BreakOff => *response.body_mut() = Sent::new("half", 100),
        Reply::Hang => std::future::pending().await,
        Reply::ReadFirst => drop(request.into_body().collect().await),
    }
    Ok(response)
}

/// A body that may be shorter than its stated length. Fails only some polls later, once the data is on its way.
#[derive(Default)]
struct Sent {
    data: Option<Bytes>,
    missing: u64,
    polls: u32,
}

impl Sent {
    fn new(data: &'static str, length: u64) -> Self {
        Self { data: Some(data.into()), missing: length, polls: 0 }
    }
}

impl Body for Sent {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        if let Some(data) = self.data.take() {
            self.missing -= data.len() as u64;
            return Poll::Ready(Some(Ok(Frame::data(data))));
        }
        if self.missing == 0 {
            return Poll::Ready(None);
        }
        self.polls += 1;
        if self.polls < 10 {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        Poll::Ready(Some(Err("it breaks off here".into())))
    }

    fn is_end_stream(&self) -> bool {
        self.missing == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.missing)
    }
}

// ===== The client =====

fn client(version: Version) -> ClientBuilder {
    Client::builder()
        .reqwest_builder(move || {
            let builder = reqwest::Client::builder();
            if version == Version::HTTP_2 { builder.http2_prior_knowledge() } else { builder }
        })
        .redirect(Policy::limited(5))
        .retry(RetryPolicy::builder().backoff(Backoff::new().base(Duration::from_millis(1))))
        .without_retry_budget()
}

#[tokio::test]
async fn a_503_is_retried_and_the_answer_says_how_often() {
    for version in VERSIONS {
        let server = Server::new([Reply::Status(503), Reply::Status(503), Reply::Body("good")]).await;
        let response = client(version).build().unwrap().get(server.url()).send().await.unwrap();
        assert_eq!((response.version(), response.attempts(), server.requests()), (version, 3, 3));
        assert_eq!(response.text().await.unwrap(), "good");
    }
}

#[tokio::test]
async fn a_503_to_the_end_is_the_answer_and_says_why_there_was_no_other() {
    for version in VERSIONS {
        let server = Server::new([Reply::Status(503)]).await;
        let client = client(version).build().unwrap();
        let response = client.get(server.url()).send().await.unwrap();
        assert_eq!((response.status().as_u16(), response.attempts()), (503, 4));
        assert_eq!(response.stop_reason(), Some(StopReason::Exhausted));
        let response = client.post(server.url()).body("pay").send().await.unwrap();
        assert_eq!((response.attempts(), response.stop_reason()), (1, Some(StopReason::NotIdempotent)));
    }
}

#[tokio::test]
async fn a_post_that_no_connection_came_about_for_is_retried() {
    for version in VERSIONS {
        let url = absent().await;
        let error = client(version).build().unwrap().post(&url).body("pay").send().await.unwrap_err();
        assert_eq!((error.attempts(), error.maybe_sent(), error.is_connect()), (4, false, true), "{error}");
        assert!(error.to_string().starts_with(&format!("{}: connection failed", url.trim_end_matches('/'))));
    }
}

#[tokio::test]
async fn a_post_that_was_redirected_is_sent_once_whatever_becomes_of_the_redirect() {
    for version in VERSIONS {
        for to in [absent().await, "ftp://127.0.0.1/".to_owned()] {
            let server = Server::new([Reply::Redirect(to)]).await;
            let eager = HttpClassifier::new().on_error(|_| Some(Outcome::transient()));
            let client = client(version).classifier(eager).build().unwrap();
            let error = client.post(server.url()).body("pay").send().await.unwrap_err();
            assert_eq!((error.attempts(), error.maybe_sent(), server.requests()), (1, true, 1), "{error}");
        }
    }
}

#[tokio::test]
async fn a_deadline_that_passes_names_the_upstream_and_the_attempts_and_no_secret() {
    for version in VERSIONS {
        let server = Server::new([Reply::Hang]).await;
        let client = client(version).total_timeout(Duration::from_millis(300)).without_attempt_timeout();
        let error = client.build().unwrap().get(server.url()).send().await.unwrap_err();
        assert_eq!(
            error.to_string(),
            format!("{}: deadline passed after 300 ms (1 attempt)", server.origin())
        );
        assert_eq!((error.stop_reason(), server.requests()), (Some(StopReason::Deadline), 1));
    }
}

#[tokio::test]
async fn an_open_circuit_refuses_without_a_request() {
    for version in VERSIONS {
        let server = Server::new([Reply::Body("good")]).await;
        let client = client(version).build().unwrap();
        client.upstream_at(server.url()).unwrap().circuit_breaker().unwrap().force_open();
        let error = client.get(server.url()).send().await.unwrap_err();
        assert_eq!(error.to_string(), format!("{}: circuit open (0 attempts)", server.origin()));
        assert_eq!((error.maybe_sent(), server.requests()), (false, 0));
    }
}

#[tokio::test]
async fn a_body_that_breaks_off_is_retried_and_then_answered_from_the_cache() {
    for version in VERSIONS {
        let server = Server::new([Reply::Body("good"), Reply::BreakOff]).await;
        let client = client(version).last_known_good(LastKnownGood::builder()).build().unwrap();
        assert_eq!(client.get(server.url()).send().await.unwrap().text().await.unwrap(), "good");
        let response = client.get(server.url()).send().await.unwrap();
        assert_eq!((response.stale().is_some(), response.attempts()), (true, 4));
        assert_eq!(response.text().await.unwrap(), "good");
        let response = client.get(server.url()).without_last_known_good().send().await.unwrap();
        assert_eq!((response.status().as_u16(), response.attempts(), server.requests()), (200, 4, 9));
        response.text().await.unwrap_err();
    }
}

/// The response body of one upstream can be the body of a request to another upstream.
#[tokio::test]
async fn an_error_of_a_request_body_is_not_taken_for_an_error_of_the_call() {
    for version in VERSIONS {
        let of_another =
            |kind| BoxError::from(Error::<Infallible>::new(kind).with_upstream("http://other.internal"));
        let causes = [
            of_another(ErrorKind::CircuitOpen { retry_after: None }),
            of_another(ErrorKind::Timeout { scope: TimeoutScope::Total, after: None }),
            reqwest::get(absent().await).await.unwrap_err().into(),
        ];
        for cause in causes {
            let server = Server::new([Reply::ReadFirst]).await;
            let circuit = CircuitBreaker::builder().consecutive_failures(1, Duration::ZERO);
            let client = client(version).circuit_breaker(circuit).build().unwrap();
            let body = reqwest::Body::wrap(Fails { begun: false, polls: 0, cause: Some(cause) });
            let error = client.post(server.url()).body(body).send().await.unwrap_err();
            assert!(error.to_string().starts_with(&server.origin()), "{error}");
            assert!(error.maybe_sent() && !error.is_refusal() && !error.is_timeout() && !error.is_connect());
            assert_eq!((error.attempts(), error.kind()), (1, ErrorKind::Upstream));
            assert_eq!(error.upstream(), Some(&*server.origin()));
            let upstream = client.upstream_at(server.url()).unwrap();
            assert_eq!(upstream.circuit_breaker().unwrap().state(), State::Closed);
        }
    }
}

/// A body that yields one piece, and fails a hundred polls later.
struct Fails {
    begun: bool,
    polls: u32,
    cause: Option<BoxError>,
}

impl Body for Fails {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        if !std::mem::replace(&mut self.begun, true) {
            return Poll::Ready(Some(Ok(Frame::data("begin".into()))));
        }
        self.polls += 1;
        if self.polls < 100 {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        Poll::Ready(self.cause.take().map(Err))
    }
}

#[tokio::test]
async fn the_classifier_sees_each_error_as_what_it_is() {
    for version in VERSIONS {
        let heard: Arc<Mutex<Vec<(bool, bool)>>> = Arc::default();
        let tell = Arc::clone(&heard);
        let classifier = HttpClassifier::new().on_error(move |error: &ErrorInfo| {
            tell.lock().unwrap().push((error.is_connect(), error.maybe_sent()));
            None
        });
        let client = client(version).classifier(classifier).build().unwrap();
        client.get(absent().await).send().await.unwrap_err();
        assert!(heard.lock().unwrap().iter().all(|it| *it == (true, false)));
        assert!(heard.lock().unwrap().len() >= 4);
    }
}
