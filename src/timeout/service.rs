use std::fmt;
use std::task::{Context, Poll};
use std::time::Duration;

use tower::Service;

use super::limit::{Attempt, Limit};
use super::{BodyWatch, ResponseFuture, TimeoutLayer};
use crate::deadline;
use crate::message::Attach;
use crate::{Error, HasCallOptions, Http, TimeoutScope};

/// The service that [`TimeoutLayer`] makes.
pub struct TimeoutService<S, K = Http> {
    inner: S,
    layer: TimeoutLayer<K>,
}

impl<S, K> TimeoutService<S, K> {
    pub(super) const fn new(inner: S, layer: TimeoutLayer<K>) -> Self {
        Self { inner, layer }
    }

    /// The clock of one attempt, within that of the call.
    fn clock_of_attempt(&self, request: &impl HasCallOptions) -> Attempt {
        let options = request.options();
        let shared = self.layer.share.zip(options.get_timeout()).map(|(share, total)| scale(total, share));
        Attempt { after: shared.or(self.layer.after), deadline: options.get_deadline() }
    }
}

/// A share, below 1, of any time.
fn scale(time: Duration, share: f64) -> Duration {
    Duration::try_from_secs_f64(time.as_secs_f64() * share).unwrap_or(time)
}

impl<Req, S, K, Res, E> Service<Req> for TimeoutService<S, K>
where
    Req: HasCallOptions,
    S: Service<Req, Response = Res, Error = Error<E>>,
    K: Attach<Res, BodyWatch>,
{
    type Response = K::Response;
    type Error = Error<E>;
    type Future = ResponseFuture<S::Future, K>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Req) -> Self::Future {
        match self.layer.scope {
            TimeoutScope::Total => {
                let limit = Limit::of_call(&mut request, self.layer.after, false);
                // Nothing is sent once the deadline has passed.
                let future = (!limit.is_over()).then(|| self.inner.call(request));
                ResponseFuture::of_call(future, limit)
            }
            TimeoutScope::Attempt => {
                let attempt = self.clock_of_attempt(&request);
                let unchecked = request.options().unchecked_deadline();
                let future = (!deadline::has_passed(unchecked)).then(|| self.inner.call(request));
                ResponseFuture::of_attempt(future, attempt)
            }
        }
    }
}

impl<S: Clone, K> Clone for TimeoutService<S, K> {
    fn clone(&self) -> Self {
        Self::new(self.inner.clone(), self.layer)
    }
}

impl<S: fmt::Debug, K> fmt::Debug for TimeoutService<S, K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TimeoutService")
            .field("inner", &self.inner)
            .field("scope", &self.layer.scope)
            .field("after", &self.layer.after)
            .finish()
    }
}
