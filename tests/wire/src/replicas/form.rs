//! The durations of the phases, in three forms.

use std::time::Duration;

/// The durations of a run.
#[derive(Debug)]
pub(super) struct Form {
    /// The healthy phase at the beginning of each scenario.
    pub(super) warm_up: Duration,
    /// The beginning of the warm-up, in which clients connect. Healthy percentiles leave it out.
    pub(super) cold: Duration,
    /// A fault without a duration of its own.
    pub(super) fault: Duration,
    /// The beginning of a fault, in which clients notice it. Percentiles and shares leave it out.
    pub(super) notice: Duration,
    /// The absence of the replica that comes back.
    pub(super) absence: Duration,
    /// Measures the share of that replica from `regain.0` after its start on, for `regain.1`.
    pub(super) regain: (Duration, Duration),
    /// The number of restarts of each replica.
    pub(super) rounds: usize,
    /// The time between the stop and the start of a restart.
    pub(super) down: Duration,
    /// The time between two restarts.
    pub(super) pause: Duration,
    /// Measures the share of new replicas from `grown.0` after the change of the name on, for `grown.1`.
    pub(super) grown: (Duration, Duration),
    /// Measures the share of new replicas from `renewed.0` after the change of the balancer on, for `renewed.1`.
    pub(super) renewed: (Duration, Duration),
    /// The time during which no replica listens.
    pub(super) outage: Duration,
    /// The attempts a call behind a balancer: the most that steadfast may make. A bad replica has many connections,
    /// and finding each of them costs attempts once, so that a short fault has more for each call.
    pub(super) attempts: f64,
    /// The time that is observed after the outage.
    pub(super) recovery: Duration,
    /// The requests of an outage, as a multiple of its calls: the most that steadfast may send.
    pub(super) outage_load: f64,
    /// A percentile may exceed its healthy value by this time, whatever the ratio.
    pub(super) slack: Duration,
}

impl Form {
    pub(super) const SHORT: Self = Self {
        warm_up: Duration::from_secs(3),
        cold: Duration::from_millis(500),
        fault: Duration::from_secs(8),
        notice: Duration::from_secs(4),
        absence: Duration::from_secs(5),
        regain: (Duration::from_secs(12), Duration::from_secs(5)),
        rounds: 1,
        down: Duration::from_secs(1),
        pause: Duration::from_secs(2),
        grown: (Duration::from_secs(12), Duration::from_secs(8)),
        renewed: (Duration::from_secs(90), Duration::from_secs(10)),
        outage: Duration::from_secs(8),
        attempts: 1.05,
        recovery: Duration::from_secs(10),
        // The circuit opens after some five seconds.
        outage_load: 0.9,
        slack: Duration::ZERO,
    };

    pub(super) const LONG: Self = Self {
        fault: Duration::from_secs(60),
        absence: Duration::from_secs(30),
        rounds: 2,
        grown: (Duration::from_secs(30), Duration::from_secs(10)),
        // As in the laboratory, with its target.
        outage: Duration::from_secs(60),
        attempts: 1.02,
        recovery: Duration::from_secs(20),
        outage_load: 0.2,
        ..Self::SHORT
    };

    /// For CI, whose machines pause for tens of milliseconds.
    pub(super) const QUICK: Self = Self {
        warm_up: Duration::from_secs(1),
        cold: Duration::from_millis(200),
        fault: Duration::from_secs(4),
        notice: Duration::from_secs(2),
        down: Duration::from_millis(500),
        pause: Duration::from_millis(1500),
        slack: Duration::from_millis(20),
        ..Self::SHORT
    };
}
