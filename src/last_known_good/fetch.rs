//! URIs are fetched again from time to time, so that there is something to fall back on when they are needed.

use std::sync::{Arc, Weak};
use std::time::Duration;

use bytes::Bytes;
use http::{Response, StatusCode};
use http_body::Body;
use tokio::runtime::Handle;
use tokio::time::sleep;
use tower::{Service, ServiceExt as _};

use super::key::Key;
use super::layer::Config;
use super::mode::{Background, Foreground, renew};
use super::moment::Moment;
use super::plan::Plan;
use super::rules::takes_back;
use super::shared::Shared;
use super::warm::{Registry, Warmed};
use super::{LastKnownGood, ResponseFuture};
use crate::http::HttpRequest;
use crate::message::sealed::Sealed;
use crate::{BoxError, CallOptions, Classify, Error, HasCallOptions, RetryableRequest};

/// Whether what is called is called again, in the background. Implemented by [`Foreground`] and [`Background`] only.
pub trait Warming<S, Req, C>: Sealed + Sized {
    /// A call is about to be made.
    #[doc(hidden)]
    fn register(&self, inner: &S, request: &Req, planned: Planned<'_, C, Self>);
}

/// What is to be done with the call.
#[doc(hidden)]
#[allow(missing_debug_implementations)]
pub struct Planned<'a, C, M> {
    pub(super) plan: &'a Plan,
    pub(super) config: &'a Arc<Config<C, M>>,
}

impl<S, Req, C> Warming<S, Req, C> for Foreground {
    #[inline]
    fn register(&self, _inner: &S, _request: &Req, _planned: Planned<'_, C, Self>) {}
}

impl<S, Req, C> Warming<S, Req, C> for Background {
    #[inline]
    fn register(&self, _inner: &S, _request: &Req, _planned: Planned<'_, C, Self>) {}
}

impl<S, Req, C, B, E> Warming<S, Req, C> for Background<Warmed>
where
    S: Service<Req, Response = Response<B>, Error = Error<E>> + Clone + Send + Sync + 'static,
    S::Future: Send + 'static,
    Req: HttpRequest + HasCallOptions + RetryableRequest + Send + Sync + 'static,
    C: Classify<Response<B>, E> + Send + Sync + 'static,
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
    E: Send + 'static,
{
    fn register(&self, inner: &S, request: &Req, planned: Planned<'_, C, Self>) {
        let Some(warm) = self.warm().registry() else { return };
        let (Some(key), Some(fallback)) = (planned.plan.everybodys_key(), &planned.config.fallback) else {
            return;
        };
        if !warm.wants(key) {
            return;
        }
        let (Some(request), Ok(runtime)) = (request.try_clone(), Handle::try_current()) else { return };
        let fetcher = Fetcher {
            inner: inner.clone(),
            request,
            key: key.clone(),
            fallback: fallback.clone(),
            config: Arc::clone(planned.config),
        };
        let registry = Arc::downgrade(&warm);
        let every = warm.every();
        warm.register(key.clone(), || runtime.spawn(fetcher.keep_warm(registry, every)).abort_handle());
    }
}

/// Fetches one URI again and again.
struct Fetcher<S, Req, C> {
    inner: S,
    request: Req,
    key: Key,
    fallback: LastKnownGood,
    config: Arc<Config<C, Background<Warmed>>>,
}

/// The place of a URI, until its task ends: whoever calls it next registers it anew.
struct Registered {
    warm: Weak<Registry>,
    key: Key,
}

impl Drop for Registered {
    fn drop(&mut self) {
        if let Some(warm) = self.warm.upgrade() {
            warm.unregister(&self.key);
        }
    }
}

/// What came of a fetch.
enum Fetched {
    Kept,
    /// It is good, or taken back, and nothing is kept of it: there is nothing to keep warm.
    NothingToKeep,
    Failed,
}

impl<S, Req, C, B, E> Fetcher<S, Req, C>
where
    S: Service<Req, Response = Response<B>, Error = Error<E>> + Clone + Send + Sync + 'static,
    S::Future: Send + 'static,
    Req: HttpRequest + HasCallOptions + RetryableRequest + Send + Sync + 'static,
    C: Classify<Response<B>, E> + Send + Sync + 'static,
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
    E: Send + 'static,
{
    async fn keep_warm(self, warm: Weak<Registry>, every: Duration) {
        const LONGEST: u32 = 16;
        let _registered = Registered { warm: Weak::clone(&warm), key: self.key.clone() };
        let mut factor = 1;
        loop {
            let Some(wait) = warm.upgrade().map(|warm| warm.jittered(every * factor)) else { return };
            sleep(wait).await;
            if factor == 1 && self.is_younger_than(every / 2) {
                continue;
            }
            factor = match self.fetch().await {
                Fetched::Kept => 1,
                Fetched::Failed => (factor * 2).min(LONGEST),
                Fetched::NothingToKeep => return,
            };
        }
    }

    async fn fetch(&self) -> Fetched {
        let Some(mut request) = self.request.try_clone() else { return Fetched::NothingToKeep };
        request.set_options(again(request.options()));
        let plan = Plan::new(&request, &self.fallback).unserved();
        let call = self.inner.clone().oneshot(request);
        let call = ResponseFuture::new(call, plan, Arc::clone(&self.config));
        let status = renew(call, None).await;
        // The first caller may have had an answer already, and asked whether there is another.
        let is_good = |it: StatusCode| it.is_success() || it == StatusCode::NOT_MODIFIED || takes_back(it);
        match self.given() {
            _ if !status.is_some_and(is_good) => Fetched::Failed,
            Some(_) => Fetched::Kept,
            None => Fetched::NothingToKeep,
        }
    }

    /// Whether a caller has had an answer not long ago.
    fn is_younger_than(&self, age: Duration) -> bool {
        self.given().is_some_and(|given| self.shared().now().since(given) < age)
    }

    /// When what is kept was last given.
    fn given(&self) -> Option<Moment> {
        let variants = self.shared().memory.find(&self.key, |_| false).variants?;
        variants.iter().map(|entry| entry.times().given).max()
    }

    fn shared(&self) -> &Shared {
        &self.fallback.0
    }
}

/// The options of a call that is made again: its deadline is long over, and nobody waits for it.
fn again(options: CallOptions) -> CallOptions {
    let mut again = CallOptions::new().without_last_known_good();
    if let Some(timeout) = options.get_timeout() {
        again = again.timeout(timeout);
    }
    match options.get_retry_safety() {
        Some(resend) => again.retry_safety(resend),
        None => again,
    }
}
