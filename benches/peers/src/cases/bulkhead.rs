//! A bulkhead with a free permit.

use steadfast::bulkhead::{Bulkhead, BulkheadLayer};
use tower::Layer;
use tower::limit::ConcurrencyLimit;

use crate::floor;
use crate::measure::Suite;
use crate::peers::resilience_bulkhead;
use crate::upstream::{Broken, INNER, PlainUpstream, WrappedBroken, get};

pub fn add(suite: &mut Suite) {
    for inner in INNER {
        suite.group(format!("bulkhead, a permit free, {inner}"), |group| {
            group.baseline("no library", inner, PlainUpstream::<Broken>::new(inner), get);

            let bulkhead = Bulkhead::default();
            let layer = BulkheadLayer::new(bulkhead.clone()).non_http();
            group.healthy("steadfast", inner, layer.layer(PlainUpstream::<WrappedBroken>::new(inner)), get);
            group.check(move || assert_eq!(bulkhead.in_flight(), 0));

            group.healthy(
                "tower",
                inner,
                ConcurrencyLimit::new(PlainUpstream::<Broken>::new(inner), 128),
                get,
            );

            let layer = resilience_bulkhead();
            group.healthy("tower-resilience", inner, layer.layer(PlainUpstream::<Broken>::new(inner)), get);

            let state = floor::State::new();
            let bulkhead = floor::Bulkhead { state: state.clone(), upstream: PlainUpstream::new(inner) };
            group.healthy("floor", inner, bulkhead, get);
            group.check(move || assert_eq!(state.free_permits(), 128));
        });
    }
}
