//! The service of the deadline layer. It stamps the deadline on each request.

use std::task::{Context, Poll};

use tower::Service;

use super::body::DeadlineBody;
use super::config::DeadlineSettings;
use super::future::{ReadyCall, ResponseFuture};
use crate::response_kind::ResponseKind;
use crate::{Error, HasCallOptions, Http, SteadfastError};

/// The service of a [`DeadlineLayer`](super::DeadlineLayer).
#[derive(Debug, Clone, Copy)]
pub struct DeadlineService<S, K = Http> {
    inner: S,
    settings: DeadlineSettings,
    kind: K,
}

impl<S, K> DeadlineService<S, K> {
    pub(super) const fn new(inner: S, settings: DeadlineSettings, kind: K) -> Self {
        Self { inner, settings, kind }
    }

    #[cfg(feature = "reqwest")]
    pub(crate) const fn inner(&self) -> &S {
        &self.inner
    }

    /// Stamps the deadline on the request, and sends the request with the function `call`, unless no time is left.
    #[cfg(feature = "reqwest")]
    pub(crate) fn send<Req: HasCallOptions, F>(
        &self,
        request: Req,
        call: impl FnOnce(Req) -> F,
    ) -> ResponseFuture<F, K>
    where
        K: Copy,
    {
        begin(self.settings, self.kind, request, call)
    }
}

impl<Req, S, K, Res, E> Service<Req> for DeadlineService<S, K>
where
    Req: HasCallOptions,
    S: Service<Req, Response = Res, Error = Error<E>> + Clone,
    S::Error: SteadfastError,
    K: ResponseKind<Res>,
{
    type Response = K::Observed<DeadlineBody>;
    type Error = Error<E>;
    type Future = ResponseFuture<ReadyCall<S, Req>, K>;

    // Always ready: the deadline of the call also bounds the wait for the service below, so that wait is part of the
    // call.
    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Req) -> Self::Future {
        begin(self.settings, self.kind, request, |request| ReadyCall::new(&mut self.inner, request))
    }
}

/// Stamps the deadline on the request and makes the call, unless no time is left.
#[inline]
fn begin<Req, F, K>(
    settings: DeadlineSettings,
    kind: K,
    mut request: Req,
    call: impl FnOnce(Req) -> F,
) -> ResponseFuture<F, K>
where
    Req: HasCallOptions,
{
    let limit = settings.stamp(&mut request);
    // Nothing is sent once the deadline has passed.
    let future = (!limit.after.is_zero()).then(|| call(request));
    ResponseFuture::new(future, limit, settings.is_checked_below, kind)
}
