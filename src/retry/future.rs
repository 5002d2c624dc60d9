use std::fmt;
use std::marker::PhantomData;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use pin_project::pin_project;
use tokio::time::Instant;
use tower::Service;

use super::budget::{RetryBudget, Token};
use super::layer::Rules;
use super::policy::{Pause, TransientFault};
use crate::attempts::{Attempts, StopReason};
use crate::deadline::{self, Timer};
use crate::handle::Handle;
use crate::message::Discard;
use crate::poll::{Refusal, listen_refusing, listen_sent, say_attempts};
use crate::{Classify, Error, HasCallOptions, Outcome, RetrySafety, RetryableRequest, TimeoutScope};

/// The future of [`RetryService`](super::RetryService).
///
/// Cancel safe: dropped while it waits, it gives the token of the retry that was not sent back to the budget.
#[pin_project]
pub struct ResponseFuture<Req, S: Service<Req>, C, K, L> {
    service: S,
    rules: Handle<Rules>,
    classifier: C,
    /// What a further attempt would send, or why there will be none.
    copy: Result<Req, StopReason>,
    resend: RetrySafety,
    deadline: Option<Instant>,
    retries: u32,
    backoff: Duration,
    #[pin]
    state: State<S::Future, L>,
    kind: PhantomData<fn() -> K>,
}

#[pin_project(project = StateProj)]
enum State<F, L> {
    /// An attempt is under way.
    Attempt {
        #[pin]
        future: F,
    },
    /// Between two attempts. Boxed, so that a call without retries does not carry the room for it.
    Wait(Pin<Box<Wait<L>>>),
    /// The wait is over, and the service has to be ready for another request.
    Ready { token: Option<Token> },
}

/// The wait between two attempts; what is left of the last response is read meanwhile.
#[pin_project]
struct Wait<L> {
    #[pin]
    timer: Timer,
    #[pin]
    leftover: Option<L>,
    token: Option<Token>,
}

impl<L: Future<Output = ()>> Wait<L> {
    /// Ready with the token that the next attempt is paid for with.
    fn poll_over(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Token>> {
        let mut this = self.project();
        if let Some(reading) = this.leftover.as_mut().as_pin_mut() {
            if reading.poll(cx).is_ready() {
                this.leftover.set(None);
            }
        }
        this.timer.poll_elapsed(cx).map(|()| this.token.take())
    }
}

impl<Req, S, C, K, L> ResponseFuture<Req, S, C, K, L>
where
    Req: HasCallOptions + RetryableRequest,
    S: Service<Req>,
{
    #[inline]
    pub(super) fn new(mut service: S, rules: Handle<Rules>, classifier: C, request: Req) -> Self {
        if let Some(budget) = &rules.budget {
            budget.call();
        }
        let resend = request.retry_safety();
        Self {
            copy: copy_for(&request, resend, &rules, 0),
            resend,
            deadline: request.options().get_deadline(),
            retries: 0,
            backoff: Duration::ZERO,
            state: State::Attempt { future: service.call(request) },
            service,
            rules,
            classifier,
            kind: PhantomData,
        }
    }
}

/// A copy of `request`, but only while another attempt is possible after it.
#[inline]
fn copy_for<Req: RetryableRequest>(
    request: &Req,
    resend: RetrySafety,
    rules: &Rules,
    retries: u32,
) -> Result<Req, StopReason> {
    if !rules.policy.allows(retries) {
        Err(StopReason::Exhausted)
    } else if resend == RetrySafety::Never {
        Err(StopReason::NotIdempotent)
    } else if rules.budget.as_ref().is_some_and(RetryBudget::is_spent) {
        Err(StopReason::Budget)
    } else {
        request.try_clone().ok_or(StopReason::NotReplayable)
    }
}

impl<Req, S, C, K, Res, E> Future for ResponseFuture<Req, S, C, K, K::Leftover>
where
    Req: HasCallOptions + RetryableRequest,
    S: Service<Req, Response = Res, Error = Error<E>>,
    C: Classify<Res, E>,
    K: Discard<Res>,
{
    type Output = Result<Res, Error<E>>;

    #[inline]
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        loop {
            let this = self.as_mut().project();
            let StateProj::Attempt { future } = this.state.project() else {
                match ready!(self.as_mut().poll_pause(cx)) {
                    Ok(()) => continue,
                    Err(error) => return Poll::Ready(Err(error)),
                }
            };
            let (refusing, sent) = (listen_refusing(), listen_sent());
            let polled = future.poll(cx);
            let heard = Heard { refusing: refusing.heard(), sent: sent.heard() };
            let outcome = match &polled {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Err(error)) if error.is_refusal() || error.is_total_timeout() => None,
                Poll::Ready(result) => Some(this.classifier.classify(result.as_ref())),
            };
            if let (Some(Outcome::Success), 0) = (outcome, *this.retries) {
                this.rules.budget.iter().for_each(RetryBudget::success);
                // As it came: responses are large.
                return polled;
            }
            let result = ready!(polled);
            match self.as_mut().judge(result.as_ref().err(), outcome, heard) {
                Verdict::Done => return Poll::Ready(self.finish(result, None)),
                Verdict::GiveUp(stop) => return Poll::Ready(self.finish(result, Some(stop))),
                Verdict::Retry(pause) => self.as_mut().pause(result, pause),
            }
        }
    }
}

