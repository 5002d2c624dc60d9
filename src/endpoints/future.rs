//! The future of an attempt at an endpoint. It chooses the endpoint, and records the result.
//!
//! If no endpoint is known yet, the future waits for the first. The deadline of the call bounds this wait.
//!
//! A probe that can be sent again has a short time limit of its own, because its caller did not ask for it. If it
//! fails, the retry layer above sends it to another endpoint at once, without a token. A probe that cannot be sent
//! again has no such limit.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use http::StatusCode;
use pin_project::pin_project;
use tokio::time::Instant;
use tower::Service;

use super::attempt::Attempt;
use super::body::EndpointBody;
use super::ejection::FaultKind;
use super::first_wait::FirstWait;
use super::group::ProbeRight;
use super::handle::{Chosen, Endpoints};
use crate::http::retry_after;
use crate::internal::clock::Timer;
use crate::internal::signals::{TimeUp, last_poll, time_is_up};
use crate::internal::when_ready::{Polled, WhenReady};
use crate::response_kind::{AttemptFacts as _, ResponseKind};
use crate::{CallOptions, Error, HasCallOptions, Judge, Outcome, RetryTerms};

/// The future of [`EndpointsService`](super::EndpointsService).
///
/// Cancel safe. An attempt that is dropped after an unusually long wait counts as a fault of its endpoint. A probe
/// that is dropped frees its place.
#[pin_project]
pub struct ResponseFuture<A, S: Service<Req>, Req, J, K> {
    #[pin]
    stage: AttemptStage<A, S, Req>,
    judge: J,
    kind: K,
}

#[pin_project(project = AttemptStageProj)]
enum AttemptStage<A, S: Service<Req>, Req> {
    Sent {
        #[pin]
        future: WhenReady<S, Req>,
        attempt: Attempt,
        /// Boxed, because probes are rare.
        probe: Option<Pin<Box<ProbeTimer>>>,
    },
    /// No endpoint is known yet. Boxed, because this wait is rare.
    Waiting(Pin<Box<FirstWait<A, S, Req>>>),
}

/// The time limit of a probe.
#[pin_project]
struct ProbeTimer {
    limit: Duration,
    #[pin]
    timer: Timer,
}

impl<A, S, Req, J, K> ResponseFuture<A, S, Req, J, K>
where
    A: PartialEq + fmt::Display,
    S: Service<Req> + Clone,
    Req: HasCallOptions,
{
    #[inline]
    pub(super) fn new(endpoints: &Endpoints<A, S>, request: Req, judge: J, kind: K, now: Instant) -> Self {
        endpoints.update();
        Self { stage: AttemptStage::new(endpoints, request, now), judge, kind }
    }
}

impl<A, S, Req> AttemptStage<A, S, Req>
where
    A: PartialEq + fmt::Display,
    S: Service<Req> + Clone,
    Req: HasCallOptions,
{
    #[inline]
    fn new(endpoints: &Endpoints<A, S>, request: Req, now: Instant) -> Self {
        let options = request.options();
        match endpoints.choose(options.tried_endpoints(), probe_right(&options), now) {
            Some(chosen) => Self::sent(chosen, request, &options, now),
            None => {
                Self::Waiting(Box::pin(FirstWait::new(endpoints.clone(), request, options.get_deadline())))
            }
        }
    }

    #[inline]
    fn sent(chosen: Chosen<S>, request: Req, options: &CallOptions, now: Instant) -> Self {
        let Chosen { attempt, service, probe } = chosen;
        let limit = probe.filter(|_| options.may_probe());
        let probe =
            limit.map(|limit| Box::pin(ProbeTimer { limit, timer: Timer::new(now.checked_add(limit)) }));
        let future = Polled::new(service).call(request, |request| request.options().get_deadline());
        Self::Sent { future, attempt, probe }
    }
}

/// Returns whether an attempt may be a probe. A call is delayed by at most one probe.
fn probe_right(options: &CallOptions) -> ProbeRight {
    match (options.get_attempt(), options.may_probe()) {
        (1, true) => ProbeRight::Resendable,
        (1, false) => ProbeRight::IfOverdue,
        _ => ProbeRight::Denied,
    }
}

