//! Timeouts around calls that end in time.

use std::time::Duration;

use steadfast::deadline::DeadlineLayer;
use steadfast::timeout::TimeoutLayer;
use tokio::time::Instant;
use tower::timeout::Timeout;
use tower::{Layer, ServiceBuilder};

use super::{HOUR, SECOND};
use crate::measure::Suite;
use crate::peers::resilience_timeout;
use crate::upstream::{Broken, HttpUpstream, INNER, WrappedBroken, get};

const TOTAL: Duration = Duration::from_secs(10);

pub fn add(suite: &mut Suite) {
    for inner in INNER {
        suite.group(format!("timeout, {inner}"), |group| {
            group.baseline("no library", inner, HttpUpstream::<Broken>::new(inner), get);
            let layer = TimeoutLayer::new(SECOND);
            group.healthy("steadfast", inner, layer.layer(HttpUpstream::<WrappedBroken>::new(inner)), get);
            let layer = DeadlineLayer::new(TOTAL);
            group.healthy(
                "steadfast, total",
                inner,
                layer.layer(HttpUpstream::<WrappedBroken>::new(inner)),
                get,
            );
            group.healthy("tower", inner, Timeout::new(HttpUpstream::<Broken>::new(inner), SECOND), get);
            let layer = resilience_timeout(SECOND);
            group.healthy("tower-resilience", inner, layer.layer(HttpUpstream::<Broken>::new(inner)), get);
        });

        suite.group(format!("timeouts, total and attempt, {inner}"), |group| {
            group.baseline("no library", inner, HttpUpstream::<Broken>::new(inner), get);
            let layers =
                ServiceBuilder::new().layer(DeadlineLayer::new(TOTAL)).layer(TimeoutLayer::new(SECOND));
            group.healthy("steadfast", inner, layers.service(HttpUpstream::<WrappedBroken>::new(inner)), get);
            // The client's own total timeout only sets the deadline of the call: one more reading of the clock and no
            // timer. A deadline that is already set costs the attempt the same.
            let deadline = Instant::now() + HOUR;
            let stamped = move || get().deadline(deadline);
            let layer = TimeoutLayer::new(SECOND).layer(HttpUpstream::<WrappedBroken>::new(inner));
            group.healthy("steadfast, as in the client", inner, layer, stamped);
            group.healthy(
                "tower, one timeout",
                inner,
                Timeout::new(HttpUpstream::<Broken>::new(inner), SECOND),
                get,
            );
            let both = Timeout::new(Timeout::new(HttpUpstream::<Broken>::new(inner), SECOND), TOTAL);
            group.healthy("tower", inner, both, get);
            let layers =
                ServiceBuilder::new().layer(resilience_timeout(TOTAL)).layer(resilience_timeout(SECOND));
            group.healthy("tower-resilience", inner, layers.service(HttpUpstream::<Broken>::new(inner)), get);
        });
    }
}