/// What the layers below said with the result of an attempt.
#[derive(Clone, Copy)]
struct Heard {
    /// There should be no other attempt.
    refusing: Option<Refusal>,
    /// Something was sent, whatever the result looks like.
    sent: bool,
}

impl Heard {
    /// Why no attempt should follow this pause.
    fn against(&self, pause: &Pause, rules: &Rules) -> Option<StopReason> {
        match self.refusing.filter(|_| !rules.across_circuits)? {
            Refusal::Until(Some(until)) if pause.until.is_none_or(|end| end >= until) => None,
            Refusal::Until(_) => Some(StopReason::CircuitOpen),
            // Who wants retries without a budget wants them all.
            Refusal::Advised => rules.budget.as_ref().map(|_| StopReason::Failing),
        }
    }
}

/// What follows an attempt.
enum Verdict {
    Done,
    GiveUp(StopReason),
    Retry(Pause),
}

impl<Req, S, C, K, Res, E> ResponseFuture<Req, S, C, K, K::Leftover>
where
    Req: HasCallOptions + RetryableRequest,
    S: Service<Req, Response = Res, Error = Error<E>>,
    C: Classify<Res, E>,
    K: Discard<Res>,
{
    /// What follows an attempt that ended in this way; without an outcome, it was ended on this side.
    #[cold]
    fn judge(
        self: Pin<&mut Self>,
        error: Option<&Error<E>>,
        outcome: Option<Outcome>,
        heard: Heard,
    ) -> Verdict {
        let this = self.project();
        let budget = this.rules.budget.as_ref();
        let Some(outcome) = outcome else {
            if let (Some(budget), true) = (budget, *this.retries > 0 && error.is_some_and(Error::is_refusal))
            {
                budget.refund();
            }
            return Verdict::GiveUp(match error {
                Some(Error::CircuitOpen { .. }) => StopReason::CircuitOpen,
                Some(Error::BulkheadFull { .. }) => StopReason::BulkheadFull,
                _ => StopReason::Deadline,
            });
        };
        match (budget, outcome) {
            (Some(budget), Outcome::Success) => budget.success(),
            (Some(budget), outcome) if outcome.is_fault() => budget.failure(),
            _ => {}
        }
        let Outcome::Transient { retry_after, sent } = outcome else { return Verdict::Done };
        let decision = this.rules.policy.decide(&TransientFault {
            now: Instant::now(),
            deadline: *this.deadline,
            retries: *this.retries,
            previous_backoff: *this.backoff,
            retry_after,
            sent: sent || heard.sent,
            resend: *this.resend,
            copied: this.copy.as_ref().map(|_| ()).map_err(|stop| *stop),
            budget,
        });
        let pause = match decision {
            Ok(pause) => pause,
            Err(stop) => return Verdict::GiveUp(stop),
        };
        // The answer that is there is worth more than a refusal.
        if let Some(stop) = heard.against(&pause, this.rules) {
            return Verdict::GiveUp(stop);
        }
        // From here on the earlier attempt can no longer spoil the copy. Its response is still there if it has.
        if this.copy.as_ref().is_ok_and(RetryableRequest::take_over) {
            Verdict::Retry(pause)
        } else {
            Verdict::GiveUp(StopReason::NotReplayable)
        }
    }

    /// Begins the wait, and the reading of what is left of the response that it follows.
    fn pause(self: Pin<&mut Self>, result: Result<Res, Error<E>>, pause: Pause) {
        let mut this = self.project();
        tracing::debug!(
            target: "steadfast::retry",
            retry = *this.retries + 1,
            backoff = ?pause.backoff,
            "an attempt failed and will be retried"
        );
        *this.backoff = pause.backoff;
        this.state.set(State::Wait(Box::pin(Wait {
            timer: Timer::new(pause.until),
            leftover: result.ok().map(K::discard),
            token: pause.token,
        })));
    }

    /// Waits, and sends the next attempt. Ready when it is under way; an error ends the call.
    fn poll_pause(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), Error<E>>> {
        loop {
            let mut this = self.as_mut().project();
            match this.state.as_mut().project() {
                StateProj::Attempt { .. } => return Poll::Ready(Ok(())),
                StateProj::Wait(wait) => {
                    let token = ready!(wait.as_mut().poll_over(cx));
                    this.state.set(State::Ready { token });
                }
                StateProj::Ready { token } => {
                    ready!(this.service.poll_ready(cx))?;
                    // Timers are coarse, and to become ready can take a while.
                    if deadline::has_passed(*this.deadline) {
                        let late = Error::Timeout { scope: TimeoutScope::Total, after: Duration::ZERO };
                        return Poll::Ready(self.finish(Err(late), Some(StopReason::Deadline)).map(drop));
                    }
                    let Ok(request) = std::mem::replace(this.copy, Err(StopReason::Exhausted)) else {
                        unreachable!("only a request with a copy is retried");
                    };
                    if let Some(token) = token.take() {
                        token.spend();
                    }
                    *this.retries += 1;
                    *this.copy = copy_for(&request, *this.resend, this.rules, *this.retries);
                    let future = this.service.call(request);
                    this.state.set(State::Attempt { future });
                }
            }
        }
    }

    fn finish(
        self: Pin<&mut Self>,
        result: Result<Res, Error<E>>,
        stop: Option<StopReason>,
    ) -> Result<Res, Error<E>> {
        let this = self.project();
        // Without retries there is nothing to give up.
        let stopped = stop.filter(|_| this.rules.policy.allows(0));
        let made = *this.retries + 1;
        if let Some(stop) = stopped {
            tracing::debug!(target: "steadfast::retry", attempts = made, reason = stop.as_str(), "gave up");
        }
        if made == 1 && stopped.is_none() {
            return result;
        }
        let attempts = Attempts::new(made, stopped);
        match result {
            Ok(mut response) => {
                K::annotate(&mut response, attempts);
                Ok(response)
            }
            Err(error) => {
                say_attempts(attempts);
                Err(error)
            }
        }
    }
}

impl<Req, S: Service<Req>, C, K, L> fmt::Debug for ResponseFuture<Req, S, C, K, L> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("retry::ResponseFuture").field("retries", &self.retries).finish_non_exhaustive()
    }
}
