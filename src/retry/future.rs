//! The retry future: the attempts of one call, and the waits between them.
//!
//! # Implementation
//!
//! The future has three main stages: `Attempt`, while an attempt is in flight; `Wait`, before a retry; and `Ready`,
//! until the service is ready. The stage `Failed` holds an error that is known before the first attempt. After an
//! attempt, `next_step` asks the policy, the budget and the advisor whether another attempt follows. A retry goes
//! through `Wait` and `Ready`. The resend of a request that was not processed skips `Wait`. The first attempt goes
//! through `Ready` only if the service is not ready at once.
//!
//! A success at the first attempt is passed on as it is. Any other result goes through `finish`, which records the
//! number of attempts and the stop reason in the result, and the upstream's name in an error.
//!
//! # The response in hand
//!
//! `Wait` reads the response of the last attempt into memory. `in_hand` then holds the response until the next
//! attempt ends. If this attempt is refused locally, `finish` returns the response in hand instead of the refusal.
//! Only the latest result counts: an attempt that ends in any other way replaces the response in hand.
//!
//! # Deadline
//!
//! The policy allows no wait that ends after the deadline, and the layers below bound each attempt. So the future
//! arms a timer for the deadline only in the stage `Ready`.
//!
//! Some layers below may leave the deadline unchecked. In that case, the first poll of this future after the deadline
//! ends the call, because only this future knows the number of attempts. The timer of the `DeadlineLayer` above
//! causes this poll.
//!
//! # Cancellation
//!
//! The stages `Wait` and `Ready` hold the retry's token. If the future is dropped in one of these stages, the token
//! goes back to the budget. The token is spent when the retry is handed to the service below, so a retry that is
//! dropped later, for example in a bulkhead's queue, has spent its token.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use pin_project::pin_project;
use tokio::time::Instant;
use tower::Service;

use super::budget::RetryBudget;
use super::counts::{AttemptCounts, Next};
use super::policy::{FailedAttempt, Pause};
use super::report::{AttemptCause, AttemptReport};
use super::settings::RetrySettings;
use super::wait::{AfterWait, BackoffWait};
use crate::attempts::Attempts;
use crate::internal::arc_pool::PooledArc;
use crate::internal::clock::{self, Timer};
use crate::internal::log_events;
use crate::response_kind::{AttemptFacts as _, ResponseKind};
use crate::stop_reason::StopReason;
use crate::{
    Error, HasCallOptions, Judge, Outcome, RetryAdvice, RetrySafety, RetryTerms, RetryableRequest,
    TimeoutScope,
};

/// The future of [`RetryService`](super::RetryService).
///
/// Cancel safe: if the future is dropped during a wait, the token of the unsent retry goes back to the budget.
#[pin_project]
pub struct ResponseFuture<Req, S: Service<Req>, J, K: ResponseKind<S::Response>> {
    service: S,
    settings: PooledArc<RetrySettings>,
    judge: J,
    kind: K,
    /// The copy of the request for the next attempt, or the reason why there is none. A request whose first attempt
    /// waits for the service is stored here, too.
    copy: Result<Req, StopReason>,
    safety: RetrySafety,
    /// True if the budget could not pay for a retry when the attempt began. The options have then told the layers
    /// below that no retry follows.
    budget_is_spent: bool,
    deadline: Option<Instant>,
    /// True if the call has no deadline, or the layers below are known to check the deadline.
    is_checked_below: bool,
    backoff: Duration,
    counts: AttemptCounts,
    /// The response of the attempt before the current one. The caller gets it if the current attempt is refused.
    in_hand: Option<Box<K::Held>>,
    #[pin]
    stage: RetryStage<S::Future, S::Error, K::Hold, K::Held>,
}

#[pin_project(project = RetryStageProj)]
enum RetryStage<F, E, H, R> {
    /// An attempt is in flight.
    Attempt {
        #[pin]
        future: F,
    },
    /// The wait before a retry. Boxed, so that a call without retries has a small future.
    Wait(Pin<Box<BackoffWait<H, R>>>),
    /// The service has to become ready for the next attempt. The timer is armed if the service is not ready at once.
    Ready { next: Next, deadline: Option<Pin<Box<Timer>>> },
    /// The service failed to become ready for the first attempt. `None` once the error is returned.
    Failed(Option<E>),
}

