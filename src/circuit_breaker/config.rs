//! The settings of a circuit breaker, and their builder.

use std::sync::Arc;
use std::time::Duration;

use crate::ConfigError;
use crate::config_error::MAX_DURATION;

/// Configures a [`CircuitBreaker`](super::CircuitBreaker).
///
/// [`build`](Self::build) checks the values.
///
/// ```
/// use std::time::Duration;
/// use steadfast::circuit_breaker::{CircuitBreaker, Window};
///
/// let circuit = CircuitBreaker::builder()
///     .name("sku")
///     .window(Window::Time(Duration::from_secs(10)))
///     .failure_rate(0.5)
///     .slow_calls(Duration::from_millis(800), 0.8)
///     .build()?;
/// # Ok::<(), steadfast::ConfigError>(())
/// ```
#[derive(Debug, Clone)]
pub struct CircuitBreakerBuilder {
    pub(super) settings: BreakerSettings,
    pub(super) name: Option<Arc<str>>,
    pub(super) seed: Option<u64>,
}

/// The settings of a circuit breaker. `validate` checks their values.
#[derive(Debug, Clone)]
pub(super) struct BreakerSettings {
    pub(super) consecutive: Option<Consecutive>,
    pub(super) window: Window,
    pub(super) failure_rate: Option<f64>,
    pub(super) slow_calls: Option<SlowCalls>,
    pub(super) minimum_calls: u32,
    pub(super) open_for: Duration,
    pub(super) max_open_for: Duration,
    pub(super) probes: u32,
    pub(super) successes_to_close: u32,
    pub(super) probe_lease: Duration,
    pub(super) abandoned_after: Duration,
    pub(super) shadow: bool,
}

/// The rule for failures in a row: the least number, and the least time from the first to the last.
#[derive(Debug, Clone, Copy)]
pub(super) struct Consecutive {
    pub(super) failures: u16,
    pub(super) span: Duration,
}

/// The rule for slow calls: the time above which a call is slow, and the share of slow calls that opens the circuit.
#[derive(Debug, Clone, Copy)]
pub(super) struct SlowCalls {
    pub(super) longer_than: Duration,
    pub(super) rate: f64,
}

/// The calls over which a circuit breaker measures its rates.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Window {
    /// All calls in the latest period of this length, from 10 ms to one day. The window slides by a tenth of its
    /// length at a time.
    Time(Duration),
    /// The latest N calls, with N from 1 to 100,000. The window takes N bytes of memory.
    Calls(u32),
}

impl CircuitBreakerBuilder {
    pub(super) fn new() -> Self {
        Self {
            settings: BreakerSettings {
                consecutive: Some(Consecutive { failures: 20, span: Duration::from_secs(5) }),
                window: Window::Time(Duration::from_secs(30)),
                failure_rate: None,
                slow_calls: None,
                minimum_calls: 20,
                open_for: Duration::from_secs(1),
                max_open_for: Duration::from_secs(4),
                probes: 3,
                successes_to_close: 1,
                probe_lease: Duration::from_secs(10),
                abandoned_after: Duration::from_secs(1),
                shadow: false,
            },
            name: None,
            seed: None,
        }
    }

    /// Sets the upstream's name, for errors and events. Default: none.
    pub fn name(mut self, name: impl Into<Arc<str>>) -> Self {
        self.name = Some(name.into());
        self
    }

    #[cfg(feature = "reqwest")]
    pub(crate) fn get_name(&self) -> Option<&str> {
        self.name.as_deref()
    }

    /// Opens the circuit after at least `failures` transient failures in a row (1 to 10,000), if the latest comes at
    /// least `span` after the first. `span` is at most a day; with a `span` of zero, the count alone decides.
    /// Default: 20 and 5 s.
    ///
    /// A [`Failure`](crate::Outcome::Failure) of the application neither extends nor ends the run. A run that has not
    /// opened the circuit within `span` and ten minutes begins anew with the next failure.
    ///
    /// A retry layer that the circuit breaker [advises](crate::retry::RetryLayer::advised_by) usually stops retrying
    /// before the circuit opens: after five failures in a row that span 100 ms. A retry helps against a fault of one
    /// attempt, not against a fault of the upstream. A retry layer without a budget ignores this advice.
    pub fn consecutive_failures(mut self, failures: u16, span: Duration) -> Self {
        self.settings.consecutive = Some(Consecutive { failures, span });
        self
    }

    /// Turns off the count of failures in a row. The circuit breaker then gives no advice against retries while the
    /// circuit is closed.
    pub fn without_consecutive_failures(mut self) -> Self {
        self.settings.consecutive = None;
        self
    }

    /// Sets the window over which the rates are measured. Default: the last 30 s.
    pub fn window(mut self, window: Window) -> Self {
        self.settings.window = window;
        self
    }

