//! The stack of a policy's layers.

use std::io;
use std::sync::Arc;

use bytes::Bytes;
use http::Response;
use http_body::Body;
use steadfast::bulkhead::{Bulkhead, BulkheadLayer};
use steadfast::circuit_breaker::{CircuitBreaker, CircuitBreakerLayer};
use steadfast::deadline::DeadlineLayer;
use steadfast::last_known_good::{LastKnownGood, LastKnownGoodLayer};
use steadfast::per_upstream::{PerUpstreamLayer, UpstreamKey};
use steadfast::retry::{RetryLayer, RetryPolicy};
use steadfast::{BoxError, Error};
use tower::util::BoxCloneSyncService;
use tower::{Service, ServiceBuilder, ServiceExt};

use super::{CacheUse, Policy};
use crate::client::{Circuits, Client, read};
use crate::network::{Network, Pool, Target, endpoints};
use crate::scenario::Scenario;
use crate::upstream::{Upstream, UpstreamRequest};

impl Policy {
    /// A client for the upstreams of a scenario.
    pub fn client(&self, scenario: &Scenario, upstreams: &[Upstream], seed: u64) -> Client {
        match scenario.network {
            Network::Layer7 => self.client_over(scenario, upstreams.iter().cloned(), seed),
            network if self.endpoints => {
                let endpoints = upstreams.iter().map(|upstream| endpoints(upstream, network, seed));
                self.client_over(scenario, endpoints, seed)
            }
            Network::Name(protocol) | Network::Balancer(protocol) => {
                let pool = |upstream: &Upstream| Pool::new(upstream.clone(), Target::Any, protocol);
                self.client_over(scenario, upstreams.iter().map(pool), seed)
            }
        }
    }

    /// A client with a service for each upstream. Every layer is present; a part that is switched off has settings
    /// that never act.
    fn client_over<S, B>(&self, scenario: &Scenario, upstreams: impl Iterator<Item = S>, seed: u64) -> Client
    where
        S: Service<UpstreamRequest, Response = Response<B>, Error = Error<io::Error>>,
        S: Clone + Send + Sync + 'static,
        S::Future: Send + 'static,
        B: Body<Data = Bytes, Error: Into<BoxError>> + Unpin + Send + 'static,
    {
        let circuits = Circuits::default();
        let config = self.clone();
        let retry =
            config.retry.unwrap_or(RetryPolicy::builder().max_retries(0)).seed(seed).build().expect("valid");
        let budget = config.budget.map(|budget| budget.build().expect("valid"));
        let template =
            config.circuit.clone().unwrap_or_else(CircuitBreaker::builder).seed(seed).build().expect("valid");
        let bulkhead =
            config.bulkhead.unwrap_or(Bulkhead::builder().max_concurrent(1_000_000)).build().expect("valid");
        let make_stack = {
            let circuits = circuits.clone();
            move |upstream: &UpstreamKey| {
                let name: Arc<str> = upstream.to_string().into();
                let circuit = template.fresh(Arc::clone(&name));
                if config.circuit.is_none() {
                    circuit.force_closed();
                }
                circuits.add(&circuit);
                let retry = RetryLayer::new(retry.clone()).advised_by(circuit.clone());
                let layers = ServiceBuilder::new()
                    .layer(match &budget {
                        Some(budget) => retry.budget(budget.fresh(Arc::clone(&name))),
                        None => retry.without_budget(),
                    })
                    .layer(CircuitBreakerLayer::new(circuit))
                    .layer(BulkheadLayer::new(bulkhead.fresh(name)))
                    .layer(config.attempt)
                    .layer(config.buffer_body)
                    .into_inner();
                (layers, ())
            }
        };
        let upstreams: Arc<[S]> = upstreams.collect();
        let by_host = tower::service_fn(move |request: UpstreamRequest| {
            let mut upstream = upstreams[index_of(request.uri().host())].clone();
            upstream.call(request)
        });
        let service = ServiceBuilder::new().layer(PerUpstreamLayer::new(make_stack)).service(by_host);
        let deadline = ServiceBuilder::new().layer(DeadlineLayer::new(self.total_timeout));
        let service = if self.uses_cache_in(scenario) {
            let cache = LastKnownGood::builder().seed(seed).build().expect("valid");
            let cache = LastKnownGoodLayer::new(cache);
            BoxCloneSyncService::new(deadline.layer(cache).service(service).and_then(read))
        } else {
            BoxCloneSyncService::new(deadline.service(service).and_then(read))
        };
        Client { service, circuits }
    }

    fn uses_cache_in(&self, scenario: &Scenario) -> bool {
        match self.cache {
            CacheUse::Never => false,
            CacheUse::PerScenario => scenario.enables_cache,
            CacheUse::Always => true,
        }
    }
}

/// The index of the upstream with this host.
fn index_of(host: Option<&str>) -> usize {
    host.and_then(|host| host.trim_start_matches('u').parse().ok()).unwrap_or(0)
}
