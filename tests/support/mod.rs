//! Test helpers: an upstream that answers from a script, and bodies that end in every way a body can.

// Each test file is a crate of its own, and uses only a part of these helpers.
#![allow(dead_code, unreachable_pub)]

use std::collections::VecDeque;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response};
use http_body::{Body, Frame, SizeHint};
use steadfast::Error;
use tokio::time::{Instant, Sleep};
use tower::{Service, ServiceExt};

pub const MS: Duration = Duration::from_millis(1);
pub const SECOND: Duration = Duration::from_secs(1);

pub fn get() -> Request<()> {
    Request::get("http://sku.internal/v1/items/42").body(()).unwrap()
}

pub fn post() -> Request<()> {
    Request::post("http://sku.internal/v1/items").body(()).unwrap()
}

/// Makes one call through a clone of the service.
pub async fn send<S, R>(service: &S, request: R) -> Result<S::Response, S::Error>
where
    S: Service<R> + Clone,
{
    service.clone().oneshot(request).await
}

// ===== Upstream =====

/// An upstream that gives scripted answers in turn and repeats the last one. Records each request and its time.
///
/// Panics if called without having been polled ready. A clone is not ready.
pub struct Upstream<R = Request<()>> {
    inner: Arc<Mutex<Inner<R>>>,
    ready: bool,
}

struct Inner<R> {
    answers: VecDeque<Answer>,
    seen: Vec<(Instant, R)>,
    began: Instant,
}

/// The answer to one request.
#[derive(Debug, Clone)]
pub struct Answer {
    after: Duration,
    headers: HeaderMap,
    body: Script,
    result: Result<u16, io::ErrorKind>,
}

/// An answer with this status, at once and without a body.
pub fn status(status: u16) -> Answer {
    Answer {
        after: Duration::ZERO,
        headers: HeaderMap::new(),
        body: Script::of(&[]).sized(),
        result: Ok(status),
    }
}

/// A transport fault.
pub fn fault(kind: io::ErrorKind) -> Answer {
    Answer { result: Err(kind), ..status(500) }
}

/// An answer that takes a billion seconds: a hang.
pub fn hang() -> Answer {
    status(200).after(Duration::from_secs(1_000_000_000))
}

impl Answer {
    pub fn after(mut self, after: Duration) -> Self {
        self.after = after;
        self
    }

    pub fn header(mut self, name: &'static str, value: &str) -> Self {
        self.headers.append(HeaderName::from_static(name), HeaderValue::from_str(value).unwrap());
        self
    }

    pub fn body(mut self, body: &Script) -> Self {
        self.body = body.clone();
        self
    }
}

impl<R> Upstream<R> {
    pub fn answering(answers: impl IntoIterator<Item = Answer>) -> Self {
        let inner = Inner { answers: answers.into_iter().collect(), seen: Vec::new(), began: Instant::now() };
        Self { inner: Arc::new(Mutex::new(inner)), ready: false }
    }

    /// The number of requests so far.
    pub fn count(&self) -> usize {
        self.inner.lock().unwrap().seen.len()
    }

    /// The time of each request since the upstream was created.
    pub fn times(&self) -> Vec<Duration> {
        let inner = self.inner.lock().unwrap();
        inner.seen.iter().map(|(at, _)| *at - inner.began).collect()
    }

    /// The time between each request and the previous request.
    pub fn waits(&self) -> Vec<Duration> {
        self.times().windows(2).map(|pair| pair[1].saturating_sub(pair[0])).collect()
    }

    /// Takes the requests out of the record.
    pub fn take_seen(&self) -> Vec<R> {
        self.inner.lock().unwrap().seen.drain(..).map(|(_, request)| request).collect()
    }
}

impl<R> Clone for Upstream<R> {
    fn clone(&self) -> Self {
        Self { inner: Arc::clone(&self.inner), ready: false }
    }
}

impl<R> Service<R> for Upstream<R> {
    type Response = Response<TestBody>;
    type Error = Error<io::Error>;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.ready = true;
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: R) -> Self::Future {
        assert!(std::mem::take(&mut self.ready), "called without having been polled ready");
        let mut inner = self.inner.lock().unwrap();
        inner.seen.push((Instant::now(), request));
        let answer = match inner.answers.len() {
            1 => inner.answers[0].clone(),
            _ => inner.answers.pop_front().expect("there is an answer"),
        };
        drop(inner);
        Box::pin(async move {
            if !answer.after.is_zero() {
                tokio::time::sleep(answer.after).await;
            }
            let status = answer.result.map_err(|kind| Error::from_upstream(kind.into()))?;
            let mut response = Response::new(answer.body.start());
            *response.status_mut() = status.try_into().unwrap();
            *response.headers_mut() = answer.headers;
            Ok(response)
        })
    }
}