impl<F, E, H, R> RetryStage<F, E, H, R> {
    const fn ready(next: Next) -> Self {
        Self::Ready { next, deadline: None }
    }
}

impl<Req, S, J, K> ResponseFuture<Req, S, J, K>
where
    Req: HasCallOptions + RetryableRequest,
    S: Service<Req>,
    K: ResponseKind<S::Response>,
{
    #[inline]
    pub(super) fn new(
        mut service: S,
        settings: PooledArc<RetrySettings>,
        judge: J,
        kind: K,
        mut request: Req,
    ) -> Self {
        if let Some(budget) = &settings.budget {
            budget.call();
        }
        // This poll needs no waker, because the stage `Ready` polls a pending service again, with the waker of the
        // task.
        let is_ready = service.poll_ready(&mut Context::from_waker(Waker::noop()));
        if !matches!(is_ready, Poll::Ready(Ok(()))) {
            return Self::not_ready(service, settings, judge, kind, request, is_ready);
        }
        let safety = request.retry_safety();
        let options = request.options();
        let copy = copy_for(&request, safety);
        let budget_is_spent = settings.budget_is_spent();
        let may_follow = may_follow(&copy, safety, &settings, 0, budget_is_spent);
        let updated = options.attempt(1, may_follow).allow_probe(may_probe(&copy, safety, &settings));
        // Skip the write if the options already mark the attempt as the first, and not as the last.
        if updated != options {
            request.set_options(updated);
        }
        Self {
            copy,
            safety,
            budget_is_spent,
            deadline: options.get_deadline(),
            is_checked_below: options.unchecked_deadline().is_none(),
            backoff: Duration::ZERO,
            counts: AttemptCounts::default(),
            in_hand: None,
            stage: RetryStage::Attempt { future: service.call(request) },
            service,
            settings,
            judge,
            kind,
        }
    }

    /// Makes the future of a call whose service was not ready, or has failed to become ready.
    #[cold]
    fn not_ready(
        service: S,
        settings: PooledArc<RetrySettings>,
        judge: J,
        kind: K,
        request: Req,
        is_ready: Poll<Result<(), S::Error>>,
    ) -> Self {
        let options = request.options();
        Self {
            safety: request.retry_safety(),
            copy: Ok(request),
            budget_is_spent: false,
            deadline: options.end_of_wait(),
            is_checked_below: options.unchecked_deadline().is_none(),
            backoff: Duration::ZERO,
            counts: AttemptCounts::default(),
            in_hand: None,
            stage: match is_ready {
                Poll::Ready(Err(error)) => RetryStage::Failed(Some(error)),
                _ => RetryStage::ready(Next::First),
            },
            service,
            settings,
            judge,
            kind,
        }
    }
}

/// Copies `request`, unless it must not be sent again. An error is the reason why there is no copy.
///
/// The copy is made even if no retry can follow: the upstream may not process the request, and a resend needs neither
/// the policy nor a token.
#[inline]
fn copy_for<Req: RetryableRequest>(request: &Req, safety: RetrySafety) -> Result<Req, StopReason> {
    if safety == RetrySafety::Never {
        return Err(StopReason::NotIdempotent);
    }
    request.try_clone().ok_or(StopReason::NotReplayable)
}

/// True if another attempt may follow even if the current one is sent and fails.
#[inline]
fn may_follow<Req>(
    copy: &Result<Req, StopReason>,
    safety: RetrySafety,
    settings: &RetrySettings,
    retries: u32,
    budget_is_spent: bool,
) -> bool {
    safety == RetrySafety::Idempotent && copy.is_ok() && settings.policy.allows(retries) && !budget_is_spent
}

/// True if a failed probe of an endpoint is sent again. The policy must allow retries, but the budget may be spent.
#[inline]
fn may_probe<Req>(copy: &Result<Req, StopReason>, safety: RetrySafety, settings: &RetrySettings) -> bool {
    may_follow(copy, safety, settings, 0, false)
}

