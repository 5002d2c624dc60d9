use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use pin_project::pin_project;
use tokio::time::Instant;
use tower::Service;

use super::RetryLayer;
use super::budget::Token;
use super::policy::{Pause, TransientFault};
use crate::attempts::{Attempts, Stop};
use crate::deadline::Timer;
use crate::message::Discard;
use crate::poll::{Refusal, hear_refusing, hear_sent, say_attempts};
use crate::{Classify, Error, HasOptions, Outcome, Resend, Resendable};

/// The future of [`Retry`](super::Retry).
///
/// Cancel safe: dropped while it waits, it gives the token of the retry that was not sent back to the budget.
#[pin_project]
pub struct ResponseFuture<Req, S: Service<Req>, C, K, L> {
    service: S,
    shared: Arc<RetryLayer<C, K>>,
    /// What a further attempt would send.
    copy: Option<Req>,
    resend: Resend,
    deadline: Option<Instant>,
    retries: u32,
    backoff: Duration,
    #[pin]
    state: State<S::Future, L>,
}

#[pin_project(project = StateProj)]
enum State<F, L> {
    /// An attempt is under way.
    Attempt {
        #[pin]
        future: F,
    },
    /// Between two attempts; what is left of the last response is read meanwhile.
    Wait {
        #[pin]
        timer: Timer,
        #[pin]
        leftover: Option<L>,
        token: Option<Token>,
    },
    /// The wait is over, and the service has to be ready for another request.
    Ready { token: Option<Token> },
}

impl<Req, S, C, K, L> ResponseFuture<Req, S, C, K, L>
where
    Req: HasOptions + Resendable,
    S: Service<Req>,
{
    pub(super) fn new(mut service: S, shared: Arc<RetryLayer<C, K>>, request: Req) -> Self {
        if let Some(budget) = &shared.budget {
            budget.call();
        }
        let resend = request.resend();
        Self {
            copy: copy_for(&request, resend, &shared, 0),
            resend,
            deadline: request.options().get_deadline(),
            retries: 0,
            backoff: Duration::ZERO,
            state: State::Attempt { future: service.call(request) },
            service,
            shared,
        }
    }
}

/// A copy of `request`, but only while another attempt is possible after it.
fn copy_for<Req: Resendable, C, K>(
    request: &Req,
    resend: Resend,
    shared: &RetryLayer<C, K>,
    retries: u32,
) -> Option<Req> {
    let possible = shared.policy.allows(retries) && resend != Resend::Never;
    possible.then(|| request.try_clone()).flatten()
}

impl<Req, S, C, K, Res, E> Future for ResponseFuture<Req, S, C, K, K::Leftover>
where
    Req: HasOptions + Resendable,
    S: Service<Req, Response = Res, Error = Error<E>>,
    C: Classify<Res, E>,
    K: Discard<Res>,
{
    type Output = Result<Res, Error<E>>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        loop {
            let mut this = self.as_mut().project();
            match this.state.as_mut().project() {
                StateProj::Attempt { future } => {
                    let ((polled, refusing), sent) = hear_sent(|| hear_refusing(|| future.poll(cx)));
                    let result = ready!(polled);
                    match self.as_mut().judge(&result, Heard { refusing, sent }) {
                        Verdict::Done => return Poll::Ready(self.finish(result, None)),
                        Verdict::GiveUp(stop) => return Poll::Ready(self.finish(result, Some(stop))),
                        Verdict::Retry(pause) => self.as_mut().wait(result, pause),
                    }
                }
                StateProj::Wait { timer, mut leftover, token } => {
                    if let Some(reading) = leftover.as_mut().as_pin_mut() {
                        if reading.poll(cx).is_ready() {
                            leftover.set(None);
                        }
                    }
                    ready!(timer.poll_elapsed(cx));
                    let token = token.take();
                    this.state.set(State::Ready { token });
                }
                StateProj::Ready { token } => {
                    ready!(this.service.poll_ready(cx))?;
                    let Some(request) = this.copy.take() else {
                        unreachable!("only a request with a copy is retried");
                    };
                    if let Some(token) = token.take() {
                        token.spend();
                    }
                    *this.retries += 1;
                    *this.copy = copy_for(&request, *this.resend, this.shared, *this.retries);
                    let future = this.service.call(request);
                    this.state.set(State::Attempt { future });
                }
            }
        }
    }
}

