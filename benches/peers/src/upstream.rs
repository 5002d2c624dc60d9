//! The requests, and the inner service that answers them.

use std::convert::Infallible;
use std::fmt;
use std::marker::PhantomData;
use std::pin::Pin;
use std::sync::LazyLock;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::header::{ACCEPT, USER_AGENT};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Uri};
use http_body_util::{Empty, Full};
use steadfast::http::{Fault, HttpRequest, TransportError};
use steadfast::{Call, HasCallOptions, RetrySafety, RetryableRequest};
use tower::Service;

// ===== Requests =====

/// A request that is `Copy`, so that the cases do not time the copying of requests.
#[derive(Debug, Clone, Copy)]
pub struct Get {
    pub host: &'static str,
}

/// The same request for every library, so that all libraries move equally many bytes.
pub fn get() -> Call<Get> {
    Call::new(Get { host: "sku.internal" })
}

impl HasCallOptions for Get {}

impl RetryableRequest for Get {
    fn retry_safety(&self) -> RetrySafety {
        RetrySafety::Idempotent
    }

    fn try_clone(&self) -> Option<Self> {
        Some(*self)
    }
}

impl HttpRequest for Get {
    fn method(&self) -> &Method {
        &Method::GET
    }

    fn headers(&self) -> &HeaderMap {
        static NONE: LazyLock<HeaderMap> = LazyLock::new(HeaderMap::new);
        &NONE
    }

    fn scheme(&self) -> &'static str {
        "http"
    }

    fn host(&self) -> &str {
        self.host
    }

    fn port(&self) -> Option<u16> {
        Some(80)
    }

    fn path(&self) -> &'static str {
        "/v1/items/42"
    }

    fn query(&self) -> Option<&str> {
        None
    }

    fn has_body(&self) -> bool {
        false
    }
}

/// A real request with two headers and no body.
pub type HttpCall = Call<Request<Empty<Bytes>>>;

pub fn http_get() -> HttpCall {
    let mut request = Request::new(Empty::new());
    *request.uri_mut() = Uri::from_static("http://sku.internal/v1/items/42");
    request.headers_mut().insert(ACCEPT, HeaderValue::from_static("application/json"));
    request.headers_mut().insert(USER_AGENT, HeaderValue::from_static("peers"));
    Call::new(request)
}

// ===== Answers =====

/// An answer of the inner service.
pub trait Reply: Send + 'static {
    fn reply(status: StatusCode) -> Self;

    fn status(&self) -> StatusCode;

    /// True if the answer should be retried.
    fn is_transient(&self) -> bool {
        matches!(self.status().as_u16(), 502..=504)
    }
}

/// An answer that is not HTTP.
impl Reply for u64 {
    fn reply(status: StatusCode) -> Self {
        status.as_u16().into()
    }

    fn status(&self) -> StatusCode {
        u16::try_from(*self).ok().and_then(|status| status.try_into().ok()).expect("made of a status")
    }
}

/// An answer whose body is not at its end, so that the bulkhead holds the permit until the body is dropped.
pub type HttpAnswer = Response<Full<Bytes>>;

impl Reply for HttpAnswer {
    fn reply(status: StatusCode) -> Self {
        let mut response = Response::new(Full::new(Bytes::from_static(b"an answer in one piece")));
        *response.status_mut() = status;
        response
    }

    fn status(&self) -> StatusCode {
        self.status()
    }
}

/// The inner service's error.
#[derive(Debug, Clone, Copy)]
pub struct Broken;

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the exchange broke off")
    }
}

impl std::error::Error for Broken {}

impl TransportError for Broken {
    fn fault(&self) -> Fault {
        Fault::Exchange
    }
}

impl From<Infallible> for Broken {
    fn from(never: Infallible) -> Self {
        match never {}
    }
}

/// An error type of the inner service.
pub trait Failure: Send + 'static {
    fn failure() -> Self;
}

impl Failure for Broken {
    fn failure() -> Self {
        Self
    }
}

impl Failure for steadfast::Error<Broken> {
    fn failure() -> Self {
        Self::from_upstream(Broken)
    }
}

// ===== The inner service =====

/// The behaviour of the inner service: its calls are ready at the first or at the second poll.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Inner {
    Ready,
    YieldsOnce,
}

pub const INNER: [Inner; 2] = [Inner::Ready, Inner::YieldsOnce];

impl fmt::Display for Inner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ready => "ready",
            Self::YieldsOnce => "yields once",
        })
    }
}

/// The inner service.
///
/// Its behaviour is set at run time, so that the compiler cannot remove the error paths of the layers above.
pub struct Upstream<R, E> {
    waits: bool,
    fails: bool,
    status: StatusCode,
    kind: PhantomData<fn() -> (R, E)>,
}

/// An inner service that answers with numbers.
pub type PlainUpstream<E = Broken> = Upstream<u64, E>;
/// An inner service that answers with HTTP responses.
pub type HttpUpstream<E = Broken> = Upstream<HttpAnswer, E>;
/// The error type of an inner service below steadfast's layers: an error of steadfast around [`Broken`].
pub type WrappedBroken = steadfast::Error<Broken>;

impl<R, E> Upstream<R, E> {
    pub fn new(inner: Inner) -> Self {
        let waits = inner == Inner::YieldsOnce;
        Self { waits, fails: false, status: StatusCode::OK, kind: PhantomData }
    }

    pub fn failing() -> Self {
        Self { fails: true, ..Self::new(Inner::Ready) }
    }

    fn answer(self) -> Answer<R, E> {
        let Self { waits, fails, status, kind } = self;
        Answer { waits, fails, status, kind }
    }
}

impl<R, E> Clone for Upstream<R, E> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<R, E> Copy for Upstream<R, E> {}

impl<R: Reply, E: Failure, Req> Service<Req> for Upstream<R, E> {
    type Response = R;
    type Error = E;
    type Future = Answer<R, E>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), E>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _request: Req) -> Answer<R, E> {
        self.answer()
    }
}

pub struct Answer<R, E> {
    waits: bool,
    fails: bool,
    status: StatusCode,
    kind: PhantomData<fn() -> (R, E)>,
}

impl<R: Reply, E: Failure> Future for Answer<R, E> {
    type Output = Result<R, E>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        if std::mem::take(&mut self.waits) {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        Poll::Ready(if self.fails { Err(E::failure()) } else { Ok(R::reply(self.status)) })
    }
}