impl<Req, S, J, K, Res, E> Future for ResponseFuture<Req, S, J, K>
where
    Req: HasCallOptions + RetryableRequest,
    S: Service<Req, Response = Res, Error = Error<E>>,
    J: Judge<Res, E>,
    K: ResponseKind<Res>,
{
    type Output = Result<K::Held, Error<E>>;

    #[inline]
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        loop {
            let this = self.as_mut().project();
            let RetryStageProj::Attempt { future } = this.stage.project() else {
                match ready!(self.as_mut().poll_pause(cx)) {
                    None => continue,
                    Some(result) => return Poll::Ready(result),
                }
            };
            let mut polled = future.poll(cx);
            if polled.is_pending() && !*this.is_checked_below && clock::has_passed(*this.deadline) {
                // End the call here. A `DeadlineLayer` above would cut the call, too, but without the number of
                // attempts.
                polled = Poll::Ready(Err(Error::timeout(TimeoutScope::Total, None)));
            }
            let outcome = match &polled {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Err(error)) if error.is_refusal() || error.is_total_timeout() => None,
                Poll::Ready(result) => Some(this.kind.judge(this.judge, result.as_ref())),
            };
            if outcome == Some(Outcome::Success) && this.counts.is_first_attempt() {
                this.settings.budget.iter().for_each(RetryBudget::success);
                // Move the response once only, because responses are large.
                let kind = *this.kind;
                return polled.map_ok(|response| kind.pass_on(response));
            }
            let result = ready!(polled);
            match self.as_mut().next_step(result.as_ref(), outcome) {
                NextStep::Done => return Poll::Ready(self.finish(result, None)),
                NextStep::GiveUp(stop) => return Poll::Ready(self.finish(result, Some(stop))),
                NextStep::Retry(pause) => self.as_mut().pause(result, pause),
                NextStep::ResendNow => {
                    let cause = AttemptCause::new(self.kind, result.as_ref());
                    let was_probe = outcome != Some(Outcome::NotProcessed);
                    log_events::attempt_resent(self.name(), cause, was_probe);
                    self.as_mut().project().stage.set(RetryStage::ready(Next::Resend));
                }
            }
        }
    }
}

/// The largest number of immediate resends in a call. A resend follows an attempt that the upstream has not
/// processed.
const MAX_RESENDS: u32 = 3;

/// The step that follows an attempt.
enum NextStep {
    Done,
    GiveUp(StopReason),
    Retry(Pause),
    /// The upstream has not processed the request, so the resend needs no wait and no token.
    ResendNow,
}

impl<Req, S: Service<Req>, J, K: ResponseKind<S::Response>> ResponseFuture<Req, S, J, K> {
    fn name(&self) -> &str {
        self.settings.name.as_deref().unwrap_or_default()
    }
}

