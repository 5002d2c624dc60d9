//! Refusals: an open circuit, and a full bulkhead.

use std::task::Poll;

use failsafe::{Config, backoff, failure_policy};
use steadfast::bulkhead::{Bulkhead, BulkheadLayer};
use steadfast::circuit_breaker::{CircuitBreaker, CircuitBreakerLayer, State};
use steadfast::{Call, classify};
use tower::limit::ConcurrencyLimit;
use tower::load_shed::{LoadShed, error::Overloaded};
use tower::{BoxError, Layer, Service, ServiceExt};
use tower_resilience_bulkhead::BulkheadServiceError;
use tower_resilience_circuitbreaker::{CircuitBreakerError, CircuitState};

use super::breaker::judge;
use super::{HOUR, call};
use crate::measure::{Caller, Suite, runtime};
use crate::peers::{Failsafe, Recloser, resilience_breaker};
use crate::upstream::{Broken, Get, Inner, PlainUpstream, WrappedBroken, get};

pub fn add(suite: &mut Suite) {
    open(suite);
    full(suite);
}

fn open(suite: &mut Suite) {
    suite.group("breaker open, refusing", |group| {
        let circuit = CircuitBreaker::builder()
            .consecutive_failures(10, std::time::Duration::ZERO)
            .max_open_for(HOUR)
            .open_for(HOUR)
            .build()
            .unwrap();
        let mut service = CircuitBreakerLayer::new(circuit.clone())
            .non_http()
            .classifier(classify::from_fn(judge))
            .layer(PlainUpstream::<WrappedBroken>::failing());
        call(&mut service, 10, Result::is_err);
        let refused =
            |result: &Result<_, WrappedBroken>| result.as_ref().is_err_and(|error| error.is_circuit_open());
        group.time("steadfast", Caller { service, next: get, expect: refused }.ready());
        group.check(move || assert_eq!(circuit.state(), State::Open));

        let breaker = recloser::Recloser::custom().closed_len(10).open_wait(HOUR).build().into();
        let mut service = Recloser { inner: PlainUpstream::<Broken>::failing(), breaker };
        call(&mut service, 11, Result::is_err);
        let refused = |result: &Result<_, _>| matches!(result, Err(recloser::Error::Rejected));
        group.time("recloser", Caller { service, next: get, expect: refused }.ready());

        let policy = failure_policy::consecutive_failures(10, backoff::constant(HOUR));
        let breaker = Config::new().failure_policy(policy).build();
        let mut service = Failsafe { inner: PlainUpstream::<Broken>::failing(), breaker };
        call(&mut service, 10, Result::is_err);
        let refused = |result: &Result<_, _>| matches!(result, Err(failsafe::Error::Rejected));
        group.time("failsafe", Caller { service, next: get, expect: refused }.ready());

        let (layer, handle) =
            resilience_breaker::<u64, Broken>().wait_duration_in_open(HOUR).build_with_handle().unwrap();
        let mut service = layer.layer(PlainUpstream::failing());
        call(&mut service, 10, Result::is_err);
        let refused = |result: &Result<_, _>| matches!(result, Err(CircuitBreakerError::OpenCircuit));
        group.time("tower-resilience", Caller { service, next: get, expect: refused }.ready());
        group.check(move || assert_eq!(handle.state(), CircuitState::Open));
    });
}

fn shed(result: &Result<u64, BoxError>) -> bool {
    result.as_ref().is_err_and(|error| error.is::<Overloaded>())
}

fn full(suite: &mut Suite) {
    suite.group("bulkhead full, refusing", |group| {
        let runtime = runtime();

        let bulkhead = Bulkhead::builder().max_concurrent(1).max_waiting(0).build().unwrap();
        let layer = BulkheadLayer::new(bulkhead.clone()).non_http();
        let service = layer.layer(PlainUpstream::<WrappedBroken>::new(Inner::Ready));
        group.hold(service.clone().call(get()));
        let refused =
            |result: &Result<_, WrappedBroken>| result.as_ref().is_err_and(|error| error.is_bulkhead_full());
        group.time("steadfast", Caller { service, next: get, expect: refused }.ready());
        group.check(move || assert_eq!(bulkhead.in_flight(), 1));

        let service = ConcurrencyLimit::new(PlainUpstream::<Broken>::new(Inner::Ready), 1);
        let mut holder = service.clone();
        runtime.block_on(ServiceExt::<Call<Get>>::ready(&mut holder)).unwrap();
        group.hold(holder);
        let service = LoadShed::new(service);
        group.time("tower, load shed", Caller { service, next: get, expect: shed }.ready());

        let builder = tower_resilience_bulkhead::BulkheadLayer::builder().max_concurrent_calls(1);
        let (layer, handle) = builder.reject_when_full().build_with_handle().unwrap();
        let mut service = layer.layer(PlainUpstream::<Broken>::new(Inner::YieldsOnce));
        let mut held = service.call(get());
        // The permit is taken when the call is first polled.
        assert!(runtime.block_on(async {
            std::future::poll_fn(|cx| Poll::Ready(held.as_mut().poll(cx).is_pending())).await
        }));
        group.hold(held);
        let refused =
            |result: &Result<_, BulkheadServiceError<_>>| matches!(result, Err(error) if error.is_bulkhead());
        group.time("tower-resilience", Caller { service, next: get, expect: refused }.in_task());
        group.check(move || assert_eq!(handle.active_calls(), 1));

        let builder = tower_resilience_bulkhead::BulkheadLayer::builder().max_concurrent_calls(1);
        let (layer, handle) = builder.backpressure().build_with_handle().unwrap();
        let service = layer.layer(PlainUpstream::<Broken>::new(Inner::Ready));
        let mut holder = service.clone();
        runtime.block_on(async { ServiceExt::<Call<Get>>::ready(&mut holder).await.map(drop) }).unwrap();
        group.hold(holder);
        let service = LoadShed::new(service);
        group.time("tower-resilience, load shed", Caller { service, next: get, expect: shed }.ready());
        group.check(move || assert_eq!(handle.active_calls(), 1));
    });
}