    /// Opens the circuit when the share of failed calls in the window is at least `rate`. `rate` is above 0 and at
    /// most 1. The share is checked at each failure. Default: off.
    pub fn failure_rate(mut self, rate: f64) -> Self {
        self.settings.failure_rate = Some(rate);
        self
    }

    /// Opens the circuit when the share of slow calls in the window is at least `rate`. A call is slow if it took
    /// longer than `longer_than`, whether it succeeded or not. The share is checked at each slow call. A slow probe
    /// counts as failed. `rate` is above 0 and at most 1. Default: off.
    ///
    /// A call's time in a bulkhead's queue does not make the call slow, unless a layer between circuit breaker and
    /// bulkhead runs the call in another task.
    pub fn slow_calls(mut self, longer_than: Duration, rate: f64) -> Self {
        self.settings.slow_calls = Some(SlowCalls { longer_than, rate });
        self
    }

    /// Sets the number of calls that the window must hold before a rate can open the circuit: at least 1, and in a
    /// [`Window::Calls`] at most the size of the window. Default: 20.
    pub fn minimum_calls(mut self, calls: u32) -> Self {
        self.settings.minimum_calls = calls;
        self
    }

    /// Sets the first open time: 1 ms to `max_open_for`. Each failed round of probes doubles the open time, and
    /// jitter shortens each open time by up to half. Default: 1 s.
    pub fn open_for(mut self, time: Duration) -> Self {
        self.settings.open_for = time;
        self
    }

    /// Sets the longest open time: `open_for` to a year. A longer time saves the upstream little load, but delays
    /// recovery. Default: 4 s.
    pub fn max_open_for(mut self, time: Duration) -> Self {
        self.settings.max_open_for = time;
        self
    }

    /// Sets the number of probes in a round: 1 to 1,000. Default: 3.
    pub fn probes(mut self, probes: u32) -> Self {
        self.settings.probes = probes;
        self
    }

    /// Sets the number of successful probes that closes the circuit: 1 to the number of probes. The circuit opens
    /// again as soon as a round can no longer reach this number. Default: 1, so the circuit opens again only if all
    /// probes of a round fail.
    pub fn successes_to_close(mut self, successes: u32) -> Self {
        self.settings.successes_to_close = successes;
        self
    }

    /// Sets the lease of a probe, its longest time: 1 ms to a year. A probe that takes longer counts as failed, so
    /// that a hung probe cannot keep the circuit half-open. If a good answer begins within the lease, and its body is
    /// still being read after [`abandoned_after`](Self::abandoned_after), the probe has succeeded. Default: 10 s.
    ///
    /// The lease of a probe lasts at least until the deadline of its call. A `Client` raises the lease to at least
    /// twice its attempt timeout, and by default to at least its total timeout.
    pub fn probe_lease(mut self, time: Duration) -> Self {
        self.settings.probe_lease = time;
        self
    }

    /// Raises the lease to at least twice the time of an attempt, because a probe may have to wait for a permit
    /// before it is sent.
    #[cfg(feature = "reqwest")]
    pub(crate) fn probe_lease_at_least(mut self, attempt: Duration) -> Self {
        let least = attempt.saturating_mul(2).min(MAX_DURATION);
        // A lease of zero stays as it is, so that `build` refuses it.
        if !self.settings.probe_lease.is_zero() {
            self.settings.probe_lease = self.settings.probe_lease.max(least);
        }
        self
    }

    /// Sets the wait after which a call that its caller drops counts as a failure, because the upstream seems to
    /// hang. Half of this time is enough if good answers usually take less than a tenth of the wait. A call that is
    /// dropped earlier does not count. Default: 1 s.
    ///
    /// This time also scales the waits of [calls that are cut](super#calls-that-are-cut) before a good answer is
    /// known.
    ///
    /// A call's time in a bulkhead's queue is not part of this wait, unless a layer between circuit breaker and
    /// bulkhead runs the call in another task.
    pub fn abandoned_after(mut self, time: Duration) -> Self {
        self.settings.abandoned_after = time;
        self
    }

    /// Turns shadow mode on or off, to try out a configuration. In shadow mode, the circuit breaker counts, changes
    /// state and reports, but refuses no call and gives no advice to retries. Default: `false`.
    pub fn shadow(mut self, shadow: bool) -> Self {
        self.settings.shadow = shadow;
        self
    }

    /// Seeds the jitter, to make it repeatable. Default: seeded by the operating system.
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = Some(seed);
        self
    }

    /// Returns the settings, for tests of the machine alone.
    #[cfg(test)]
    pub(super) fn into_settings(self) -> BreakerSettings {
        self.settings.validate().expect("a test's settings are valid");
        self.settings
    }
}

