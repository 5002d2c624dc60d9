//! Many upstreams: the lookup of a call's upstream, and the memory of each upstream.

use std::sync::Arc;

use steadfast::bulkhead::{Bulkhead, BulkheadLayer};
use steadfast::circuit_breaker::{CircuitBreaker, CircuitBreakerLayer};
use steadfast::per_upstream::{PerUpstreamLayer, UpstreamKey};
use steadfast::retry::{RetryLayer, RetryPolicy};
use steadfast::{Call, Client};
use tower::layer::util::Identity;
use tower::{Layer, Service, ServiceBuilder};

use super::call_with;
use super::stack::steadfast_three;
use crate::allocations;
use crate::measure::{Group, Suite, Value};
use crate::upstream::{Get, HttpUpstream, Inner, WrappedBroken};

pub fn add(suite: &mut Suite) {
    let inner = Inner::Ready;
    // Creating ten thousand upstreams takes seconds.
    for count in [1, 100, if suite.quick { 1000 } else { 10_000 }] {
        suite.group(format!("per upstream, {count} in turn, nothing beneath, ready"), |group| {
            group.baseline("no library", inner, HttpUpstream::<WrappedBroken>::new(inner), in_turn(count));
            let layer = PerUpstreamLayer::new(|_: &UpstreamKey| (Identity::new(), ()));
            let service = layer.max_upstreams(4 * count).layer(HttpUpstream::<WrappedBroken>::new(inner));
            let known = service.clone();
            group.each_of(count, service);
            group.check(move || assert_eq!(known.upstreams().len(), count));
        });
        suite.group(
            format!("per upstream, {count} in turn, over retry(breaker(bulkhead)), ready"),
            |group| {
                let (alone, check) = steadfast_three(inner);
                group.baseline("one upstream's stack alone", inner, alone, in_turn(count));
                group.check(check);
                let (circuit, bulkhead) = (CircuitBreaker::default(), Bulkhead::default());
                let layer = PerUpstreamLayer::new(move |upstream: &UpstreamKey| {
                    let name: Arc<str> = upstream.to_string().into();
                    let circuit = circuit.fresh(Arc::clone(&name));
                    let layers = ServiceBuilder::new()
                        .layer(RetryLayer::new(RetryPolicy::default()).advised_by(circuit.clone()))
                        .layer(CircuitBreakerLayer::new(circuit))
                        .layer(BulkheadLayer::new(bulkhead.fresh(name)))
                        .into_inner();
                    (layers, ())
                });
                let service = layer.max_upstreams(4 * count).layer(HttpUpstream::<WrappedBroken>::new(inner));
                let known = service.clone();
                group.each_of(count, service);
                group.check(move || assert_eq!(known.upstreams().len(), count));
            },
        );
    }
    suite.group("memory of an upstream of a client", |group| {
        group.row(group.name.clone(), "steadfast", Value::Bytes(memory()));
    });
}

impl Group {
    /// Measures calls to `count` upstreams in turn. Every upstream is created before the measurement.
    fn each_of<S>(&mut self, count: usize, mut service: S)
    where
        S: Service<Call<Get>, Response: Send, Error: Send, Future: Send> + Send + 'static,
    {
        call_with(&mut service, count, in_turn(count), Result::is_ok);
        self.healthy("steadfast", Inner::Ready, service, in_turn(count));
    }
}

/// Requests to `count` upstreams in turn.
fn in_turn(count: usize) -> impl FnMut() -> Call<Get> + Send + 'static {
    let hosts: Vec<&'static str> =
        (0..count).map(|number| &*format!("sku-{number}.internal").leak()).collect();
    let mut next = 0;
    move || {
        let host = hosts[next];
        next = (next + 1) % hosts.len();
        Call::new(Get { host })
    }
}

/// The bytes that a client holds per upstream.
#[allow(clippy::cast_precision_loss)]
fn memory() -> f64 {
    const UPSTREAMS: usize = 1000;
    let client = Client::new();
    let before = allocations::live_bytes();
    for number in 0..UPSTREAMS {
        client.upstream_at(format!("http://sku-{number}.internal/")).expect("a valid URL");
    }
    let kept = allocations::live_bytes().wrapping_sub(before);
    assert_eq!(client.upstreams().len(), UPSTREAMS);
    kept as f64 / UPSTREAMS as f64
}
