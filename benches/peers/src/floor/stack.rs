//! retry(breaker(bulkhead)), and timeout(retry(breaker(bulkhead(timeout)))).

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http::Response;
use http_body::{Body, Frame};
use http_body_util::Full;
use pin_project::pin_project;
use tokio::time::{Instant, Sleep};
use tower::Service;

use super::{Error, Hold, State};
use crate::upstream::{Answer, Broken, HttpAnswer, HttpUpstream, Reply};

const RETRIES: u32 = 3;
const BACKOFF: Duration = Duration::from_millis(100);

#[derive(Clone)]
pub struct Stack {
    pub state: Arc<State>,
    pub upstream: HttpUpstream,
    /// The total and the attempt timeout. `None` for a stack without timeouts.
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
        let mut hold = Hold::new(&self.state);
        let copy = Some(request.clone());
        let step = match hold.enter().and_then(|()| hold.acquire()) {
            Ok(()) => Step::Attempt(self.upstream.call(request)),
            Err(refusal) => Step::Refused(Some(refusal)),
        };
        StackFuture {
            upstream: self.upstream,
            copy,
            retries: 0,
            deadline: begun.map(|(now, (total, _))| now + total),
            end: begun.map(|(now, (total, attempt))| now + total.min(attempt)),
            attempt_limit: self.limits.map(|(_, attempt)| attempt),
            step,
            timer: None,
            hold: Some(hold),
        }
    }
}

#[pin_project]
pub struct StackFuture<Req> {
    upstream: HttpUpstream,
    copy: Option<Req>,
    retries: u32,
    deadline: Option<Instant>,
    end: Option<Instant>,
    attempt_limit: Option<Duration>,
    step: Step,
    /// The only timer. It serves the wait between attempts, the attempt and the deadline.
    #[pin]
    timer: Option<Sleep>,
    hold: Option<Hold>,
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
        let hold = this.hold.as_mut().expect("polled before it is done");
        loop {
            let result = match this.step {
                Step::Refused(error) => return Poll::Ready(Err(error.take().unwrap_or(Error::CircuitOpen))),
                Step::Wait => {
                    if let Some(timer) = this.timer.as_mut().as_pin_mut() {
                        ready!(timer.poll(cx));
                    }
                    this.timer.set(None);
                    hold.enter().and_then(|()| hold.acquire())?;
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
                        // With timeouts, the start is computed from the end of the attempt, to save a clock reading.
                        hold.since.get_or_insert_with(|| match (*this.end, *this.attempt_limit) {
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
            hold.settle(failed);
            if !failed {
                hold.state.deposit();
            }
            let retry_at = || Instant::now() + BACKOFF * 2_u32.pow(*this.retries);
            let may_retry = transient && *this.retries < RETRIES && hold.state.withdraw();
            match may_retry.then(retry_at).filter(|at| this.deadline.is_none_or(|deadline| *at < deadline)) {
                None => {
                    let (hold, deadline) = (this.hold.take(), *this.deadline);
                    return Poll::Ready(result.map(|it| it.map(|body| HeldBody { body, hold, deadline })));
                }
                Some(retry_at) => {
                    hold.release();
                    *this.retries += 1;
                    this.timer.set(Some(tokio::time::sleep_until(retry_at)));
                    *this.step = Step::Wait;
                }
            }
        }
    }
}

/// A body that holds its permit until it has been read or dropped, and fails at the deadline.
pub struct HeldBody {
    body: Full<Bytes>,
    hold: Option<Hold>,
    deadline: Option<Instant>,
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
            self.hold = None;
        } else if self.deadline.is_some_and(|deadline| Instant::now() >= deadline) {
            return Poll::Ready(Some(Err(Error::Timeout)));
        }
        Poll::Ready(frame.map(Ok))
    }
}