/// What the layers below said with the result of an attempt.
#[derive(Clone, Copy)]
struct Heard {
    /// Another attempt would be refused.
    refusing: Option<Refusal>,
    /// Something was sent, whatever the result looks like.
    sent: bool,
}

impl Heard {
    /// Whether the attempt that follows this pause is known to be refused.
    fn refuses<C, K>(&self, pause: &Pause, layer: &RetryLayer<C, K>) -> bool {
        let refusal = self.refusing.filter(|_| !layer.across_circuits);
        refusal.is_some_and(|refusal| {
            refusal.until.is_none_or(|until| pause.until.is_some_and(|end| end < until))
        })
    }
}

/// What follows an attempt.
enum Verdict {
    Done,
    GiveUp(Stop),
    Retry(Pause),
}

impl<Req, S, C, K, Res, E> ResponseFuture<Req, S, C, K, K::Leftover>
where
    Req: HasOptions + Resendable,
    S: Service<Req, Response = Res, Error = Error<E>>,
    C: Classify<Res, E>,
    K: Discard<Res>,
{
    fn judge(self: Pin<&mut Self>, result: &Result<Res, Error<E>>, heard: Heard) -> Verdict {
        let this = self.project();
        if let (Err(error), true, Some(budget)) = (result, *this.retries > 0, &this.shared.budget) {
            if error.is_refusal() {
                budget.refund();
            }
        }
        match result {
            Err(Error::CircuitOpen { .. }) => return Verdict::GiveUp(Stop::CircuitOpen),
            Err(Error::BulkheadFull { .. }) => return Verdict::GiveUp(Stop::BulkheadFull),
            Err(error) if error.is_total_timeout() => return Verdict::GiveUp(Stop::Deadline),
            _ => {}
        }
        let budget = this.shared.budget.as_ref();
        let outcome = this.shared.classifier.classify(result.as_ref());
        match (budget, outcome) {
            (Some(budget), Outcome::Success) => budget.success(),
            (Some(budget), outcome) if outcome.is_fault() => budget.failure(),
            _ => {}
        }
        let Outcome::Transient { retry_after, sent } = outcome else { return Verdict::Done };
        let decision = this.shared.policy.decide(&TransientFault {
            now: Instant::now(),
            deadline: *this.deadline,
            retries: *this.retries,
            previous_backoff: *this.backoff,
            retry_after,
            sent: sent || heard.sent,
            resend: *this.resend,
            copied: this.copy.is_some(),
            budget,
        });
        match decision {
            // The answer that is there is worth more than a refusal.
            Ok(pause) if heard.refuses(&pause, this.shared) => Verdict::GiveUp(Stop::CircuitOpen),
            // From here on the earlier attempt can no longer spoil the copy. Its response is still there if it has.
            Ok(pause) if this.copy.as_ref().is_some_and(Resendable::take_over) => Verdict::Retry(pause),
            Ok(_) => Verdict::GiveUp(Stop::NotReplayable),
            Err(stop) => Verdict::GiveUp(stop),
        }
    }

    /// Begins the wait, and the reading of what is left of the response that it follows.
    fn wait(self: Pin<&mut Self>, result: Result<Res, Error<E>>, pause: Pause) {
        let mut this = self.project();
        tracing::debug!(
            target: "steadfast::retry",
            retry = *this.retries + 1,
            backoff = ?pause.backoff,
            "an attempt failed and will be retried"
        );
        *this.backoff = pause.backoff;
        this.state.set(State::Wait {
            timer: Timer::new(pause.until),
            leftover: result.ok().map(K::discard),
            token: pause.token,
        });
    }

    fn finish(
        self: Pin<&mut Self>,
        result: Result<Res, Error<E>>,
        stop: Option<Stop>,
    ) -> Result<Res, Error<E>> {
        let this = self.project();
        // Without retries there is nothing to give up.
        let stopped = stop.filter(|_| this.shared.policy.allows(0));
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
