//! The future of a call through the cache, which waits for the inner call and, if necessary, for the store.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::Response;
use http_body::Body;
use pin_project::pin_project;

use super::detached_call::DetachedCall;
use super::record::body::ResponseBody;
use crate::last_known_good::plan::{CacheableCall, Plan, Settled, pass_through};
use crate::last_known_good::refresh::Refresh;
use crate::last_known_good::tier::bounded_store::BoxFuture;
use crate::last_known_good::wait::{Waited, Waits};
use crate::{BoxError, Error, Judge, TimeoutScope};

/// The future of [`LastKnownGoodService`](super::LastKnownGoodService).
///
/// Cancel safe: a dropped future drops the call. Entries in memory stay; a write to the store that is in progress may
/// or may not take effect.
#[pin_project]
pub struct ResponseFuture<F: Future, J> {
    #[pin]
    call: DetachedCall<F>,
    stage: CacheStage<F::Output>,
    plan: Plan,
    waits: Option<Pin<Box<Waits>>>,
    /// `None` once a slow call has been answered with a stale response.
    judge: Option<J>,
}

/// The stage of a call.
enum CacheStage<T> {
    Calling,
    Writing(Box<StoreWrite<T>>),
    LookingUp(Box<StoreLookUp<T>>),
}

/// A call that has ended and waits for a write to the store.
struct StoreWrite<T> {
    /// `None` once returned.
    result: Option<T>,
    write: BoxFuture<()>,
}

/// A call that has failed and waits for a read of the store.
struct StoreLookUp<T> {
    /// `None` once returned.
    failed: Option<T>,
    cacheable: CacheableCall,
    search: BoxFuture<()>,
}

impl<F: Future, J> ResponseFuture<F, J> {
    pub(super) fn new(call: F, plan: Plan, judge: J) -> Self {
        Self::resumed(DetachedCall::new(call, plan.may_detach()), plan, judge)
    }

    pub(super) const fn resumed(call: DetachedCall<F>, plan: Plan, judge: J) -> Self {
        Self { call, stage: CacheStage::Calling, plan, waits: None, judge: Some(judge) }
    }
}

impl<F, J, B, E> Future for ResponseFuture<F, J>
where
    F: Future<Output = Result<Response<B>, Error<E>>> + Send + 'static,
    J: Judge<Response<B>, E> + Send + 'static,
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
    E: 'static,
{
    type Output = Result<Response<ResponseBody<B>>, Error<E>>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        if let CacheStage::Calling = self.as_mut().project().stage {
            let result = match self.as_mut().project().call.poll(cx) {
                Poll::Ready(result) => result,
                Poll::Pending => match ready!(self.as_mut().poll_waits(cx)) {
                    Waited::Slow(response) => return Poll::Ready(Ok(response)),
                    // The layers below have let the deadline pass.
                    Waited::Late => Err(Error::timeout(TimeoutScope::Total, None)),
                },
            };
            let this = self.as_mut().project();
            let judge = this.judge.as_ref().expect("polled after it was ready");
            *this.stage = match this.plan.take().settle(judge, result) {
                Settled::Now(result) => return Poll::Ready(result),
                Settled::Writing(result, write) => {
                    CacheStage::Writing(Box::new(StoreWrite { result: Some(result), write }))
                }
                Settled::Failed(failed, cacheable) => {
                    let waits = this.waits.as_mut();
                    let search = match waits {
                        Some(waits) if waits.has_searched() => Box::pin(std::future::ready(())),
                        Some(waits) => {
                            let begun = waits.as_mut().into_search();
                            begun.unwrap_or_else(|| cacheable.look_up())
                        }
                        None => cacheable.look_up(),
                    };
                    CacheStage::LookingUp(Box::new(StoreLookUp { failed: Some(failed), cacheable, search }))
                }
            };
        }
        let this = self.project();
        match this.stage {
            CacheStage::Calling => Poll::Pending,
            CacheStage::Writing(it) => {
                ready!(it.write.as_mut().poll(cx));
                Poll::Ready(pass_through(it.result.take().expect("polled after it was ready")))
            }
            CacheStage::LookingUp(it) => {
                ready!(it.search.as_mut().poll(cx));
                let failed = it.failed.take().expect("polled after it was ready");
                Poll::Ready(match it.cacheable.find() {
                    Some(entry) => Ok(it.cacheable.serve(&entry, Some(failed))),
                    None => pass_through(failed),
                })
            }
        }
    }
}

impl<F, J, B, E> ResponseFuture<F, J>
where
    F: Future<Output = Result<Response<B>, Error<E>>> + Send + 'static,
    J: Judge<Response<B>, E> + Send + 'static,
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
    E: 'static,
{
    /// Polls the [`Waits`] of the call. Ready with a stale response once the call is slow and an entry can be served,
    /// or with `Late` at the deadline.
    fn poll_waits(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Waited<Response<ResponseBody<B>>>> {
        let this = self.project();
        let Plan::Cacheable(cacheable) = &*this.plan else { return Poll::Pending };
        if !cacheable.may_serve_stale() {
            return Poll::Pending;
        }
        if this.waits.is_none() {
            *this.waits = Waits::new(cacheable).map(Box::pin);
        }
        let Some(waits) = this.waits else { return Poll::Pending };
        let entry = match ready!(waits.as_mut().poll(cx, cacheable)) {
            Waited::Slow(entry) => entry,
            Waited::Late => return Poll::Ready(Waited::Late),
        };
        let response = cacheable.serve::<B, E>(&entry, None);
        if let (Plan::Cacheable(cacheable), Some(call), Some(judge)) =
            (this.plan.take(), this.call.take(), this.judge.take())
        {
            if let Some(refresh) = Refresh::begin(&cacheable) {
                let call = DetachedCall::detached(call);
                refresh.spawn(Self::resumed(call, Plan::Cacheable(cacheable).for_refresh(), judge));
            }
        }
        Poll::Ready(Waited::Slow(response))
    }
}

impl<F: Future, J> fmt::Debug for ResponseFuture<F, J> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("last_known_good::ResponseFuture").finish_non_exhaustive()
    }
}
