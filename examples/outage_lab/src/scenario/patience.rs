//! Time limits: calls with short deadlines, callers that leave, and upstreams that take longer than an attempt may.

use std::time::Duration;

use super::{Arrivals, Callers, Group, Patience, Population, Requests, Scenario, ms, one_process, s};
use crate::plan::{Fault, Model, Plan};

/// The calls that meet an upstream that hangs.
#[derive(Debug, Clone, Copy)]
pub struct Hole {
    /// The time that each call has, in milliseconds.
    pub limit: u32,
    /// If true, callers drop their calls at the limit. Otherwise, the limit is the timeout of the call.
    pub drops: bool,
    /// The calls per second.
    pub rate: u32,
    /// If true, the upstream was healthy for 20 s before.
    pub warm: bool,
}

/// The limits of the black holes: in milliseconds, and whether callers drop their calls at the limit.
pub const HOLES: [(u32, bool); 4] = [(60, false), (200, false), (800, false), (800, true)];

/// The group of the calls with a time limit.
const LIMITED: &str = "limited";

/// An upstream that hangs under callers that do not wait for long.
///
/// There is one call in each period: with a Poisson process of one call a second, the seconds until a circuit opens
/// would mostly show the luck of the calls.
pub fn black_hole(Hole { limit, drops, rate, warm }: Hole) -> Scenario {
    let before = if warm { 20 } else { 0 };
    let time = ms(limit.into());
    let (kind, patience) =
        if drops { ("-dropped", Patience::Drop(time)) } else { ("", Patience::Timeout(time)) };
    let arrivals = Arrivals::Every(s(1) / rate);
    let group = Group { name: LIMITED, arrivals, patience, requests: Requests::Items };
    Scenario {
        name: format!("black-hole-{limit}ms{kind}-{rate}{}", if warm { "" } else { "-cold" }),
        story: "the upstream hangs, and each call has only a short time",
        ..one_process([group], before, Fault::Hangs, before + 100, before + 100)
    }
}

/// The shares of impatient calls, in percent.
pub const IMPATIENT: [f64; 3] = [90.0, 99.0, 99.9];

/// A healthy upstream under callers of which most give up before an answer can come.
///
/// One process makes a thousand calls a second, or each process of a population makes its share of them.
pub fn impatient(percent: f64, population: Option<Population>) -> Scenario {
    let (suffix, processes) =
        population.map_or((String::new(), 1), |it| (format!("-{}", it.letter()), it.processes()));
    #[allow(clippy::cast_precision_loss)]
    let (share, rate) = (percent / 100.0, 1000.0 / processes as f64);
    let hasty =
        Group { name: "impatient", patience: Patience::Timeout(ms(10)), ..Group::steady(rate * share) };
    let scenario = one_process([Group::steady(rate * (1.0 - share)), hasty], 60, Fault::None, 60, 60);
    Scenario {
        name: format!("impatient-{percent}{suffix}"),
        story: "a healthy upstream takes 20 ms; most calls have a timeout of 10 ms, the others none of their own",
        callers: Callers { processes, ..scenario.callers },
        during: s(0)..s(60),
        ..scenario
    }
}

/// A healthy upstream whose answers take long.
pub fn takes(latency: Duration) -> Scenario {
    let scenario = one_process([Group::steady(10.0)], 0, Fault::None, 60, 60);
    Scenario {
        name: format!("takes-{}s", latency.as_secs_f64()),
        story: "a healthy upstream takes 4 or 6.5 s; ten processes make ten calls a second each",
        callers: Callers { processes: 10, ..scenario.callers },
        plan: Plan::healthy(Model::Steady(latency)),
        ..scenario
    }
}
