//! Builders under arbitrary settings: `build()` returns an error that names the field, or a part that serves calls
//! without a panic.

#![no_main]

use std::convert::Infallible;
use std::time::Duration;

use bytes::Bytes;
use http::header::RETRY_AFTER;
use http::{Request, Response, StatusCode};
use http_body_util::Empty;
use libfuzzer_sys::arbitrary::{self, Arbitrary};
use libfuzzer_sys::fuzz_target;
use steadfast::bulkhead::{Bulkhead, BulkheadLayer};
use steadfast::circuit_breaker::{CircuitBreaker, CircuitBreakerLayer, Window};
use steadfast::deadline::DeadlineLayer;
use steadfast::endpoints::{Endpoints, EndpointsService, fixed};
use steadfast::last_known_good::{LastKnownGood, LastKnownGoodLayer};
use steadfast::retry::{Backoff, Jitter, RetryBudget, RetryLayer, RetryPolicy};
use steadfast::timeout::TimeoutLayer;
use steadfast::{Call, ConfigError, Error, ErrorKind};
use tower::{ServiceBuilder, ServiceExt};

/// A number that is usually sensible, so that a single odd value meets a working rest.
#[derive(Debug, Clone, Copy, Arbitrary)]
enum Count {
    Small(u8),
    Any(u64),
}

#[derive(Debug, Clone, Copy, Arbitrary)]
enum Time {
    Millis(u16),
    Any(Duration),
}

#[derive(Debug, Clone, Copy, Arbitrary)]
enum Number {
    /// A number of sixteenths.
    Part(u8),
    Any(f64),
}

impl Count {
    const fn get(self) -> u64 {
        match self {
            Self::Small(number) => number as u64,
            Self::Any(number) => number,
        }
    }
}

impl From<Count> for u16 {
    fn from(count: Count) -> Self {
        count.get() as Self
    }
}

impl From<Count> for u32 {
    fn from(count: Count) -> Self {
        count.get() as Self
    }
}

impl From<Count> for u64 {
    fn from(count: Count) -> Self {
        count.get()
    }
}

impl From<Count> for usize {
    fn from(count: Count) -> Self {
        count.get() as Self
    }
}

impl From<Time> for Duration {
    fn from(time: Time) -> Self {
        match time {
            Time::Millis(millis) => Self::from_millis(millis.into()),
            Time::Any(time) => time,
        }
    }
}

impl From<Number> for f64 {
    fn from(number: Number) -> Self {
        match number {
            Number::Part(part) => Self::from(part) / 16.0,
            Number::Any(number) => number,
        }
    }
}

/// The settings of all layers. `None` stands for the default.
#[derive(Debug, Arbitrary)]
struct Config {
    circuit: CircuitConfig,
    retry: RetryConfig,
    budget: BudgetConfig,
    bulkhead: BulkheadConfig,
    endpoints: EndpointsConfig,
    cache: CacheConfig,
    total: Option<Time>,
    attempt: Option<Time>,
}

#[derive(Debug, Arbitrary)]
struct CircuitConfig {
    consecutive: Option<Option<(Count, Time)>>,
    window: Option<WindowConfig>,
    failure_rate: Option<Number>,
    slow_calls: Option<(Time, Number)>,
    minimum_calls: Option<Count>,
    open_for: Option<Time>,
    max_open_for: Option<Time>,
    probes: Option<Count>,
    successes_to_close: Option<Count>,
    probe_lease: Option<Time>,
    abandoned_after: Option<Time>,
    shadow: bool,
}

#[derive(Debug, Arbitrary)]
enum WindowConfig {
    Time(Time),
    Calls(Count),
}

#[derive(Debug, Arbitrary)]
struct RetryConfig {
    max_retries: Option<Count>,
    max_retry_after: Option<Time>,
    base: Option<Time>,
    factor: Option<Number>,
    cap: Option<Time>,
    jitter: JitterConfig,
}

#[derive(Debug, Arbitrary)]
enum JitterConfig {
    None,
    Full,
    Equal,
    Decorrelated,
    Proportional(Number),
}

