//! The floor: what the semantics ask for, written by hand for one request and one answer, with no generality.
//!
//! Each is correct: a permit comes back when the body is dropped, results of an older generation say nothing, a circuit
//! that trips refuses, a failed attempt is retried within a budget and after a backoff. What only unhappy calls reach is
//! as short as it can be: a full bulkhead has no queue, an open circuit closes when its time is over, there is no jitter.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http::Response;
use http_body::{Body, Frame};
use http_body_util::Full;
use pin_project::pin_project;
use tokio::sync::Semaphore;
use tokio::time::{Instant, Sleep};
use tower::Service;

use crate::upstream::{Answer, Broken, Http, HttpAnswer, Plain, Reply};

#[derive(Debug)]
pub enum Error {
    Upstream(Broken),
    CircuitOpen,
    BulkheadFull,
    Timeout,
}

/// Everything that the calls to an upstream share, counted once a call.
#[derive(Debug)]
pub struct State {
    /// The generation; an odd one is open.
    gate: AtomicU64,
    /// When an open circuit closes, in milliseconds since the epoch.
    closes_at: AtomicU64,
    /// The generation and the failures in a row.
    consecutive: AtomicU64,
    /// Thousandths of a token.
    budget: AtomicU64,
    permits: Semaphore,
    epoch: Instant,
}

const TRIPS_AT: u64 = 10;
const RETRIES: u32 = 3;
const FULL: u64 = 10_000;
const BACKOFF: Duration = Duration::from_millis(100);
const HANG: Duration = Duration::from_secs(1);

impl State {
    pub fn new() -> Arc<Self> {
        Arc::new(Self {
            gate: AtomicU64::new(0),
            closes_at: AtomicU64::new(0),
            consecutive: AtomicU64::new(0),
            budget: AtomicU64::new(2000),
            permits: Semaphore::new(128),
            epoch: Instant::now(),
        })
    }

    pub fn is_closed(&self) -> bool {
        self.gate.load(Ordering::Acquire) % 2 == 0
    }

    pub fn free_permits(&self) -> usize {
        self.permits.available_permits()
    }

    fn millis(&self) -> u64 {
        u64::try_from(self.epoch.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// The generation that a call is admitted in.
    fn enter(&self) -> Result<u64, Error> {
        let gate = self.gate.load(Ordering::Acquire);
        if gate % 2 == 0 { Ok(gate) } else { self.enter_open(gate) }
    }

    #[cold]
    fn enter_open(&self, gate: u64) -> Result<u64, Error> {
        if self.millis() < self.closes_at.load(Ordering::Relaxed) {
            return Err(Error::CircuitOpen);
        }
        let _ = self.gate.compare_exchange(gate, gate + 1, Ordering::AcqRel, Ordering::Relaxed);
        Ok(gate + 1)
    }

    fn leave(&self, generation: u64, failed: bool) {
        if self.gate.load(Ordering::Acquire) != generation {
            return;
        }
        let word = self.consecutive.load(Ordering::Relaxed);
        if failed {
            self.failed(generation);
        } else if word & 0xffff > 0 && word >> 16 == generation {
            let _ = self.consecutive.compare_exchange(
                word,
                generation << 16,
                Ordering::Relaxed,
                Ordering::Relaxed,
            );
        }
    }

    #[cold]
    fn failed(&self, generation: u64) {
        let one_more = |word: u64| {
            let before = if word >> 16 == generation { word } else { generation << 16 };
            Some(before + 1)
        };
        let before =
            self.consecutive.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_more).unwrap_or(0);
        if before >> 16 == generation && before & 0xffff >= TRIPS_AT - 1 {
            self.closes_at.store(self.millis() + 1000, Ordering::Relaxed);
            let _ =
                self.gate.compare_exchange(generation, generation + 1, Ordering::AcqRel, Ordering::Relaxed);
        }
    }

    /// A full budget is only read.
    fn deposit(&self) {
        let mut tokens = self.budget.load(Ordering::Relaxed);
        while tokens < FULL {
            let next = (tokens + 600).min(FULL);
            match self.budget.compare_exchange_weak(tokens, next, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => return,
                Err(newer) => tokens = newer,
            }
        }
    }

    fn withdraw(&self) -> bool {
        let less = |tokens: u64| tokens.checked_sub(1300);
        self.budget.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less).is_ok()
    }

