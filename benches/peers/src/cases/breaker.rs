//! A closed circuit breaker.

use failsafe::{Config, backoff, failure_policy};
use steadfast::circuit_breaker::{CircuitBreaker, CircuitBreakerLayer, State, Window};
use steadfast::{ErrorInfo, Outcome, classify};
use tower::Layer;
use tower_resilience_circuitbreaker::{CircuitState, FailureModel, SlidingWindowType};

use super::{HOUR, SECOND, call};
use crate::floor;
use crate::measure::{Suite, runtime};
use crate::peers::{Failsafe, Recloser, resilience_breaker};
use crate::upstream::{Broken, INNER, PlainUpstream, WrappedBroken, get};

/// The calls in the window before the measurement.
const TRAFFIC: usize = 100_000;

pub fn add(suite: &mut Suite) {
    consecutive(suite);
    window(suite);
}

pub fn judge(result: Result<&u64, &ErrorInfo>) -> Outcome {
    match result {
        Ok(status) if *status < 500 => Outcome::Success,
        Ok(502..=504) | Err(_) => Outcome::transient(),
        Ok(_) => Outcome::Failure,
    }
}

fn consecutive(suite: &mut Suite) {
    for inner in INNER {
        suite.group(format!("breaker closed, consecutive, {inner}"), |group| {
            group.baseline("no library", inner, PlainUpstream::<Broken>::new(inner), get);

            let circuit = CircuitBreaker::default();
            let service =
                CircuitBreakerLayer::new(circuit.clone()).non_http().classifier(classify::from_fn(judge));
            group.healthy("steadfast", inner, service.layer(PlainUpstream::<WrappedBroken>::new(inner)), get);
            group.check(move || assert_eq!(circuit.state(), State::Closed));

            let breaker = recloser::Recloser::custom().build().into();
            group.healthy(
                "recloser",
                inner,
                Recloser { inner: PlainUpstream::<Broken>::new(inner), breaker },
                get,
            );

            let policy = failure_policy::consecutive_failures(10, backoff::constant(SECOND));
            let breaker = Config::new().failure_policy(policy).build();
            group.healthy(
                "failsafe",
                inner,
                Failsafe { inner: PlainUpstream::<Broken>::new(inner), breaker },
                get,
            );

            let (layer, handle) = resilience_breaker::<u64, Broken>().build_with_handle().unwrap();
            group.healthy("tower-resilience", inner, layer.layer(PlainUpstream::new(inner)), get);
            group.check(move || assert_eq!(handle.state(), CircuitState::Closed));

            let state = floor::State::new();
            let breaker = floor::Breaker { state: state.clone(), upstream: PlainUpstream::new(inner) };
            group.healthy("floor", inner, breaker, get);
            group.check(move || assert!(state.is_closed()));
        });
    }
}

fn window(suite: &mut Suite) {
    // tower-resilience keeps a list of the calls in its window, so that filling the window takes seconds.
    let traffic = if suite.quick { TRAFFIC / 100 } else { TRAFFIC };
    for inner in INNER {
        suite.group(format!("breaker closed, time window, {traffic} calls in it, {inner}"), |group| {
            group.baseline("no library", inner, PlainUpstream::<Broken>::new(inner), get);

            let circuit = CircuitBreaker::builder()
                .without_consecutive_failures()
                .window(Window::Time(HOUR))
                .failure_rate(0.5)
                .build()
                .unwrap();
            let layer =
                CircuitBreakerLayer::new(circuit.clone()).non_http().classifier(classify::from_fn(judge));
            let mut service = layer.layer(PlainUpstream::<WrappedBroken>::new(inner));
            call(&mut service, traffic, Result::is_ok);
            group.healthy("steadfast", inner, service, get);
            group.check(move || {
                assert_eq!(circuit.state(), State::Closed);
                assert!(circuit.snapshot().window_calls as usize >= traffic);
            });

            let policy =
                failure_policy::success_rate_over_time_window(0.5, 20, HOUR, backoff::constant(SECOND));
            let breaker = Config::new().failure_policy(policy).build();
            group.healthy(
                "failsafe",
                inner,
                Failsafe { inner: PlainUpstream::<Broken>::new(inner), breaker },
                get,
            );

            let (layer, handle) = resilience_breaker::<u64, Broken>()
                .failure_model(FailureModel::SlidingWindow)
                .sliding_window_type(SlidingWindowType::TimeBased)
                .sliding_window_duration(HOUR)
                .minimum_number_of_calls(20)
                .build_with_handle()
                .unwrap();
            let mut service = layer.layer(PlainUpstream::new(inner));
            call(&mut service, traffic, Result::is_ok);
            let seen = runtime().block_on(service.metrics());
            assert_eq!(seen.total_calls, traffic);
            group.healthy("tower-resilience", inner, service, get);
            group.check(move || assert_eq!(handle.state(), CircuitState::Closed));
        });
    }
}
