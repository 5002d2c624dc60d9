//! The time limit of an attempt.
//!
//! In the client, the limit is a share of the time of the call: of the call's own timeout, or else of the client's
//! total timeout. The timeout layer offers this share only inside the crate, so this module makes the layer anew for
//! each call.

use std::task::{Context, Poll};
use std::time::Duration;

use steadfast::HasCallOptions;
use steadfast::timeout::{TimeoutLayer, TimeoutService};
use tower::{Layer, Service};

use crate::upstream::UpstreamRequest;

/// The rule for the time of an attempt.
#[derive(Debug, Clone, Copy)]
pub enum AttemptTime {
    Fixed(Duration),
    /// This share of the time of the call.
    Share(f64),
}

impl AttemptTime {
    /// The layer that limits each attempt, in a client with this total timeout.
    pub const fn layer(self, total: Duration) -> AttemptLayer {
        AttemptLayer { time: self, total }
    }
}

#[derive(Debug, Clone, Copy)]
pub struct AttemptLayer {
    time: AttemptTime,
    total: Duration,
}

#[derive(Debug, Clone)]
pub struct AttemptService<S> {
    limit: AttemptLayer,
    inner: S,
}

impl<S> Layer<S> for AttemptLayer {
    type Service = AttemptService<S>;

    fn layer(&self, inner: S) -> AttemptService<S> {
        AttemptService { limit: *self, inner }
    }
}

impl<S: Clone> Service<UpstreamRequest> for AttemptService<S>
where
    TimeoutService<S>: Service<UpstreamRequest>,
{
    type Response = <TimeoutService<S> as Service<UpstreamRequest>>::Response;
    type Error = <TimeoutService<S> as Service<UpstreamRequest>>::Error;
    type Future = <TimeoutService<S> as Service<UpstreamRequest>>::Future;

    /// The upstreams of the laboratory are always ready.
    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: UpstreamRequest) -> Self::Future {
        let AttemptLayer { time, total } = self.limit;
        let time = match time {
            AttemptTime::Fixed(time) => time,
            AttemptTime::Share(share) => request.options().get_timeout().unwrap_or(total).mul_f64(share),
        };
        TimeoutLayer::new(time).layer(self.inner.clone()).call(request)
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use http::Request;
    use http_body_util::Empty;
    use steadfast::{CallOptions, Error};
    use tokio::time::Instant;
    use tower::{ServiceBuilder, ServiceExt, service_fn};

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[tokio::test(start_paused = true)]
    async fn an_attempt_has_a_share_of_the_calls_own_timeout_or_of_the_total_one() {
        let hangs = service_fn(|_: UpstreamRequest| std::future::pending::<Result<(), Error<io::Error>>>());
        for (own, share, fixed) in [(None, 5 * SECOND, 7 * SECOND), (Some(2 * SECOND), SECOND, 7 * SECOND)] {
            for (time, expected) in [(AttemptTime::Share(0.5), share), (AttemptTime::Fixed(fixed), fixed)] {
                let mut request = Request::new(Empty::new());
                if let Some(own) = own {
                    request.extensions_mut().insert(CallOptions::new().timeout(own));
                }
                let start = Instant::now();
                let service = ServiceBuilder::new().layer(time.layer(10 * SECOND)).service(hangs);
                assert!(service.oneshot(request).await.unwrap_err().is_timeout());
                assert_eq!(start.elapsed(), expected);
            }
        }
    }
}