impl BreakerSettings {
    pub(super) fn validate(&self) -> Result<(), ConfigError> {
        const MILLISECOND: Duration = Duration::from_millis(1);
        const DAY: Duration = Duration::from_secs(24 * 60 * 60);
        if let Some(Consecutive { failures, span }) = self.consecutive {
            ConfigError::check("circuit_breaker.consecutive_failures", failures, 1..=10_000)?;
            ConfigError::check("circuit_breaker.consecutive_failures.span", span, Duration::ZERO..=DAY)?;
        }
        match self.window {
            Window::Time(time) => {
                ConfigError::check("circuit_breaker.window", time, 10 * MILLISECOND..=DAY)?;
                ConfigError::check("circuit_breaker.minimum_calls", self.minimum_calls, 1..=u32::MAX)?;
            }
            Window::Calls(calls) => {
                ConfigError::check("circuit_breaker.window", calls, 1..=100_000)?;
                ConfigError::check("circuit_breaker.minimum_calls", self.minimum_calls, 1..=calls)
                    .map_err(|error| error.bounded_by("the value of circuit_breaker.window"))?;
            }
        }
        if let Some(rate) = self.failure_rate {
            check_rate("circuit_breaker.failure_rate", rate)?;
        }
        if let Some(SlowCalls { longer_than, rate }) = self.slow_calls {
            ConfigError::check("circuit_breaker.slow_calls", longer_than, Duration::ZERO..=MAX_DURATION)?;
            check_rate("circuit_breaker.slow_calls.rate", rate)?;
        }
        ConfigError::check("circuit_breaker.max_open_for", self.max_open_for, MILLISECOND..=MAX_DURATION)?;
        ConfigError::check("circuit_breaker.open_for", self.open_for, MILLISECOND..=self.max_open_for)
            .map_err(|error| error.bounded_by("the value of circuit_breaker.max_open_for"))?;
        ConfigError::check("circuit_breaker.probes", self.probes, 1..=1000)?;
        ConfigError::check("circuit_breaker.successes_to_close", self.successes_to_close, 1..=self.probes)
            .map_err(|error| error.bounded_by("the value of circuit_breaker.probes"))?;
        ConfigError::check("circuit_breaker.probe_lease", self.probe_lease, MILLISECOND..=MAX_DURATION)?;
        Ok(())
    }
}

/// Refuses a rate of zero, which is reached without any failure, and a rate above 1, which is never reached.
fn check_rate(field: &'static str, rate: f64) -> Result<(), ConfigError> {
    if rate > 0.0 && rate <= 1.0 {
        return Ok(());
    }
    Err(ConfigError::new(field, rate, "above 0 and at most 1"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(feature = "reqwest")]
    #[test]
    fn a_lease_has_room_for_an_attempt() {
        let lease = |attempt| CircuitBreakerBuilder::new().probe_lease_at_least(attempt).settings.probe_lease;
        assert_eq!(lease(Duration::from_secs(2)), Duration::from_secs(10));
        assert_eq!(lease(Duration::from_secs(30)), Duration::from_secs(60));
        assert_eq!(lease(Duration::MAX), MAX_DURATION);
    }

    #[test]
    fn a_circuit_that_could_never_trip_or_never_recover_is_refused_by_field() {
        let second = Duration::from_secs(1);
        let field = |builder: CircuitBreakerBuilder| builder.build().unwrap_err().field();
        let new = CircuitBreakerBuilder::new;
        assert_eq!(field(new().consecutive_failures(0, second)), "circuit_breaker.consecutive_failures");
        assert_eq!(field(new().window(Window::Time(Duration::ZERO))), "circuit_breaker.window");
        assert_eq!(field(new().window(Window::Calls(0))), "circuit_breaker.window");
        assert_eq!(field(new().window(Window::Calls(10))), "circuit_breaker.minimum_calls");
        assert_eq!(field(new().minimum_calls(0)), "circuit_breaker.minimum_calls");
        for rate in [0.0, -0.1, 1.01, f64::NAN, f64::INFINITY] {
            assert_eq!(field(new().failure_rate(rate)), "circuit_breaker.failure_rate");
            assert_eq!(field(new().slow_calls(second, rate)), "circuit_breaker.slow_calls.rate");
        }
        assert_eq!(field(new().open_for(Duration::ZERO)), "circuit_breaker.open_for");
        assert_eq!(field(new().open_for(5 * second)), "circuit_breaker.open_for");
        assert_eq!(field(new().max_open_for(Duration::MAX)), "circuit_breaker.max_open_for");
        assert_eq!(field(new().probes(0)), "circuit_breaker.probes");
        assert_eq!(field(new().successes_to_close(4)), "circuit_breaker.successes_to_close");
        assert_eq!(field(new().probe_lease(Duration::ZERO)), "circuit_breaker.probe_lease");
    }
}