#[derive(Debug, Arbitrary)]
struct BudgetConfig {
    capacity: Option<Number>,
    initial: Option<Number>,
    per_call: Option<Number>,
    per_success: Option<Number>,
    per_failure: Option<Number>,
    per_retry: Option<Number>,
    per_second: Option<Number>,
    reserve: Option<Number>,
}

#[derive(Debug, Arbitrary)]
struct EndpointsConfig {
    count: u8,
    max_endpoints: Option<Count>,
    consecutive_faults: Option<Count>,
    fault_share: Option<Number>,
    eject_for: Option<Time>,
    max_eject_for: Option<Time>,
}

#[derive(Debug, Arbitrary)]
struct BulkheadConfig {
    max_concurrent: Option<Count>,
    max_waiting: Option<Count>,
    max_wait: Option<Time>,
    resize: Option<Count>,
}

#[derive(Debug, Arbitrary)]
struct CacheConfig {
    max_age: Option<Time>,
    max_bytes: Option<Count>,
    max_entry_bytes: Option<Count>,
    store_timeout: Option<Time>,
    renew_after: Option<Time>,
}

/// The result of an attempt.
#[derive(Debug, Clone, Copy, Arbitrary)]
enum Attempt {
    Answer,
    Down,
    /// A 503 with a `Retry-After` of this many seconds.
    DownFor(u32),
    Broken,
    /// The attempt never ends.
    Hang,
    /// An answer after this many milliseconds.
    Slow(u16),
}

/// Applies the fields of `$config` that are `Some` to `$builder`.
macro_rules! with {
    ($builder:expr, $config:expr, $($field:ident),+) => {{
        let mut builder = $builder;
        $(if let Some(value) = $config.$field { builder = builder.$field(value.into()); })+
        builder
    }};
}

impl CircuitConfig {
    fn build(&self) -> Result<CircuitBreaker, ConfigError> {
        let mut builder = with!(
            CircuitBreaker::builder().seed(1).shadow(self.shadow),
            self,
            failure_rate,
            minimum_calls,
            open_for,
            max_open_for,
            probes,
            successes_to_close,
            probe_lease,
            abandoned_after
        );
        builder = match self.consecutive {
            None => builder,
            Some(None) => builder.without_consecutive_failures(),
            Some(Some((failures, span))) => builder.consecutive_failures(failures.into(), span.into()),
        };
        builder = match self.window {
            None => builder,
            Some(WindowConfig::Time(time)) => builder.window(Window::Time(time.into())),
            Some(WindowConfig::Calls(calls)) => builder.window(Window::Calls(calls.into())),
        };
        if let Some((longer_than, rate)) = self.slow_calls {
            builder = builder.slow_calls(longer_than.into(), rate.into());
        }
        builder.build()
    }
}

impl RetryConfig {
    fn build(&self) -> Result<RetryPolicy, ConfigError> {
        let backoff = with!(Backoff::new(), self, base, factor, cap).jitter(match self.jitter {
            JitterConfig::None => Jitter::None,
            JitterConfig::Full => Jitter::Full,
            JitterConfig::Equal => Jitter::Equal,
            JitterConfig::Decorrelated => Jitter::Decorrelated,
            JitterConfig::Proportional(share) => Jitter::Proportional(share.into()),
        });
        with!(RetryPolicy::builder().seed(1).backoff(backoff), self, max_retries, max_retry_after).build()
    }
}

impl BudgetConfig {
    fn build(&self) -> Result<RetryBudget, ConfigError> {
        with!(
            RetryBudget::builder(),
            self,
            capacity,
            initial,
            per_call,
            per_success,
            per_failure,
            per_retry,
            per_second,
            reserve
        )
        .build()
    }
}

impl BulkheadConfig {
    fn build(&self) -> Result<Bulkhead, ConfigError> {
        let bulkhead = with!(Bulkhead::builder(), self, max_concurrent, max_waiting, max_wait).build()?;
        self.resize.map_or(Ok(()), |calls| bulkhead.resize(calls.into()))?;
        Ok(bulkhead)
    }
}

