//! The retry layer around calls that succeed at the first attempt.

use std::task::{Context, Poll};

use steadfast::RetrySafety;
use steadfast::retry::{RetryLayer, RetryPolicy};
use tower::retry::Retry;
use tower::{Layer, Service};
use tower_resilience_retry::RetryBudgetBuilder;

use crate::measure::Suite;
use crate::peers::{Retries, resilience_retry};
use crate::upstream::{Broken, HttpUpstream, INNER, Inner, WrappedBroken, get, http_get};

/// The inner service with one copy of each request, which is the least cost of a retry layer.
#[derive(Clone)]
pub struct Copies<S>(pub S);

impl<Req: Clone, S: Service<Req>> Service<Req> for Copies<S> {
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, request: Req) -> S::Future {
        let copy = std::hint::black_box(request.clone());
        let future = self.0.call(request);
        drop(copy);
        future
    }
}

pub fn add(suite: &mut Suite) {
    for inner in INNER {
        suite.group(format!("retry, copies are free, {inner}"), |group| {
            group.baseline("no library", inner, HttpUpstream::<Broken>::new(inner), get);
            let layer = RetryLayer::new(RetryPolicy::default());
            group.healthy("steadfast", inner, layer.layer(HttpUpstream::<WrappedBroken>::new(inner)), get);
            group.healthy("tower", inner, Retry::new(Retries(3), HttpUpstream::<Broken>::new(inner)), get);
            let layer = resilience_retry().build();
            group.healthy("tower-resilience", inner, layer.layer(HttpUpstream::<Broken>::new(inner)), get);
        });

        suite.group(format!("retry, http::Request, {inner}"), |group| {
            group.baseline("the copy alone", inner, Copies(HttpUpstream::<Broken>::new(inner)), http_get);
            let layer = RetryLayer::new(RetryPolicy::default());
            group.healthy(
                "steadfast",
                inner,
                layer.layer(HttpUpstream::<WrappedBroken>::new(inner)),
                http_get,
            );
            group.healthy(
                "tower",
                inner,
                Retry::new(Retries(3), HttpUpstream::<Broken>::new(inner)),
                http_get,
            );
            let layer = resilience_retry().build();
            group.healthy(
                "tower-resilience",
                inner,
                layer.layer(HttpUpstream::<Broken>::new(inner)),
                http_get,
            );
            let budget = RetryBudgetBuilder::new().token_bucket().build().unwrap();
            let layer = resilience_retry().budget(budget).build();
            let service = layer.layer(HttpUpstream::<Broken>::new(inner));
            group.healthy("tower-resilience, with a budget", inner, service, http_get);
        });
    }

    let inner = Inner::Ready;
    suite.group("retry, http::Request that may not be sent again, ready", |group| {
        let once = || http_get().retry_safety(RetrySafety::Never);
        group.baseline("no library", inner, HttpUpstream::<Broken>::new(inner), once);
        let layer = RetryLayer::new(RetryPolicy::default());
        group.healthy("steadfast", inner, layer.layer(HttpUpstream::<WrappedBroken>::new(inner)), once);
        group.healthy("tower", inner, Retry::new(Retries(0), HttpUpstream::<Broken>::new(inner)), once);
        let layer = resilience_retry().max_attempts(1).build();
        group.healthy("tower-resilience", inner, layer.layer(HttpUpstream::<Broken>::new(inner)), once);
    });
}