impl<Req, S, J, K, Res, E> ResponseFuture<Req, S, J, K>
where
    Req: HasCallOptions + RetryableRequest,
    S: Service<Req, Response = Res, Error = Error<E>>,
    J: Judge<Res, E>,
    K: ResponseKind<Res>,
{
    /// Decides what follows an attempt. `outcome` is `None` if the attempt was refused locally, or ended by the
    /// deadline.
    #[cold]
    fn next_step(
        mut self: Pin<&mut Self>,
        result: Result<&Res, &Error<E>>,
        outcome: Option<Outcome>,
    ) -> NextStep {
        let this = self.as_mut().project();
        let attempt = AttemptReport::new(*this.kind, result);
        this.counts.attempts += attempt.requests;
        this.counts.maybe_sent |= attempt.sent;

        let budget = this.settings.budget.as_ref();
        let Some(outcome) = outcome else {
            if let Some(budget) = budget.filter(|_| attempt.requests == 0 && this.counts.is_paid) {
                // The token has paid for an attempt that was not made.
                budget.refund();
            }
            let error = result.err();
            let stop = error.and_then(|error| error.stop_reason());
            return NextStep::GiveUp(stop.unwrap_or(StopReason::Deadline));
        };
        // The attempt has a result of its own.
        *this.in_hand = None;
        match (budget, outcome) {
            (Some(budget), Outcome::Success) => budget.success(),
            // The budget of the upstream does not pay for the faults of another host.
            (Some(budget), outcome)
                if outcome.is_fault() && !attempt.is_of_redirect_target && attempt.terms.is_charged() =>
            {
                budget.failure();
            }
            _ => {}
        }
        if let (Some(endpoint), Ok(copy)) = (attempt.endpoint, this.copy.as_mut()) {
            let options = copy.options().tried_endpoint(endpoint);
            copy.set_options(options);
        }
        let step = match outcome {
            Outcome::NotProcessed if this.counts.resent < MAX_RESENDS => match this.copy {
                Ok(_) => NextStep::ResendNow,
                Err(stop) => return NextStep::GiveUp(*stop),
            },
            // The caller did not ask for a probe of an endpoint, so a failed probe costs neither time nor a token.
            Outcome::Transient { .. } | Outcome::Failure
                if attempt.terms == RetryTerms::AtOnce
                    && this.counts.resent < MAX_RESENDS
                    && *this.safety == RetrySafety::Idempotent
                    && this.copy.is_ok() =>
            {
                NextStep::ResendNow
            }
            // After too many resends, a retry waits before it sends the next request.
            Outcome::NotProcessed | Outcome::Transient { .. } | Outcome::Throttled { .. } => {
                match self.as_mut().plan_retry(&attempt, outcome) {
                    Ok(pause) => NextStep::Retry(pause),
                    Err(stop) => return NextStep::GiveUp(stop),
                }
            }
            _ => return NextStep::Done,
        };
        // `take_over` stops the failed request from reading on in a streaming body, so that the copy stays complete.
        // If the copy is incomplete already, the call ends with the result in hand.
        if self.copy.as_ref().is_ok_and(RetryableRequest::take_over) {
            step
        } else {
            NextStep::GiveUp(StopReason::NotReplayable)
        }
    }

    /// Asks the policy, the budget and the advisor for a retry. An error is the reason why no retry follows.
    fn plan_retry(
        self: Pin<&mut Self>,
        attempt: &AttemptReport,
        outcome: Outcome,
    ) -> Result<Pause, StopReason> {
        let this = self.project();
        let budget = this.settings.budget.as_ref().filter(|_| attempt.terms.is_charged());
        let is_unprocessed = outcome == Outcome::NotProcessed;
        if let Some(budget) = budget.filter(|_| is_unprocessed && this.counts.is_paid) {
            // The token has paid for an attempt that was not processed.
            budget.refund();
            this.counts.is_paid = false;
        }
        let pause = this.settings.policy.decide(&FailedAttempt {
            now: Instant::now(),
            deadline: *this.deadline,
            retries: this.counts.retries,
            previous_backoff: *this.backoff,
            retry_after: outcome
                .retry_after()
                .or(attempt.retry_after)
                .filter(|_| attempt.terms.keeps_retry_after()),
            sent: attempt.sent && !is_unprocessed,
            safety: *this.safety,
            copied: match this.copy {
                Ok(_) if *this.budget_is_spent && attempt.terms.is_charged() => Err(StopReason::Budget),
                Ok(_) => Ok(()),
                Err(stop) => Err(*stop),
            },
            budget,
        })?;
        // End the call if the advisor objects: the result in hand is worth more than a refusal.
        match advice_against(&pause, this.settings, attempt.terms) {
            Some(stop) => Err(stop),
            None => Ok(pause),
        }
    }

    /// Begins the wait, and the reading of the response.
    fn pause(self: Pin<&mut Self>, result: Result<Res, Error<E>>, pause: Pause) {
        let cause = AttemptCause::new(self.kind, result.as_ref());
        log_events::retry_scheduled(self.name(), self.counts.number(), pause.backoff, cause);
        let mut this = self.project();
        *this.backoff = pause.backoff;
        let hold = result.ok().map(|response| this.kind.hold(response));
        this.stage.set(RetryStage::Wait(Box::pin(BackoffWait::new(pause.until, hold, pause.token))));
    }

    /// Waits, then hands the next attempt to the service. Returns `None` once the attempt is in flight, or the result
    /// of a call that ends without the attempt.
    fn poll_pause(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<K::Held, Error<E>>>> {
        loop {
            let mut this = self.as_mut().project();
            match this.stage.as_mut().project() {
                RetryStageProj::Attempt { .. } => return Poll::Ready(None),
                RetryStageProj::Wait(wait) => {
                    let AfterWait { token, in_hand } = ready!(wait.as_mut().poll_over(cx));
                    *this.in_hand = in_hand;
                    this.stage.set(RetryStage::ready(Next::Retry(token)));
                }
                RetryStageProj::Failed(error) => {
                    let error = error.take().expect("polled after it was ready");
                    let stop = error.stop_reason();
                    return Poll::Ready(Some(self.finish(Err(error), stop)));
                }
                RetryStageProj::Ready { next, deadline } => {
                    let is_ready = this.service.poll_ready(cx);
                    if is_ready.is_pending() {
                        let timer = deadline.get_or_insert_with(|| Box::pin(Timer::new(*this.deadline)));
                        ready!(timer.as_mut().poll_elapsed(cx));
                    }
                    if let Poll::Ready(Err(error)) = is_ready {
                        next.give_up();
                        let stop = error.stop_reason();
                        return Poll::Ready(Some(self.finish(Err(error), stop)));
                    }
                    // The deadline may have passed meanwhile: timers are coarse, and the service may take long to
                    // become ready.
                    if clock::has_passed(*this.deadline) {
                        next.give_up();
                        let late = Error::timeout(TimeoutScope::Total, None);
                        return Poll::Ready(Some(self.finish(Err(late), Some(StopReason::Deadline))));
                    }
                    let Ok(mut request) = std::mem::replace(this.copy, Err(StopReason::Exhausted)) else {
                        unreachable!("only a request with a copy is retried");
                    };
                    this.counts.begin(next);
                    *this.copy = copy_for(&request, *this.safety);
                    let options = request.options();
                    *this.budget_is_spent = this.settings.budget_is_spent();
                    let retries = this.counts.retries;
                    let may_follow =
                        may_follow(this.copy, *this.safety, this.settings, retries, *this.budget_is_spent);
                    let may_probe = may_probe(this.copy, *this.safety, this.settings);
                    request.set_options(
                        options.attempt(this.counts.number(), may_follow).allow_probe(may_probe),
                    );
                    let future = this.service.call(request);
                    this.stage.set(RetryStage::Attempt { future });
                }
            }
        }
    }

    /// Ends the call: records the number of attempts and the stop reason. A refusal gives way to the response in
    /// hand. Not called for a success at the first attempt.
    fn finish(
        self: Pin<&mut Self>,
        result: Result<Res, Error<E>>,
        stop: Option<StopReason>,
    ) -> Result<K::Held, Error<E>> {
        // Under a policy without retries, no retry was wanted, so the call has no stop reason.
        let mut stop = stop.filter(|_| self.settings.policy.allows(0));
        let AttemptCounts { attempts, maybe_sent, .. } = self.counts;
        if let Some(stop) = stop {
            log_events::retry_not_made(self.name(), attempts, stop.as_str());
        }
        let this = self.project();
        let mut response = match (result, this.in_hand.take()) {
            (Ok(response), _) => {
                // If this layer has no reason, take the reason of a second retry layer below, if any.
                stop = stop.or_else(|| {
                    this.kind.extension(&response).and_then(|below: &Attempts| below.stop_reason)
                });
                this.kind.pass_on(response)
            }
            (Err(error), Some(in_hand)) if error.is_refusal() => *in_hand,
            (Err(error), _) => {
                let stop = stop.or(error.stop_of_retry());
                let mut error = error.with_attempts(attempts).with_sent(maybe_sent).with_stop_reason(stop);
                error.set_upstream(this.settings.name.as_ref());
                return Err(error);
            }
        };
        if attempts != 1 || stop.is_some() {
            this.kind.set_attempts(&mut response, Attempts::new(attempts, stop));
        }
        Ok(response)
    }
}

/// Returns the advisor's reason against an attempt after `pause`; `None` if there is no reason, or if the expected
/// refusals end no later than the pause.
fn advice_against(pause: &Pause, settings: &RetrySettings, terms: RetryTerms) -> Option<StopReason> {
    match settings.advisor.as_ref()?.advice()? {
        RetryAdvice::Refusing { until: Some(until) } if pause.until.is_none_or(|end| end >= until) => None,
        RetryAdvice::Refusing { .. } => Some(StopReason::CircuitOpen),
        // A layer without a budget ignores this advice, and makes all retries of the policy. So does a retry
        // after a fault that is not charged.
        RetryAdvice::Failing => {
            settings.budget.as_ref().filter(|_| terms != RetryTerms::Free).map(|_| StopReason::Failing)
        }
    }
}

impl<Req, S: Service<Req>, J, K: ResponseKind<S::Response>> fmt::Debug for ResponseFuture<Req, S, J, K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("retry::ResponseFuture").field("counts", &self.counts).finish_non_exhaustive()
    }
}
