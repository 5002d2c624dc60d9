use std::task::{Context, Poll};

use tokio::time::Instant;
use tower::Service;

use super::future::Limit;
use super::{DeadlineBody, DeadlineLayer, ResponseFuture};
use crate::internal::clock;
use crate::response_kind::ResponseKind;
use crate::{Error, HasCallOptions, Http};

/// The service that [`DeadlineLayer`] makes.
#[derive(Debug, Clone, Copy)]
pub struct DeadlineService<S, K = Http> {
    inner: S,
    layer: DeadlineLayer<K>,
}

impl<S, K> DeadlineService<S, K> {
    pub(super) const fn new(inner: S, layer: DeadlineLayer<K>) -> Self {
        Self { inner, layer }
    }

    #[cfg(feature = "reqwest")]
    pub(crate) const fn inner(&self) -> &S {
        &self.inner
    }

    /// The call that `call` makes of the inner service, within its time.
    #[cfg(feature = "reqwest")]
    pub(crate) fn send<Req: HasCallOptions, F>(
        &self,
        request: Req,
        call: impl FnOnce(Req) -> F,
    ) -> ResponseFuture<F, K>
    where
        K: Copy,
    {
        self.layer.begin(request, call)
    }
}

impl<K: Copy> DeadlineLayer<K> {
    /// Makes a call within its time.
    #[inline]
    fn begin<Req, F>(&self, mut request: Req, call: impl FnOnce(Req) -> F) -> ResponseFuture<F, K>
    where
        Req: HasCallOptions,
    {
        let limit = self.stamp(&mut request);
        // Nothing is sent once the deadline has passed.
        let future = (!limit.after.is_zero()).then(|| call(request));
        ResponseFuture::new(future, limit, self.is_checked_below, self.kind)
    }

    /// Stamps the deadline on the request. It is never later than one that is there.
    fn stamp(&self, request: &mut impl HasCallOptions) -> Limit {
        let options = request.options();
        let after = options.get_timeout().or(self.after);
        if after.is_none() && options.get_deadline().is_none() {
            return Limit::NONE;
        }
        let now = Instant::now();
        let own = after.and_then(|after| clock::after(now, after));
        let Some(end) = clock::earliest(own, options.get_deadline()) else { return Limit::NONE };
        request.set_options(options.deadline(end).deadline_is_checked(self.is_checked_below));
        Limit { end: Some(end), after: end.saturating_duration_since(now) }
    }
}

impl<Req, S, K, Res, E> Service<Req> for DeadlineService<S, K>
where
    Req: HasCallOptions,
    S: Service<Req, Response = Res, Error = Error<E>>,
    K: ResponseKind<Res>,
{
    type Response = K::Observed<DeadlineBody>;
    type Error = Error<E>;
    type Future = ResponseFuture<S::Future, K>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Req) -> Self::Future {
        self.layer.begin(request, |request| self.inner.call(request))
    }
}