    fn acquire(&self) -> Result<(), Error> {
        self.permits.try_acquire().map(tokio::sync::SemaphorePermit::forget).map_err(|_| Error::BulkheadFull)
    }

    fn release(&self) {
        self.permits.add_permits(1);
    }
}

// ===== The breaker alone =====

#[derive(Clone)]
pub struct Breaker {
    pub state: Arc<State>,
    pub upstream: Plain,
}

impl<Req> Service<Req> for Breaker {
    type Response = u64;
    type Error = Error;
    type Future = BreakerFuture;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Req) -> BreakerFuture {
        let entered = self.state.enter();
        let answer = Service::<Req>::call(&mut self.upstream, request);
        BreakerFuture { state: Arc::clone(&self.state), answer, entered, since: None }
    }
}

pub struct BreakerFuture {
    state: Arc<State>,
    answer: Answer<u64, Broken>,
    /// The generation; settled once it is an error.
    entered: Result<u64, Error>,
    since: Option<Instant>,
}

impl Future for BreakerFuture {
    type Output = Result<u64, Error>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        let Ok(generation) = this.entered else { return Poll::Ready(Err(Error::CircuitOpen)) };
        let Poll::Ready(result) = Pin::new(&mut this.answer).poll(cx) else {
            this.since.get_or_insert_with(Instant::now);
            return Poll::Pending;
        };
        this.state.leave(generation, result.is_err());
        this.since = None;
        Poll::Ready(result.map_err(Error::Upstream))
    }
}

impl Drop for BreakerFuture {
    fn drop(&mut self) {
        if let (Ok(generation), Some(since)) = (&self.entered, self.since) {
            self.state.leave(*generation, since.elapsed() >= HANG);
        }
    }
}

// ===== The bulkhead alone =====

#[derive(Clone)]
pub struct Bulkhead {
    pub state: Arc<State>,
    pub upstream: Plain,
}

impl<Req> Service<Req> for Bulkhead {
    type Response = u64;
    type Error = Error;
    type Future = BulkheadFuture;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Req) -> BulkheadFuture {
        let permit = self.state.acquire().map(|()| Permit(Arc::clone(&self.state)));
        BulkheadFuture { permit, answer: Service::<Req>::call(&mut self.upstream, request) }
    }
}

pub struct BulkheadFuture {
    permit: Result<Permit, Error>,
    answer: Answer<u64, Broken>,
}

impl Future for BulkheadFuture {
    type Output = Result<u64, Error>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        if self.permit.is_err() {
            return Poll::Ready(Err(Error::BulkheadFull));
        }
        Pin::new(&mut self.answer).poll(cx).map_err(Error::Upstream)
    }
}

#[derive(Debug)]
pub struct Permit(Arc<State>);

impl Drop for Permit {
    fn drop(&mut self) {
        self.0.release();
    }
}

// ===== retry(breaker(bulkhead)), and timeout(retry(breaker(bulkhead(timeout)))) =====

#[derive(Clone)]
pub struct Stack {
    pub state: Arc<State>,
    pub upstream: Http,
    /// The total time and that of an attempt, if there are timeouts.
    pub limits: Option<(Duration, Duration)>,
}

impl<Req: Clone> Service<Req> for Stack {
    type Response = Response<HeldBody>;
    type Error = Error;
    type Future = StackFuture<Req>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Req) -> StackFuture<Req> {
        let begun = self.limits.map(|limits| (Instant::now(), limits));
        let deadline = begun.map(|(now, (total, _))| now + total);
        let mut attempt =
            Attempt { state: Arc::clone(&self.state), generation: 0, holds: false, since: None };
        let copy = Some(request.clone());
        let step = match attempt.begin() {
            Ok(()) => Step::Attempt(self.upstream.call(request)),
            Err(refusal) => Step::Refused(Some(refusal)),
        };
        StackFuture {
            upstream: self.upstream,
            copy,
            retries: 0,
            deadline,
            end: begun.map(|(now, (total, attempt))| now + total.min(attempt)),
            attempt_limit: self.limits.map(|(_, attempt)| attempt),
            step,
            timer: None,
            attempt: Some(attempt),
        }
    }
}

/// What an attempt holds, and owes.
struct Attempt {
    state: Arc<State>,
    generation: u64,
    /// Whether there is a permit to give back, and an outcome to tell.
    holds: bool,
    since: Option<Instant>,
}

impl Attempt {
    fn begin(&mut self) -> Result<(), Error> {
        self.generation = self.state.enter()?;
        self.state.acquire()?;
        self.holds = true;
        Ok(())
    }

