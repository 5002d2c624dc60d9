//! The last-known-good layer, through tower, in paused time.
//!
//! Known mistakes are listed in `docs/known_mistakes.md`.

mod bodies;
mod callers;
mod handle;
mod memory;
mod prefetch;
mod renewed;
mod served;
mod slow;
mod storage_rules;
mod store;
mod store_failures;

use std::collections::VecDeque;
use std::fmt::Debug;
use std::io;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body::{Body as _, Frame};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full, StreamBody};
use steadfast::last_known_good::{
    Cause, LastKnownGood, LastKnownGoodBuilder, LastKnownGoodLayer, LastKnownGoodService, ResponseBody, Stale,
};
use steadfast::{BoxError, CallOptions, Error, ErrorInfo, ErrorKind, TimeoutScope, classify};
use tokio::sync::mpsc;
use tokio::time::advance;
use tower::{Layer, Service, ServiceExt as _};

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);
const ALMOST_A_MINUTE: Duration = Duration::from_secs(59);
const URI: &str = "http://sku.internal/v1/items/42";

type Body = UnsyncBoxBody<Bytes, io::Error>;
type Answer = Result<Response<Body>, Error<io::Error>>;
type Layered = LastKnownGoodService<Upstream>;
type Given = Response<ResponseBody<Body>>;

/// An upstream that gives scripted answers in order, and refuses the connection when none is left.
#[derive(Debug, Clone, Default)]
struct Upstream(Arc<Mutex<VecDeque<Answer>>>);

impl Upstream {
    fn will(&self, answer: Response<Body>) {
        self.0.lock().unwrap().push_back(Ok(answer));
    }

    fn will_fail(&self, error: Error<io::Error>) {
        self.0.lock().unwrap().push_back(Err(error));
    }
}

impl Service<Request<String>> for Upstream {
    type Response = Response<Body>;
    type Error = Error<io::Error>;
    type Future = std::future::Ready<Answer>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _request: Request<String>) -> Self::Future {
        std::future::ready(self.0.lock().unwrap().pop_front().unwrap_or_else(refused))
    }
}

// ===== answers =====

fn refused() -> Answer {
    Err(Error::from_upstream(io::ErrorKind::ConnectionRefused.into()))
}

fn with(status: u16, headers: &[(&str, &str)], body: Body) -> Response<Body> {
    let head =
        headers.iter().fold(Response::builder().status(status), |it, (name, value)| it.header(*name, *value));
    head.body(body).unwrap()
}

fn answer(status: u16, headers: &[(&str, &str)], body: &'static str) -> Response<Body> {
    with(status, headers, full(body))
}

fn good(headers: &[(&str, &str)]) -> Response<Body> {
    answer(200, headers, "good")
}

fn full(body: impl Into<Bytes>) -> Body {
    Full::new(body.into()).map_err(|never| match never {}).boxed_unsync()
}

/// A body whose pieces come from the returned sender.
fn streamed() -> (mpsc::UnboundedSender<io::Result<&'static str>>, Body) {
    let (sender, mut receiver) = mpsc::unbounded_channel::<io::Result<&'static str>>();
    let frames = futures_util::stream::poll_fn(move |cx| {
        receiver.poll_recv(cx).map(|it| it.map(|it| it.map(|data| Frame::data(Bytes::from(data)))))
    });
    (sender, StreamBody::new(frames).boxed_unsync())
}

// ===== calls =====

fn layer() -> LastKnownGoodLayer {
    LastKnownGoodLayer::new(LastKnownGood::default())
}

fn layer_with(configure: impl FnOnce(LastKnownGoodBuilder) -> LastKnownGoodBuilder) -> LastKnownGoodLayer {
    LastKnownGoodLayer::new(configure(LastKnownGood::builder()).build().unwrap())
}

fn service(layer: &LastKnownGoodLayer) -> (Upstream, Layered) {
    let upstream = Upstream::default();
    (upstream.clone(), layer.layer(upstream))
}

fn request(method: &str, headers: &[(&str, &str)]) -> Request<String> {
    let head = Request::builder().method(method).uri(URI);
    headers.iter().fold(head, |it, (name, value)| it.header(*name, *value)).body(String::new()).unwrap()
}

fn get() -> Request<String> {
    request("GET", &[])
}

async fn ask(service: &Layered, request: Request<String>) -> Result<Given, Error<io::Error>> {
    service.clone().oneshot(request).await
}

async fn read(response: Given) -> Bytes {
    response.into_body().collect().await.unwrap().to_bytes()
}

/// Makes a call that the upstream answers with `answer`, and reads the whole body.
async fn give(service: &(Upstream, Layered), request: Request<String>, answer: Response<Body>) {
    service.0.will(answer);
    read(ask(&service.1, request).await.unwrap()).await;
}

/// The body of the stale response to `request` while the upstream is down. `None` if the call fails.
async fn stale(service: &(Upstream, Layered), request: Request<String>) -> Option<Bytes> {
    let response = ask(&service.1, request).await.ok()?;
    assert!(response.extensions().get::<Stale>().is_some());
    Some(read(response).await)
}
