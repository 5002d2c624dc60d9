//! The scenarios: the callers, the call rate over time, and the plan of the upstream.

use std::ops::Range;
use std::time::Duration;

use crate::plan::{Fault, Model, Phase, Plan};

/// An outage and its callers.
#[derive(Debug, Clone)]
pub struct Scenario {
    pub name: String,
    /// A one-sentence description.
    pub story: &'static str,
    pub callers: Callers,
    /// The number of upstreams. All have the plan's model, but only the first has its faults.
    pub upstreams: usize,
    pub plan: Plan,
    /// The calls per second of a process over time, interpolated linearly between these points.
    pub rate: Vec<(Duration, f64)>,
    /// The time after which no call starts.
    pub length: Duration,
    /// The range for the figures of *during*.
    pub during: Range<Duration>,
    /// The range for the figures of *after*.
    pub after: Range<Duration>,
    /// If true, policies with [`CacheUse::PerScenario`](crate::policy::CacheUse) use the cache.
    pub enables_cache: bool,
}

/// The processes that make the calls.
#[derive(Debug, Clone, Copy)]
pub struct Callers {
    pub processes: usize,
    pub pace: Pace,
    /// The most calls that a process works on at a time; further calls wait.
    pub workers: Option<usize>,
    pub keys: Keys,
}

/// The timing of the calls of a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pace {
    /// A Poisson process, independent of earlier calls.
    OpenLoop,
    /// This many callers, each of which starts its next call when the last has ended.
    ClosedLoop(usize),
}

/// The keys that are called.
#[derive(Debug, Clone, Copy)]
pub struct Keys {
    pub count: usize,
    /// The number of keys that are also called before the outage.
    pub known: usize,
}

const ITEMS: Keys = Keys { count: 100, known: 100 };

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

    const fn callers(self) -> Callers {
        Callers { processes: self.processes(), pace: Pace::OpenLoop, workers: None, keys: ITEMS }
    }
}

const fn s(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

const STEADY: Model = Model::Steady(Duration::from_millis(20));

fn phases(phases: impl IntoIterator<Item = (u64, Fault)>) -> Vec<Phase> {
    phases.into_iter().map(|(until, fault)| Phase { until: s(until), fault }).collect()
}

/// A scenario with `before` seconds of health, the fault until `end`, and health again until `length`.
fn outage(population: Population, before: u64, fault: Fault, end: u64, length: u64) -> Scenario {
    // The last phase never ends: an outage that lasts until `length` also affects the calls then in flight.
    let after = (end < length).then_some((length, Fault::None));
    let plan = phases([(before, Fault::None), (end, fault)].into_iter().chain(after));
    Scenario {
        name: String::new(),
        story: "",
        callers: population.callers(),
        upstreams: 1,
        plan: Plan { model: STEADY, replicas: 1, one_faulty: false, phases: plan },
        rate: vec![(Duration::ZERO, population.rate())],
        length: s(length),
        during: s(before)..s(end),
        after: s(end)..s(length),
        enables_cache: false,
    }
}

/// A share of the attempts fails for 60 s, from the start or after 40 s of health.
pub fn failing(percent: u32, population: Population, warm: bool) -> Scenario {
    let before = if warm { 40 } else { 0 };
    let fault = Fault::Fails(f64::from(percent) / 100.0);
    Scenario {
        name: format!("fails-{percent}-{}-{}", population.letter(), temperature(warm)),
        story: "a share of all attempts is answered with 503",
        ..outage(population, before, fault, before + 60, before + 60)
    }
}

/// The upstream refuses connections or hangs for 60 s, from the start or after 40 s of health.
pub fn down(hangs: bool, population: Population, warm: bool) -> Scenario {
    let before = if warm { 40 } else { 0 };
    let (how, fault) = if hangs { ("hangs", Fault::Hangs) } else { ("refuses", Fault::Refuses) };
    Scenario {
        name: format!("{how}-{}-{}", population.letter(), temperature(warm)),
        story: "no attempt succeeds",
        ..outage(population, before, fault, before + 60, before + 60)
    }
}

const fn temperature(warm: bool) -> &'static str {
    if warm { "warm" } else { "cold" }
}

/// Brooker's model: the latency grows with the number of requests in progress.
const CONTENDED: Model = Model::Contended { base: Duration::from_secs(1), each: Duration::from_millis(10) };

