//! The scenarios: the callers, the calls over time, and the plan of the upstream.
//!
//! A process makes one or more groups of calls. The first group is the ordinary one. Further groups are bursts, calls
//! to another route, or calls with less patience; the figures are computed for each group, too.

mod bodies;
mod bursts;
mod families;
mod outages;
mod patience;
mod replicas;
mod routes;

use std::ops::Range;
use std::time::Duration;

pub use self::bodies::{
    STALLED, breaking_bodies, fails_as_fast, slow_bodies, stalled_halfway, stalling_bodies,
};
pub use self::bursts::{
    BURST, burst, burst_on_slow, burst_over_3s, hung_queue, least_time_of_burst, overload,
};
pub use self::families::{Family, families};
pub use self::outages::{
    brownout, capacity, down, failing, flapping, healthy, known, neighbours, ramp, recovery, retry_after,
    serial, spike,
};
pub use self::patience::{HOLES, Hole, IMPATIENT, black_hole, impatient, takes};
pub use self::replicas::{
    half_failing_replica, overloaded_replicas, replica, restart, scale_down, scale_up, slow_replica,
    slow_replicas,
};
pub use self::routes::{HEALTHY, routes, routes_after_outage};
use crate::network::Network;
use crate::plan::{Fault, Model, Phase, Plan};

/// An outage and its callers.
#[derive(Debug, Clone)]
pub struct Scenario {
    pub name: String,
    /// A one-sentence description.
    pub story: &'static str,
    pub callers: Callers,
    /// The calls of a process, by group. The first group is the ordinary one.
    pub groups: Vec<Group>,
    /// The number of upstreams. All have the plan's model, but only the first has its faults.
    pub upstreams: usize,
    pub plan: Plan,
    /// The network between the processes and the replicas.
    pub network: Network,
    /// The time after which no call starts.
    pub length: Duration,
    /// The range for the figures of *during*.
    pub during: Range<Duration>,
    /// The range for the figures of *after*.
    pub after: Range<Duration>,
    /// If true, policies with [`CacheUse::PerScenario`](crate::policy::CacheUse) use the cache.
    pub enables_cache: bool,
}

impl Scenario {
    /// The same scenario in a network.
    #[must_use]
    pub fn over(self, network: Network) -> Self {
        Self { name: format!("{}{}", self.name, network.suffix()), network, ..self }
    }
}

/// The processes that make the calls.
#[derive(Debug, Clone, Copy)]
pub struct Callers {
    pub processes: usize,
    /// The most calls that a process works on at a time; further calls wait.
    pub workers: Option<usize>,
    pub keys: Keys,
}

/// A group of calls, which each process makes.
#[derive(Debug, Clone)]
pub struct Group {
    pub name: &'static str,
    pub arrivals: Arrivals,
    pub requests: Requests,
    pub patience: Patience,
}

/// The times at which the calls of a group start, in each process.
#[derive(Debug, Clone, PartialEq)]
pub enum Arrivals {
    /// A Poisson process, independent of earlier calls. Its rate in calls per second is interpolated linearly between
    /// these points.
    OpenLoop(Vec<(Duration, f64)>),
    /// This many callers, each of which starts its next call when the last has ended.
    ClosedLoop(usize),
    /// This number of calls from a time on, evenly spread over a duration; with zero, all calls start at one instant.
    Burst { calls: u32, from: Duration, over: Duration },
    /// One call at a random time of each period of this length.
    Every(Duration),
}

/// The requests of a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Requests {
    /// GETs of random keys, and now and then an order.
    Items,
    /// GETs of this path.
    Route(&'static str),
}

/// The end of a caller's patience.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Patience {
    /// The total timeout of the client.
    Client,
    /// A timeout of the call's own ([`CallOptions::timeout`](steadfast::CallOptions::timeout)).
    Timeout(Duration),
    /// The caller drops the call after this time.
    Drop(Duration),
}

/// The keys that are called.
#[derive(Debug, Clone, Copy)]
pub struct Keys {
    pub count: usize,
    /// The number of keys that are also called before the outage.
    pub known: usize,
}

const ITEMS: Keys = Keys { count: 100, known: 100 };

/// The name of the first group of most scenarios.
pub const ORDINARY: &str = "ordinary";

impl Group {
    /// Ordinary calls at a rate that is interpolated linearly between these points.
    fn ordinary(rate: impl Into<Vec<(Duration, f64)>>) -> Self {
        Self {
            name: ORDINARY,
            arrivals: Arrivals::OpenLoop(rate.into()),
            requests: Requests::Items,
            patience: Patience::Client,
        }
    }

    /// Ordinary calls at a constant rate.
    fn steady(rate: f64) -> Self {
        Self::ordinary([(Duration::ZERO, rate)])
    }

    /// The rate at the start in calls per second, if the group has one.
    pub fn rate(&self) -> f64 {
        match &self.arrivals {
            Arrivals::OpenLoop(rate) => rate.first().map_or(0.0, |(_, rate)| *rate),
            Arrivals::Every(period) => period.as_secs_f64().recip(),
            Arrivals::ClosedLoop(_) | Arrivals::Burst { .. } => 0.0,
        }
    }
}

/// A thousand calls a second, from a number of processes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Population {
    /// 1,000 processes with one call a second each.
    Small,
    /// 100 processes with 10 calls a second each.
    Big,
    /// 10 processes with 100 calls a second each.
    Large,
}

impl Population {
    pub const ALL: [Self; 3] = [Self::Small, Self::Big, Self::Large];

    pub const fn letter(self) -> &'static str {
        match self {
            Self::Small => "S",
            Self::Big => "B",
            Self::Large => "L",
        }
    }

    const fn processes(self) -> usize {
        match self {
            Self::Small => 1000,
            Self::Big => 100,
            Self::Large => 10,
        }
    }

    #[allow(clippy::cast_precision_loss)]
    fn rate(self) -> f64 {
        1000.0 / self.processes() as f64
    }
}

const fn s(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

const fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

const STEADY: Model = Model::Steady(ms(20));

fn phases(phases: impl IntoIterator<Item = (u64, Fault)>) -> Vec<Phase> {
    phases.into_iter().map(|(until, fault)| Phase { until: s(until), fault }).collect()
}

/// A scenario with `before` seconds of health, the fault until `end`, and health again until `length`.
fn outage(population: Population, before: u64, fault: Fault, end: u64, length: u64) -> Scenario {
    // The last phase never ends: an outage that lasts until `length` also affects the calls then in flight.
    let after = (end < length).then_some((length, Fault::None));
    let phases = phases([(before, Fault::None), (end, fault)].into_iter().chain(after));
    Scenario {
        name: String::new(),
        story: "",
        callers: Callers { processes: population.processes(), workers: None, keys: ITEMS },
        groups: vec![Group::steady(population.rate())],
        upstreams: 1,
        plan: Plan { phases, ..Plan::healthy(STEADY) },
        network: Network::Layer7,
        length: s(length),
        during: s(before)..s(end),
        after: s(end)..s(length),
        enables_cache: false,
    }
}

/// A scenario with a single process that makes these groups of calls.
fn one_process(groups: impl Into<Vec<Group>>, before: u64, fault: Fault, end: u64, length: u64) -> Scenario {
    let callers = Callers { processes: 1, workers: None, keys: ITEMS };
    Scenario { callers, groups: groups.into(), ..outage(Population::Large, before, fault, end, length) }
}