impl<A, S, Req, J, K, Res, E> Future for ResponseFuture<A, S, Req, J, K>
where
    A: PartialEq + fmt::Display,
    S: Service<Req, Response = Res, Error = Error<E>> + Clone,
    Req: HasCallOptions,
    J: Judge<Res, E>,
    K: ResponseKind<Res>,
{
    type Output = Result<K::Observed<EndpointBody>, Error<E>>;

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        loop {
            match this.stage.as_mut().project() {
                AttemptStageProj::Waiting(waiting) => {
                    let request = ready!(waiting.as_mut().poll_known(cx))?;
                    let sent = AttemptStage::new(waiting.endpoints(), request, Instant::now());
                    this.stage.set(sent);
                }
                AttemptStageProj::Sent { future, attempt, probe } => {
                    let result = ready!(poll_attempt(future, attempt, probe, cx));
                    return Poll::Ready(settle(result, attempt, this.judge, *this.kind));
                }
            }
        }
    }
}

/// The result of an attempt: of the endpoint's service, or by its time limit.
enum Ended<Res, E> {
    Answered(Res),
    Failed(Error<E>),
    /// The attempt was not sent.
    NotSent(Error<E>),
    /// A time limit has passed while the endpoint kept silent.
    TimeIsUp(TimeUp),
}

/// Polls an attempt, and then its time limits.
#[inline]
fn poll_attempt<S, Req, Res, E>(
    mut future: Pin<&mut WhenReady<S, Req>>,
    attempt: &Attempt,
    probe: &mut Option<Pin<Box<ProbeTimer>>>,
    cx: &mut Context<'_>,
) -> Poll<Ended<Res, E>>
where
    S: Service<Req, Response = Res, Error = Error<E>>,
{
    let mut polled = poll_service(future.as_mut(), cx);
    if polled.is_pending() {
        // In the last poll of an attempt, this future returns the error itself, because the error names the endpoint.
        let mut limit = time_is_up();
        if let Some(probe) = probe.as_mut().filter(|_| attempt.is_probe() && limit.is_none()) {
            ready!(probe.as_mut().project().timer.poll_elapsed(cx));
            let up = TimeUp { is_total: false, is_callers_share: false, after: probe.limit };
            polled = last_poll(up, || poll_service(future, cx));
            limit = Some(up);
        }
        if let (Some(limit), true) = (limit, polled.is_pending()) {
            return Poll::Ready(Ended::TimeIsUp(limit));
        }
    }
    polled
}

/// Polls the service of the endpoint until it is ready, and then its future.
#[inline]
fn poll_service<S, Req, Res, E>(
    future: Pin<&mut WhenReady<S, Req>>,
    cx: &mut Context<'_>,
) -> Poll<Ended<Res, E>>
where
    S: Service<Req, Response = Res, Error = Error<E>>,
{
    match ready!(future.poll_called(cx)) {
        Ok(called) => called.poll(cx).map(|result| match result {
            Ok(response) => Ended::Answered(response),
            Err(error) => Ended::Failed(error),
        }),
        Err(not_called) => Poll::Ready(Ended::NotSent(not_called.into())),
    }
}

/// Records the result of an attempt. A fault names the endpoint.
#[inline]
fn settle<Res, E, K: ResponseKind<Res>>(
    result: Ended<Res, E>,
    attempt: &mut Attempt,
    judge: &impl Judge<Res, E>,
    kind: K,
) -> Result<K::Observed<EndpointBody>, Error<E>> {
    match result {
        Ended::Answered(mut response) => {
            let body = answered(attempt, judge, kind, &mut response);
            Ok(kind.observe(response, body))
        }
        Ended::Failed(error) => Err(failed(error, attempt, judge)),
        Ended::NotSent(error) => Err(not_sent(error, attempt)),
        Ended::TimeIsUp(limit) => {
            // A limit that the caller has chosen may be too short for any endpoint.
            let terms = if limit.is_total || limit.is_callers_share {
                attempt.abandon()
            } else {
                attempt.timed_out()
            };
            Err(Error::of_time_up(limit).at_endpoint(attempt.endpoint()).on_terms(terms))
        }
    }
}

