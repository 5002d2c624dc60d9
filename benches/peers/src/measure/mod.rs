//! The measurement: rounds in which every library runs once, and the samples of these rounds.

mod caller;
mod suite;

use std::ops::AddAssign;
use std::time::Duration;

use tokio::runtime::Runtime;

use crate::allocations;

pub use self::{
    caller::Caller,
    suite::{Group, Run, RunId, Suite, Value},
};

/// The figures of one batch of calls.
#[derive(Debug, Clone, Copy, Default)]
pub struct Sample {
    /// The time of one call in nanoseconds, on the thread that makes the call.
    pub ns: f64,
    /// The calls per second of all threads together.
    pub per_second: f64,
    /// The allocations per call.
    pub allocations: f64,
    pub p99: Option<Duration>,
    /// The time that a thread was ready to run but had no processor.
    pub waited: Duration,
}

/// Runs a batch of at least this many calls.
pub type Subject = Box<dyn FnMut(u64) -> Sample>;

/// The running totals of a batch.
#[derive(Debug, Clone, Copy, Default)]
pub struct Tally {
    pub calls: u64,
    time: Duration,
    allocations: u64,
}

impl Tally {
    /// Times `work`, which makes `calls` calls.
    pub fn time(&mut self, calls: u64, work: impl FnOnce()) {
        let clock = Clock::start();
        work();
        self.add(calls, &clock);
    }

    pub fn add(&mut self, calls: u64, clock: &Clock) {
        let (time, allocations) = clock.elapsed();
        *self += Self { calls, time, allocations };
    }

    #[allow(clippy::cast_precision_loss)]
    pub fn sample(&self) -> Sample {
        let (calls, time) = (self.calls as f64, self.time.as_secs_f64());
        Sample {
            ns: time * 1e9 / calls,
            per_second: calls / time,
            allocations: self.allocations as f64 / calls,
            ..Sample::default()
        }
    }
}

impl AddAssign for Tally {
    fn add_assign(&mut self, other: Self) {
        self.calls += other.calls;
        self.time += other.time;
        self.allocations += other.allocations;
    }
}

/// A stopwatch on the system's clock, which no runtime pauses. It also counts the thread's allocations.
pub struct Clock {
    start: std::time::Instant,
    allocations: u64,
}

impl Clock {
    #[allow(clippy::disallowed_methods)]
    pub fn start() -> Self {
        let allocations = allocations::made();
        Self { start: std::time::Instant::now(), allocations }
    }

    pub fn elapsed(&self) -> (Duration, u64) {
        (self.start.elapsed(), allocations::made() - self.allocations)
    }
}

/// The total time that this thread was ready to run but had no processor. Zero where the system does not tell.
pub fn wait_for_processor() -> Duration {
    let statistics = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    let waited = statistics.split_whitespace().nth(1).and_then(|nanos| nanos.parse().ok());
    Duration::from_nanos(waited.unwrap_or_default())
}

pub fn runtime() -> Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime")
}
