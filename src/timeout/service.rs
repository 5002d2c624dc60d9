use std::fmt;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::Instant;
use tower::Service;

use super::{BodyWatch, ResponseFuture, TimeoutLayer};
use crate::deadline;
use crate::message::Attach;
use crate::{Error, HasOptions, Http, TimeoutScope};

/// The service that [`TimeoutLayer`] makes.
pub struct Timeout<S, K = Http> {
    inner: S,
    layer: TimeoutLayer<K>,
}

/// When a call or an attempt has to end, how much time that was, and by which clock.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limit {
    pub(super) end: Option<Instant>,
    pub(super) after: Duration,
    pub(super) scope: TimeoutScope,
    /// Whether this layer ends the call, or leaves that to those below it.
    pub(super) enforced: bool,
    /// Whether the time goes on with the body. That of an attempt ends with the head, even where it is the deadline
    /// that ends it: a body that is cut below the circuit breaker would count against the upstream.
    pub(super) bounds_body: bool,
}

impl<S, K> Timeout<S, K> {
    pub(super) const fn new(inner: S, layer: TimeoutLayer<K>) -> Self {
        Self { inner, layer }
    }

    /// The time of the whole call, stamped on the request.
    fn limit_call(&self, request: &mut impl HasOptions) -> Limit {
        let options = request.options();
        let after = options.get_timeout().or(self.layer.after);
        if after.is_none() && options.get_deadline().is_none() {
            let (after, scope) = (Duration::MAX, TimeoutScope::Total);
            return Limit { end: None, after, scope, enforced: false, bounds_body: false };
        }
        let now = Instant::now();
        let own = after.and_then(|after| deadline::after(now, after));
        let end = deadline::earliest(own, options.get_deadline());
        if let Some(end) = end {
            request.set_options(options.deadline(end));
        }
        let after = end.map_or(Duration::MAX, |end| end.saturating_duration_since(now));
        Limit { end, after, scope: TimeoutScope::Total, enforced: self.layer.enforced, bounds_body: true }
    }

    /// The time of one attempt, within that of the call.
    fn limit_attempt(&self, request: &impl HasOptions) -> Limit {
        let options = request.options();
        let deadline = options.get_deadline();
        let now = Instant::now();
        let shared = self.layer.share.zip(options.get_timeout()).map(|(share, total)| scale(total, share));
        let own = shared.or(self.layer.after).and_then(|after| deadline::after(now, after));
        let end = deadline::earliest(own, deadline);
        let after = end.map_or(Duration::MAX, |end| end.saturating_duration_since(now));
        let scope =
            if deadline.is_some() && end == deadline { TimeoutScope::Total } else { TimeoutScope::Attempt };
        Limit { end, after, scope, enforced: true, bounds_body: false }
    }
}

/// A share, below 1, of any time.
fn scale(time: Duration, share: f64) -> Duration {
    Duration::try_from_secs_f64(time.as_secs_f64() * share).unwrap_or(time)
}

impl<Req, S, K, Res, E> Service<Req> for Timeout<S, K>
where
    Req: HasOptions,
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
        let limit = match self.layer.scope {
            TimeoutScope::Total => self.limit_call(&mut request),
            TimeoutScope::Attempt => self.limit_attempt(&request),
        };
        // Nothing is sent once the deadline has passed.
        let late = limit.scope == TimeoutScope::Total && limit.after.is_zero() && limit.end.is_some();
        let future = (!late || !limit.enforced).then(|| self.inner.call(request));
        ResponseFuture::new(future, limit)
    }
}

impl<S: Clone, K> Clone for Timeout<S, K> {
    fn clone(&self) -> Self {
        Self::new(self.inner.clone(), self.layer)
    }
}

impl<S: fmt::Debug, K> fmt::Debug for Timeout<S, K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Timeout")
            .field("inner", &self.inner)
            .field("scope", &self.layer.scope)
            .field("after", &self.layer.after)
            .finish()
    }
}
