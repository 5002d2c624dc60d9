//! Outages: the upstream fails, or the calls are more than the upstream can answer.

use std::time::Duration;

use super::{Arrivals, Callers, Group, ITEMS, Keys, Population, Scenario, outage, phases, s};
use crate::plan::{Fault, Model, Plan};

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
        callers: Callers { processes: 1, workers: None, keys: ITEMS },
        groups: vec![Group::ordinary([
            (s(0), 40.0),
            (s(30), 40.0),
            (ms(30_001), 400.0),
            (s(33), 400.0),
            (ms(33_001), 40.0),
        ])],
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
        callers: Callers { processes, workers: None, keys: ITEMS },
        groups: vec![Group::ordinary([
            (s(0), each(40.0)),
            (s(20), each(40.0)),
            (s(50), each(120.0)),
            (s(80), each(40.0)),
        ])],
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
        groups: vec![Group::steady(1000.0)],
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
        callers: Callers { processes: 10, ..scenario.callers },
        groups: vec![Group { arrivals: Arrivals::ClosedLoop(20), ..Group::steady(0.0) }],
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
