use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::Response;
use http_body::Body;
use pin_project::pin_project;

use super::ResponseBody;
use super::behind::{BoxFuture, Until};
use super::layer::Config;
use super::mode::{Behind, Foreground, Mode};
use super::plan::{Answering, Plan, Settled, hand_on};
use super::stale::Cause;
use super::wait::Waits;
use crate::attempts::Attempts;
use crate::poll::{listen_attempts, listen_deadline};
use crate::{BoxError, Classify, Error};

/// The future of [`LastKnownGoodService`](super::LastKnownGoodService).
///
/// Cancel safe: dropped, it drops the call; what is kept stays as it is, and a store that is being told may have been or
/// not.
#[pin_project]
pub struct ResponseFuture<F, C, M = Foreground>
where
    F: Future,
    M: Mode<F, C>,
{
    #[pin]
    call: M::Call,
    stage: Stage<F::Output>,
    plan: Plan,
    waits: Option<Pin<Box<Waits>>>,
    config: Arc<Config<C, M>>,
}

/// How far a call is.
enum Stage<T> {
    Calling,
    Telling(Box<Telling<T>>),
    LookingUp(Box<LookingUp<T>>),
}

/// The call has ended, and the store is told.
struct Telling<T> {
    /// `None` once it is handed on.
    result: Option<T>,
    telling: BoxFuture<()>,
}

/// The call has failed, and the store is asked.
struct LookingUp<T> {
    /// `None` once it is handed on.
    failed: Option<T>,
    attempts: Option<Attempts>,
    answering: Answering,
    search: BoxFuture<()>,
}

impl<F, C, M> ResponseFuture<F, C, M>
where
    F: Future,
    M: Mode<F, C>,
{
    pub(super) fn new(call: F, plan: Plan, config: Arc<Config<C, M>>) -> Self {
        let call = config.mode.begin(call, plan.serves());
        Self::of_begun(call, plan, config)
    }

    pub(super) fn of_begun(call: M::Call, plan: Plan, config: Arc<Config<C, M>>) -> Self {
        Self { call, stage: Stage::Calling, plan, waits: None, config }
    }
}

impl<F, C, M, B, E> Future for ResponseFuture<F, C, M>
where
    F: Future<Output = Result<Response<B>, Error<E>>>,
    M: Mode<F, C>,
    C: Classify<Response<B>, E>,
    B: Body<Data = Bytes>,
    B::Error: Into<BoxError>,
{
    type Output = Result<Response<ResponseBody<B>>, Error<E>>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        if let Stage::Calling = self.as_mut().project().stage {
            let (ended, attempts, until) = self.as_mut().poll_call(cx);
            let Poll::Ready(result) = ended else { return self.poll_waits(cx, until).map(Ok) };
            let this = self.as_mut().project();
            *this.stage = match this.config.settle(this.plan.take(), result, attempts, until) {
                Settled::Now(result) => return Poll::Ready(result),
                Settled::Telling(result, telling) => {
                    Stage::Telling(Box::new(Telling { result: Some(result), telling }))
                }
                Settled::Failed(failed, answering) => {
                    let waits = this.waits.as_mut();
                    let search = match waits {
                        Some(waits) if waits.has_searched() => Box::pin(std::future::ready(())),
                        Some(waits) => {
                            let begun = waits.as_mut().into_search();
                            begun.unwrap_or_else(|| answering.look_up(until))
                        }
                        None => answering.look_up(until),
                    };
                    let failed = Some(failed);
                    Stage::LookingUp(Box::new(LookingUp { failed, attempts, answering, search }))
                }
            };
        }
        let this = self.project();
        match this.stage {
            Stage::Calling => Poll::Pending,
            Stage::Telling(it) => {
                ready!(it.telling.as_mut().poll(cx));
                Poll::Ready(hand_on(it.result.take().expect("polled after it was ready")))
            }
            Stage::LookingUp(it) => {
                ready!(it.search.as_mut().poll(cx));
                let failed = it.failed.take().expect("polled after it was ready");
                Poll::Ready(match it.answering.find() {
                    Some(entry) => Ok(it.answering.serve(&entry, Some(failed), it.attempts)),
                    None => hand_on(failed),
                })
            }
        }
    }
}

impl<F, C, M, B, E> ResponseFuture<F, C, M>
where
    F: Future<Output = Result<Response<B>, Error<E>>>,
    M: Mode<F, C>,
    B: Body<Data = Bytes>,
{
    /// The call, and what it says by the way: how many attempts it took, and when it has to end.
    fn poll_call(self: Pin<&mut Self>, cx: &mut Context<'_>) -> (Poll<F::Output>, Option<Attempts>, Until) {
        let (attempts, until) = (listen_attempts(), listen_deadline());
        let ended = self.project().call.poll(cx);
        let until = until.heard();
        (ended, attempts.heard(), until)
    }

    /// What else is to be waited for, besides the call.
    fn poll_waits(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        until: Until,
    ) -> Poll<Response<ResponseBody<B>>> {
        let this = self.project();
        let Plan::Answer(answering) = &*this.plan else { return Poll::Pending };
        if !this.plan.serves() {
            return Poll::Pending;
        }
        if this.waits.is_none() {
            let soft_limit =
                this.config.mode.soft_limit().filter(|_| answering.shared().falls_back_on(Cause::Slow));
            *this.waits = Waits::new(answering, soft_limit).map(Box::pin);
        }
        let Some(waits) = this.waits else { return Poll::Pending };
        let entry = ready!(waits.as_mut().poll(cx, answering, until));
        let response = answering.serve::<B, E>(&entry, None, None);
        if let Plan::Answer(answering) = this.plan.take() {
            this.config.mode.go_on(this.call, Behind { answering, until, config: Arc::clone(this.config) });
        }
        Poll::Ready(response)
    }
}

impl<F: Future, C, M: Mode<F, C>> fmt::Debug for ResponseFuture<F, C, M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("last_known_good::ResponseFuture").finish_non_exhaustive()
    }
}
