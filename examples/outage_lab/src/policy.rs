//! The policies: stacks of the crate's own layers, with the crate's defaults and with the rules of other libraries.

mod stack;

use std::time::Duration;

use steadfast::buffer_body::BufferBodyLayer;
use steadfast::bulkhead::{Bulkhead, BulkheadBuilder};
use steadfast::circuit_breaker::{CircuitBreaker, CircuitBreakerBuilder, Window};
use steadfast::retry::{Backoff, Jitter, RetryBudget, RetryBudgetBuilder, RetryPolicy, RetryPolicyBuilder};
use steadfast::timeout::TimeoutLayer;

/// The settings of a client's stack. A part that is `None` is switched off.
#[derive(Debug, Clone)]
pub struct Policy {
    pub name: &'static str,
    pub total_timeout: Duration,
    pub attempt: TimeoutLayer,
    /// The rule for bodies that are read as part of the attempt.
    pub buffer_body: BufferBodyLayer,
    pub retry: Option<RetryPolicyBuilder>,
    pub budget: Option<RetryBudgetBuilder>,
    pub circuit: Option<CircuitBreakerBuilder>,
    pub bulkhead: Option<BulkheadBuilder>,
    pub cache: CacheUse,
    /// True if each attempt chooses among [endpoints](steadfast::endpoints). Otherwise, an upstream has one pool of
    /// connections.
    pub endpoints: bool,
}

/// The use of the last-known-good cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CacheUse {
    Never,
    /// Only in scenarios that [enable the cache](Scenario::enables_cache).
    PerScenario,
    Always,
}

const SECOND: Duration = Duration::from_secs(1);
const YEAR: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// The time that a caller without resilience waits for an answer, as in Brooker's examples.
const PATIENCE: Duration = Duration::from_secs(3);

/// No resilience: one attempt with a timeout.
pub fn bare() -> Policy {
    Policy {
        name: "bare",
        total_timeout: PATIENCE,
        attempt: TimeoutLayer::new(YEAR),
        buffer_body: BufferBodyLayer::new(),
        retry: None,
        budget: None,
        circuit: None,
        bulkhead: None,
        cache: CacheUse::Never,
        endpoints: false,
    }
}

/// The defaults of `steadfast::Client`. The cache, off by default, is on in the scenarios that enable it.
pub fn default_client() -> Policy {
    Policy {
        name: "steadfast",
        total_timeout: 10 * SECOND,
        attempt: TimeoutLayer::share_of(10 * SECOND),
        buffer_body: BufferBodyLayer::new(),
        retry: Some(RetryPolicy::builder()),
        budget: Some(RetryBudget::builder()),
        circuit: Some(CircuitBreaker::builder()),
        bulkhead: Some(Bulkhead::builder()),
        cache: CacheUse::PerScenario,
        endpoints: true,
    }
}

/// Retries as most clients have them: with backoff and jitter, but without a budget.
fn retries() -> Policy {
    Policy {
        name: "retries",
        total_timeout: 5 * PATIENCE,
        attempt: TimeoutLayer::new(PATIENCE),
        retry: Some(RetryPolicy::builder()),
        ..bare()
    }
}

/// A circuit breaker that trips on five failures in a row and is open for 5 s, doubling to 30 s, with one probe.
fn five_consecutive() -> CircuitBreakerBuilder {
    let circuit = CircuitBreaker::builder().consecutive_failures(5, Duration::ZERO).probes(1);
    circuit.open_for(5 * SECOND).max_open_for(30 * SECOND)
}

/// All policies: the default client and the policies that it is compared with.
pub fn all() -> Vec<Policy> {
    let retrying = |name, budget: RetryBudgetBuilder| Policy { name, budget: Some(budget), ..retries() };
    let breaking = |name, circuit| Policy { name, circuit: Some(circuit), ..bare() };
    let empty = || RetryBudget::builder().per_failure(0.0).per_success(0.0).initial(0.0);
    vec![
        bare(),
        Policy { name: "bare, 10 s", total_timeout: 10 * SECOND, ..bare() },
        Policy {
            name: "retries at once",
            retry: Some(
                RetryPolicy::builder()
                    .backoff(Backoff::new().base(Duration::from_millis(1)).factor(1.0).jitter(Jitter::None)),
            ),
            ..retries()
        },
        retries(),
        // Each call deposits 0.2 tokens, each second 10; a retry takes one.
        retrying("Finagle's budget", empty().capacity(200.0).per_call(0.2).per_second(10.0).initial(100.0)),
        // Starts full; a failure takes one token, a success adds 0.1. No retry when half of the budget or less is
        // left.
        retrying(
            "gRPC's budget",
            empty()
                .capacity(10.0)
                .initial(10.0)
                .per_success(0.1)
                .per_failure(1.0)
                .per_retry(0.0)
                .reserve(5.0),
        ),
        // As in the AWS SDKs: 500 tokens, a retry takes five, a success adds one. The SDKs also return the five
        // tokens of a retry that succeeds, for which steadfast has no setting: under partial failures their budget
        // lasts longer.
        retrying("AWS' budget", empty().capacity(500.0).initial(500.0).per_success(1.0).per_retry(5.0)),
        breaking("five in a row", five_consecutive()),
        // Envoy's outlier detection for an upstream of one host (5 failures in a row, 30 s), and its retry budget (a
        // fifth of the calls, at least 3). The panic threshold is 0: Envoy's default would send to ejected hosts once
        // more than half of the hosts are ejected.
        Policy {
            name: "Envoy's",
            circuit: Some(five_consecutive().open_for(30 * SECOND).max_open_for(300 * SECOND)),
            ..retrying("", empty().capacity(20.0).initial(3.0).per_call(0.2))
        },
        // Microsoft's standard handler: trips on 10 % of at least 100 calls in 30 s, open for 5 s, no budget.
        Policy {
            name: "Polly's standard",
            total_timeout: 30 * SECOND,
            attempt: TimeoutLayer::new(10 * SECOND),
            retry: Some(RetryPolicy::builder().backoff(Backoff::new().base(2 * SECOND).cap(30 * SECOND))),
            circuit: Some(
                CircuitBreaker::builder()
                    .without_consecutive_failures()
                    .window(Window::Time(30 * SECOND))
                    .failure_rate(0.1)
                    .minimum_calls(100)
                    .open_for(5 * SECOND)
                    .max_open_for(5 * SECOND)
                    .probes(1),
            ),
            ..bare()
        },
        // Single parts of the default client.
        retrying("our budget alone", RetryBudget::builder()),
        breaking("our breaker alone", CircuitBreaker::builder()),
        Policy { name: "our bulkhead alone", bulkhead: Some(Bulkhead::builder()), ..bare() },
        Policy { name: "our cache alone", cache: CacheUse::Always, ..bare() },
        Policy {
            name: "waits as told",
            retry: Some(RetryPolicy::builder().max_retry_after(10 * SECOND)),
            ..default_client()
        },
        default_client().without_retries(),
        default_client(),
    ]
}

impl Policy {
    /// The same policy without retries.
    #[must_use]
    pub fn without_retries(&self) -> Self {
        Self { name: "steadfast, no retries", retry: None, budget: None, ..self.clone() }
    }
}