    /// The attempt has ended; the permit is still held.
    fn settle(&mut self, failed: bool) {
        self.state.leave(self.generation, failed);
        self.since = None;
    }
}

impl Drop for Attempt {
    fn drop(&mut self) {
        if let Some(since) = self.since {
            self.state.leave(self.generation, since.elapsed() >= HANG);
        }
        if self.holds {
            self.state.release();
        }
    }
}

#[pin_project]
pub struct StackFuture<Req> {
    upstream: Http,
    copy: Option<Req>,
    retries: u32,
    deadline: Option<Instant>,
    end: Option<Instant>,
    attempt_limit: Option<Duration>,
    step: Step,
    /// One timer serves the wait, the attempt and the whole.
    #[pin]
    timer: Option<Sleep>,
    attempt: Option<Attempt>,
}

enum Step {
    Attempt(Answer<HttpAnswer, Broken>),
    Wait,
    Refused(Option<Error>),
}

impl<Req: Clone> Future for StackFuture<Req> {
    type Output = Result<Response<HeldBody>, Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        let attempt = this.attempt.as_mut().expect("polled before it is done");
        loop {
            let result = match this.step {
                Step::Refused(error) => return Poll::Ready(Err(error.take().unwrap_or(Error::CircuitOpen))),
                Step::Wait => {
                    if let Some(timer) = this.timer.as_mut().as_pin_mut() {
                        ready!(timer.poll(cx));
                    }
                    this.timer.set(None);
                    attempt.begin()?;
                    if let (Some(deadline), Some(limit)) = (*this.deadline, *this.attempt_limit) {
                        *this.end = Some(deadline.min(Instant::now() + limit));
                    }
                    let Some(request) = this.copy.take() else { return Poll::Ready(Err(Error::Timeout)) };
                    *this.copy = (*this.retries < RETRIES).then(|| request.clone());
                    *this.step = Step::Attempt(this.upstream.call(request));
                    continue;
                }
                Step::Attempt(answer) => match Pin::new(answer).poll(cx) {
                    Poll::Ready(result) => result.map_err(Error::Upstream),
                    Poll::Pending => {
                        // The clock was read when the call began, unless there are no timeouts.
                        attempt.since.get_or_insert_with(|| match (*this.end, *this.attempt_limit) {
                            (Some(end), Some(limit)) => end - limit,
                            _ => Instant::now(),
                        });
                        let Some(end) = *this.end else { return Poll::Pending };
                        if this.timer.is_none() {
                            this.timer.set(Some(tokio::time::sleep_until(end)));
                        }
                        let Some(timer) = this.timer.as_mut().as_pin_mut() else { return Poll::Pending };
                        ready!(timer.poll(cx));
                        Err(Error::Timeout)
                    }
                },
            };
            let (failed, transient) = match &result {
                Ok(response) => (response.status().is_server_error(), response.is_transient()),
                Err(_) => (true, true),
            };
            attempt.settle(failed);
            if !failed {
                attempt.state.deposit();
            }
            let until = || Instant::now() + BACKOFF * 2_u32.pow(*this.retries);
            let again = transient && *this.retries < RETRIES && attempt.state.withdraw();
            match again.then(until).filter(|until| this.deadline.is_none_or(|deadline| *until < deadline)) {
                None => {
                    let attempt = this.attempt.take();
                    return Poll::Ready(
                        result.map(|it| it.map(|body| HeldBody { body, attempt, until: *this.deadline })),
                    );
                }
                Some(until) => {
                    attempt.holds = false;
                    attempt.state.release();
                    *this.retries += 1;
                    this.timer.set(Some(tokio::time::sleep_until(until)));
                    *this.step = Step::Wait;
                }
            }
        }
    }
}

/// A body for which a permit is held until it has been read or dropped, and which is cut at the deadline.
pub struct HeldBody {
    body: Full<Bytes>,
    attempt: Option<Attempt>,
    until: Option<Instant>,
}

impl Body for HeldBody {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let Ok(frame) = ready!(Pin::new(&mut self.body).poll_frame(cx)).transpose();
        if self.body.is_end_stream() {
            self.attempt = None;
        } else if self.until.is_some_and(|until| Instant::now() >= until) {
            return Poll::Ready(Some(Err(Error::Timeout)));
        }
        Poll::Ready(frame.map(Ok))
    }
}