#[inline]
fn answered<Res, E, K: ResponseKind<Res>>(
    attempt: &mut Attempt,
    judge: &impl Judge<Res, E>,
    kind: K,
    response: &mut Res,
) -> EndpointBody {
    if kind.is_of_redirect_target(response) {
        return attempt.redirected();
    }
    attempt.has_head(kind.version(response), || kind.headers(response));
    let outcome = judge.classify(Ok(response));
    if kind.is_from_elsewhere(response) {
        return elsewhere(attempt, kind, response, outcome);
    }
    match outcome {
        Outcome::Success if kind.status(response) == Some(StatusCode::TOO_MANY_REQUESTS) => {
            throttled(attempt, kind, response)
        }
        Outcome::Success => attempt.succeeded(kind.body_length(response).is_none()),
        Outcome::Transient { .. } => faulted(attempt, kind, response, outcome, FaultKind::Exchange),
        Outcome::Failure => faulted(attempt, kind, response, outcome, FaultKind::Application),
        Outcome::Throttled { retry_after: Some(_) } => {
            faulted(attempt, kind, response, outcome, FaultKind::Throttled)
        }
        Outcome::Throttled { retry_after: None } | Outcome::NotProcessed => {
            kind.set_extension(response, attempt.endpoint());
            attempt.neutral()
        }
        Outcome::Neutral => attempt.neutral(),
    }
}

/// Records the answer of another endpoint, since the chosen one could not be reached.
#[cold]
fn elsewhere<Res, K: ResponseKind<Res>>(
    attempt: &mut Attempt,
    kind: K,
    response: &mut Res,
    outcome: Outcome,
) -> EndpointBody {
    if outcome.is_fault() {
        return faulted(attempt, kind, response, outcome, FaultKind::Unreachable);
    }
    attempt.answered_with_fault(FaultKind::Unreachable, None).0
}

/// Records a 429 that the classifier takes for a success. It comes quickly, so its time is not sampled. With a
/// `Retry-After`, it counts as a fault of the endpoint.
#[cold]
fn throttled<Res, K: ResponseKind<Res>>(attempt: &mut Attempt, kind: K, response: &mut Res) -> EndpointBody {
    let headers = kind.headers(response);
    match headers.and_then(|headers| retry_after::parse(headers, retry_after::system_time)) {
        None => attempt.neutral(),
        retry_after => attempt.answered_with_fault(FaultKind::Throttled, retry_after).0,
    }
}

#[cold]
fn faulted<Res, K: ResponseKind<Res>>(
    attempt: &mut Attempt,
    kind: K,
    response: &mut Res,
    outcome: Outcome,
    fault: FaultKind,
) -> EndpointBody {
    let (body, terms) = attempt.answered_with_fault(fault, outcome.retry_after());
    kind.set_extension(response, attempt.endpoint());
    if terms != RetryTerms::Charged {
        kind.set_extension(response, terms);
    }
    body
}

/// Records an attempt that the service of the endpoint has refused, or was not ready for. Such an endpoint is left
/// out, whatever a classifier says, because it would look like the least loaded one.
#[cold]
fn not_sent<E>(error: Error<E>, attempt: &mut Attempt) -> Error<E> {
    if error.is_total_timeout() {
        attempt.abandon();
    } else {
        attempt.failed(if error.is_refusal() { FaultKind::Exchange } else { FaultKind::Unreachable });
    }
    error.at_endpoint(attempt.endpoint())
}

#[cold]
fn failed<Res, E>(error: Error<E>, attempt: &mut Attempt, judge: &impl Judge<Res, E>) -> Error<E> {
    if error.is_refusal() {
        return not_sent(error, attempt);
    }
    if error.is_of_redirect_target() {
        attempt.withdraw();
        return error;
    }
    let outcome = judge.classify(Err(&error));
    let terms = match outcome {
        Outcome::Transient { .. } if error.is_cut_by_caller() => attempt.abandon(),
        Outcome::Transient { .. } if error.is_connect() => attempt.failed(FaultKind::Unreachable),
        Outcome::Transient { .. } if error.is_timeout() => attempt.timed_out(),
        Outcome::Transient { .. } => attempt.failed(FaultKind::Exchange),
        Outcome::Failure => attempt.failed(FaultKind::Application),
        Outcome::Success | Outcome::NotProcessed | Outcome::Throttled { .. } | Outcome::Neutral => {
            attempt.ended_neutrally();
            RetryTerms::Charged
        }
    };
    // The pool of a lane opens a new connection itself if the old one takes no more requests.
    if outcome == Outcome::NotProcessed && attempt.is_lane() {
        return error;
    }
    error.at_endpoint(attempt.endpoint()).on_terms(terms)
}

impl<A, S: Service<Req>, Req, J, K> fmt::Debug for ResponseFuture<A, S, Req, J, K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("endpoints::ResponseFuture").finish_non_exhaustive()
    }
}