impl EndpointsConfig {
    fn build<S: Clone + Send + Sync + 'static>(&self, service: S) -> Result<Endpoints<u8, S>, ConfigError> {
        let builder = Endpoints::builder().seed(1);
        with!(builder, self, max_endpoints, consecutive_faults, fault_share, eject_for, max_eject_for)
            .build(fixed(0..=self.count), move |_: &u8| service.clone())
    }
}

impl CacheConfig {
    fn build(&self) -> Result<LastKnownGood, ConfigError> {
        let builder = LastKnownGood::builder().seed(1);
        with!(builder, self, max_age, max_bytes, max_entry_bytes, store_timeout, renew_after).build()
    }
}

impl Attempt {
    async fn make(self) -> Result<Response<Empty<Bytes>>, Error<Infallible>> {
        let mut response = Response::new(Empty::new());
        match self {
            Self::Answer => {}
            Self::Down => *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE,
            Self::DownFor(seconds) => {
                *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
                response.headers_mut().insert(RETRY_AFTER, seconds.into());
            }
            Self::Broken => return Err(Error::new(ErrorKind::Body)),
            Self::Hang => std::future::pending().await,
            Self::Slow(millis) => tokio::time::sleep(Duration::from_millis(millis.into())).await,
        }
        Ok(response)
    }
}

/// The built part, or `None` if the settings are invalid. Asserts that the error names the field.
fn check<T>(built: Result<T, ConfigError>) -> Option<T> {
    built.inspect_err(|error| assert!(error.to_string().starts_with(error.field()))).ok()
}

async fn serve(config: &Config, attempts: Vec<Attempt>) {
    // Builds every part, even if another part is invalid.
    let (circuit, retry) = (check(config.circuit.build()), check(config.retry.build()));
    let (budget, bulkhead) = (check(config.budget.build()), check(config.bulkhead.build()));
    let (Some(circuit), Some(retry), Some(budget), Some(bulkhead), Some(cache)) =
        (circuit, retry, budget, bulkhead, check(config.cache.build()))
    else {
        return;
    };
    let time = |time: Option<Time>, default| time.map_or(default, Duration::from);
    let total = time(config.total, Duration::from_secs(3));
    let mut next = attempts.into_iter().cycle();
    let next = std::sync::Arc::new(std::sync::Mutex::new(move || next.next().unwrap_or(Attempt::Answer)));
    let upstream = tower::service_fn(move |_: Call<Request<Empty<Bytes>>>| (next.lock().unwrap())().make());
    let Some(endpoints) = check(config.endpoints.build(upstream)) else { return };
    let service = ServiceBuilder::new()
        .layer(DeadlineLayer::new(total))
        .layer(LastKnownGoodLayer::new(cache))
        .layer(RetryLayer::new(retry).budget(budget.clone()).advised_by(circuit.clone()))
        .layer(CircuitBreakerLayer::new(circuit.clone()))
        .layer(BulkheadLayer::new(bulkhead.clone()))
        .layer(TimeoutLayer::new(time(config.attempt, Duration::from_secs(1))))
        .service(EndpointsService::new(endpoints.clone()));
    for _ in 0..8 {
        let call = service.clone().oneshot(Call::new(Request::new(Empty::new())));
        // The caller drops a call that takes longer than an hour.
        drop(tokio::time::timeout(Duration::from_secs(60 * 60), call).await);
        assert_eq!((bulkhead.in_flight(), bulkhead.waiting()), (0, 0));
        assert!(budget.tokens() >= 0.0);
        assert!(endpoints.list().iter().all(|endpoint| endpoint.in_flight() == 0));
        let snapshot = circuit.snapshot();
        assert!((0.0..=1.0).contains(&snapshot.failure_rate) && (0.0..=1.0).contains(&snapshot.slow_rate));
    }
}

fuzz_target!(|input: (Config, Vec<Attempt>)| {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    runtime.unwrap().block_on(serve(&input.0, input.1));
});