/// Ten times the call rate for three seconds.
pub fn spike() -> Scenario {
    let ms = Duration::from_millis;
    Scenario {
        name: "spike".into(),
        story: "one process calls ten times as often for 3 s; the upstream takes 1 s and 10 ms for each call that it works on",
        callers: Callers { processes: 1, pace: Pace::OpenLoop, workers: None, keys: ITEMS },
        rate: vec![(s(0), 40.0), (s(30), 40.0), (ms(30_001), 400.0), (s(33), 400.0), (ms(33_001), 40.0)],
        plan: Plan { model: CONTENDED, ..outage(Population::Large, 0, Fault::None, 1, 1).plan },
        during: s(30)..s(43),
        after: s(43)..s(120),
        length: s(120),
        ..outage(Population::Large, 0, Fault::None, 1, 1)
    }
}

/// A call rate that slowly rises above the capacity of the upstream, and slowly falls again.
pub fn ramp(processes: usize) -> Scenario {
    #[allow(clippy::cast_precision_loss)]
    let each = |rate: f64| rate / processes as f64;
    Scenario {
        name: format!("ramp-{processes}"),
        story: "the call rate triples over 30 s and falls back over 30 s; the upstream takes 1 s and 10 ms for each call that it works on",
        callers: Callers { processes, pace: Pace::OpenLoop, workers: None, keys: ITEMS },
        rate: vec![(s(0), each(40.0)), (s(20), each(40.0)), (s(50), each(120.0)), (s(80), each(40.0))],
        plan: spike().plan,
        during: s(65)..s(95),
        after: s(95)..s(140),
        length: s(140),
        ..spike()
    }
}

/// The metastable failure of OSDI '22: the queue outlasts its cause.
pub fn capacity() -> Scenario {
    let model = Model::Queue { workers: 22, work: Duration::from_millis(20), places: 5000 };
    let scenario = outage(Population::Big, 20, Fault::Slow(5.0), 30, 80);
    Scenario {
        name: "capacity".into(),
        story: "for 10 s the upstream can answer only a fifth of its 1,100 calls a second, and up to 5,000 calls wait in its queue",
        plan: Plan { model, ..scenario.plan },
        after: s(35)..s(80),
        ..scenario
    }
}

/// One of four replicas fails or hangs. Each attempt reaches a random replica.
pub fn replica(hangs: bool, population: Population) -> Scenario {
    let (how, fault) = if hangs { ("hangs", Fault::Hangs) } else { ("fails", Fault::Fails(1.0)) };
    let scenario = outage(population, 40, fault, 100, 120);
    Scenario {
        name: format!("replica-{how}-{}", population.letter()),
        story: "one of four replicas is down; each attempt reaches a random replica",
        plan: Plan { replicas: 4, one_faulty: true, ..scenario.plan },
        ..scenario
    }
}

/// Every answer takes ten times as long.
pub fn brownout() -> Scenario {
    Scenario {
        name: "brownout".into(),
        story: "for 60 s every answer takes ten times as long, 200 ms instead of 20 ms",
        ..outage(Population::Big, 20, Fault::Slow(10.0), 80, 100)
    }
}

/// An upstream that alternates between 3 s down and 3 s up.
pub fn flapping() -> Scenario {
    let faults = [Fault::Fails(1.0), Fault::None].into_iter().cycle();
    let scenario = outage(Population::Big, 20, Fault::None, 80, 100);
    let phases =
        phases(std::iter::once((20, Fault::None)).chain((1..=20).map(|index| 20 + 3 * index).zip(faults)));
    Scenario {
        name: "flapping".into(),
        story: "for 60 s the upstream alternates between 3 s down and 3 s up",
        plan: Plan { phases, ..scenario.plan },
        ..scenario
    }
}

/// A total outage of 60 s, and the recovery from it.
pub fn recovery(population: Population) -> Scenario {
    Scenario {
        name: format!("return-{}", population.letter()),
        story: "for 60 s every answer is 503, then the upstream is healthy again",
        ..outage(population, 20, Fault::Fails(1.0), 80, 110)
    }
}

/// One of ten upstreams hangs, and the process can work on 400 calls at a time. Without `hangs`, for comparison,
/// every upstream is healthy.
pub fn neighbours(hangs: bool) -> Scenario {
    let fault = if hangs { Fault::Hangs } else { Fault::None };
    let scenario = outage(Population::Large, 20, fault, 80, 90);
    let callers = Callers { processes: 1, workers: Some(400), ..scenario.callers };
    Scenario {
        name: if hangs { "neighbours".into() } else { "neighbours-well".into() },
        story: "one of ten upstreams hangs; the process that calls them all can work on 400 calls at a time",
        callers,
        upstreams: 10,
        rate: vec![(Duration::ZERO, 1000.0)],
        ..scenario
    }
}