// ===== TestBody =====

/// A step of a body that is being read.
#[derive(Debug, Clone)]
pub enum Step {
    /// Yields the data.
    Data(Bytes),
    /// Yields the data again and again, without end.
    Endless(Bytes),
    /// Yields trailers.
    Trailers(HeaderMap),
    /// Fails with a connection reset.
    Fail,
    /// Waits for this long.
    Wait(Duration),
    /// Yields nothing more and never ends.
    Stall,
}

/// The steps of a body. Counts the bytes read, ends and drops of all bodies started from the script.
#[derive(Debug, Clone)]
pub struct Script {
    steps: Vec<Step>,
    exact: Option<u64>,
    log: Arc<Log>,
}

#[derive(Debug, Default)]
struct Log {
    read: AtomicUsize,
    ended: AtomicBool,
    dropped: AtomicUsize,
}

impl Script {
    /// A body of these steps whose length is not stated.
    pub fn of(steps: &[Step]) -> Self {
        Self { steps: steps.to_vec(), exact: None, log: Arc::default() }
    }

    /// A body of these pieces whose length is not stated.
    pub fn pieces(pieces: &[&'static str]) -> Self {
        let data = |piece: &&'static str| Step::Data(Bytes::from_static(piece.as_bytes()));
        Self::of(&pieces.iter().map(data).collect::<Vec<_>>())
    }

    pub fn then(mut self, step: Step) -> Self {
        self.steps.push(step);
        self
    }

    /// States this length, right or wrong.
    pub fn stating(mut self, length: u64) -> Self {
        self.exact = Some(length);
        self
    }

    /// States the real length.
    pub fn sized(self) -> Self {
        let length = self.steps.iter().map(|step| match step {
            Step::Data(data) => data.len() as u64,
            _ => 0,
        });
        let length = length.sum();
        self.stating(length)
    }

    pub fn start(&self) -> TestBody {
        TestBody {
            steps: self.steps.clone().into(),
            left: self.exact,
            wait: None,
            log: Arc::clone(&self.log),
        }
    }

    /// The number of bytes read.
    pub fn read(&self) -> usize {
        self.log.read.load(Ordering::Relaxed)
    }

    /// True if a body was read to its end.
    pub fn ended(&self) -> bool {
        self.log.ended.load(Ordering::Relaxed)
    }

    /// The number of bodies dropped.
    pub fn dropped(&self) -> usize {
        self.log.dropped.load(Ordering::Relaxed)
    }
}

/// A body that follows a [`Script`].
#[derive(Debug)]
pub struct TestBody {
    steps: VecDeque<Step>,
    left: Option<u64>,
    wait: Option<Pin<Box<Sleep>>>,
    log: Arc<Log>,
}

impl Body for TestBody {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        loop {
            if let Some(wait) = &mut self.wait {
                std::task::ready!(wait.as_mut().poll(cx));
                self.wait = None;
            }
            let Some(step) = self.steps.pop_front() else {
                self.log.ended.store(true, Ordering::Relaxed);
                return Poll::Ready(None);
            };
            let frame = match step {
                Step::Data(data) => Frame::data(data),
                Step::Endless(data) => {
                    self.steps.push_front(Step::Endless(data.clone()));
                    Frame::data(data)
                }
                Step::Trailers(trailers) => Frame::trailers(trailers),
                Step::Fail => return Poll::Ready(Some(Err(io::ErrorKind::ConnectionReset.into()))),
                Step::Wait(time) => {
                    self.wait = Some(Box::pin(tokio::time::sleep(time)));
                    continue;
                }
                Step::Stall => {
                    self.steps.push_front(Step::Stall);
                    return Poll::Pending;
                }
            };
            let length = frame.data_ref().map_or(0, Bytes::len);
            self.log.read.fetch_add(length, Ordering::Relaxed);
            self.left = self.left.map(|left| left.saturating_sub(length as u64));
            return Poll::Ready(Some(Ok(frame)));
        }
    }

    fn is_end_stream(&self) -> bool {
        self.steps.is_empty() && self.left == Some(0)
    }

    fn size_hint(&self) -> SizeHint {
        self.left.map_or_else(SizeHint::new, SizeHint::with_exact)
    }
}

impl Drop for TestBody {
    fn drop(&mut self) {
        self.log.dropped.fetch_add(1, Ordering::Relaxed);
    }
}