/// An upstream that asks all callers to retry at the same time.
pub fn retry_after() -> Scenario {
    Scenario {
        name: "retry-after".into(),
        story: "for 10 s every answer is 503 with Retry-After: 5",
        ..outage(Population::Big, 20, Fault::RetryAfter(5), 30, 60)
    }
}

/// The negative control: closed-loop callers cannot overload an upstream for long, and only backoff helps them.
pub fn serial() -> Scenario {
    let model = Model::Queue { workers: 25, work: Duration::from_millis(20), places: 100 };
    let scenario = outage(Population::Big, 20, Fault::None, 21, 60);
    Scenario {
        name: "serial".into(),
        story: "200 callers, each of which makes its next call when the last has ended, on a queue of 100 places",
        callers: Callers { processes: 10, pace: Pace::ClosedLoop(20), ..scenario.callers },
        plan: Plan { model, ..scenario.plan },
        during: s(20)..s(60),
        after: s(20)..s(60),
        ..scenario
    }
}

/// A healthy upstream with noise: a tenth of the attempts fails.
pub fn healthy(seconds: u64) -> Scenario {
    let fault = Fault::Fails(0.1);
    Scenario {
        name: "healthy".into(),
        story: "the upstream is healthy, and a tenth of the attempts fails",
        during: s(0)..s(seconds),
        ..outage(Population::Big, 0, fault, seconds, seconds)
    }
}

/// A total outage of 60 s, in which `percent` percent of the keys were called before.
pub fn known(percent: usize) -> Scenario {
    let scenario = recovery(Population::Large);
    let keys = Keys { count: 100, known: percent };
    Scenario {
        name: format!("known-{percent}"),
        story: "for 60 s every answer is 503; a share of the keys was answered before",
        callers: Callers { keys, ..scenario.callers },
        enables_cache: true,
        ..scenario
    }
}

/// Variants of one outage: several populations or several degrees.
#[derive(Debug, Clone)]
pub struct Family {
    pub name: &'static str,
    pub title: &'static str,
    pub scenarios: Vec<Scenario>,
    /// The index of the scenario whose course is drawn. `None` for a family whose plot compares all its scenarios.
    pub drawn: Option<usize>,
}

/// All families of scenarios.
pub fn families() -> Vec<Family> {
    const PERCENT: [u32; 8] = [1, 5, 10, 25, 50, 75, 90, 100];
    let family = |name, title, drawn, scenarios| Family { name, title, scenarios, drawn };
    let populations = |of: &dyn Fn(Population, bool) -> Vec<Scenario>| -> Vec<Scenario> {
        let each = |population| [false, true].map(|warm| of(population, warm));
        Population::ALL.into_iter().flat_map(each).flatten().collect()
    };
    vec![
        family(
            "fails",
            "A share of all attempts fails",
            None,
            populations(&|population, warm| PERCENT.map(|percent| failing(percent, population, warm)).into()),
        ),
        family(
            "down",
            "The upstream refuses, or hangs",
            Some(7),
            populations(&|population, warm| [false, true].map(|hangs| down(hangs, population, warm)).into()),
        ),
        family("spike", "Ten times the calls for three seconds", Some(0), vec![spike()]),
        family("ramp", "Slowly more calls than the upstream can answer", Some(0), vec![ramp(1), ramp(10)]),
        family("capacity", "Four fifths of the capacity go away for 10 s", Some(0), vec![capacity()]),
        family(
            "replica",
            "One of four replicas fails, or hangs",
            Some(1),
            [false, true]
                .into_iter()
                .flat_map(|hangs| Population::ALL.map(|population| replica(hangs, population)))
                .collect(),
        ),
        family("brownout", "Every answer takes ten times as long", Some(0), vec![brownout()]),
        family("flapping", "Down for three seconds, up for three", Some(0), vec![flapping()]),
        family(
            "return",
            "A total outage of a minute, and the return",
            Some(1),
            Population::ALL.map(recovery).into(),
        ),
        family("neighbours", "One of ten upstreams hangs", None, vec![neighbours(true), neighbours(false)]),
        family("retry-after", "Every caller is told to retry after 5 s", Some(0), vec![retry_after()]),
        family("serial", "Callers that wait for their answers", Some(0), vec![serial()]),
        family(
            "known",
            "A total outage, and answers cached before it",
            Some(1),
            [0, 50, 100].map(known).into(),
        ),
    ]
}
