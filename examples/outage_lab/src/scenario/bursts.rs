//! Bursts and overloads: one process makes more calls than its bulkhead has permits.

use std::time::Duration;

use super::{Arrivals, Group, Patience, Requests, Scenario, ms, one_process, s};
use crate::plan::{Fault, Model, Plan};

/// The group of the calls that come at once.
pub const BURST: &str = "burst";

/// The time at which a burst begins.
const BEGIN: u64 = 20;

/// The range of the figures of a burst, in seconds from its begin.
const OBSERVED: u64 = 15;

/// The latency of an upstream that is well.
const WELL: Duration = ms(50);

/// The number of permits of the default client's bulkhead.
const PERMITS: f64 = 128.0;

/// `ordinary` calls a second, and `calls` further ones within `over`.
fn with_burst(name: &str, ordinary: f64, calls: u32, over: Duration) -> Scenario {
    let burst = Group {
        name: BURST,
        arrivals: Arrivals::Burst { calls, from: s(BEGIN), over },
        requests: Requests::Route("/burst"),
        patience: Patience::Client,
    };
    let groups = [Group::steady(ordinary), burst];
    let scenario = one_process(groups, BEGIN, Fault::None, BEGIN + OBSERVED, BEGIN + 2 * OBSERVED);
    Scenario { name: name.into(), plan: Plan::healthy(Model::Steady(WELL)), ..scenario }
}

/// A burst that a healthy upstream can answer within two seconds.
pub fn burst() -> Scenario {
    Scenario {
        story: "5,000 calls at one instant beside 20 a second; the upstream takes 50 ms",
        ..with_burst("burst-healthy", 20.0, 5000, Duration::ZERO)
    }
}

/// The time that a burst of 5,000 calls takes if all permits are always in use, in seconds.
pub fn least_time_of_burst() -> f64 {
    5000.0 / PERMITS * WELL.as_secs_f64()
}

/// Calls that come a little faster than the permits allow.
pub fn burst_over_3s() -> Scenario {
    Scenario {
        story: "10,000 calls evenly over 3 s beside 20 a second; the upstream takes 50 ms",
        ..with_burst("burst-3s", 20.0, 10_000, s(3))
    }
}

/// A burst to an upstream that answers in `latency` milliseconds, from the start or from the burst on. The permits
/// cannot serve such a burst within the time of its calls.
pub fn burst_on_slow(latency: u32, from_the_start: bool) -> Scenario {
    let kind = if from_the_start { "slow" } else { "slows" };
    let scenario = with_burst(&format!("burst-{kind}-{latency}"), 50.0, 5000, Duration::ZERO);
    let latency = ms(latency.into());
    let plan = if from_the_start {
        Plan::healthy(Model::Steady(latency))
    } else {
        let slow = Fault::Slow(latency.div_duration_f64(WELL));
        let phases = super::phases([(BEGIN, Fault::None), (BEGIN + OBSERVED, slow)]);
        Plan { phases, ..scenario.plan }
    };
    Scenario {
        story: "5,000 calls at one instant beside 50 a second; the upstream is slow, or slows down with the burst",
        plan,
        ..scenario
    }
}

/// Half as many calls again as the permits can serve, for ten seconds.
pub fn overload() -> Scenario {
    let (from, until) = (s(20), s(30));
    let rate = 1.5 * PERMITS / WELL.as_secs_f64();
    let group = Group::ordinary([
        (s(0), 20.0),
        (from, 20.0),
        (from + ms(1), rate),
        (until, rate),
        (until + ms(1), 20.0),
    ]);
    Scenario {
        name: "overload".into(),
        story: "for 10 s one process makes half as many calls again as its permits can serve",
        plan: Plan::healthy(Model::Steady(WELL)),
        after: s(32)..s(62),
        ..one_process([group], 20, Fault::None, 30, 62)
    }
}

/// An upstream that hangs while calls come faster than the permits return.
pub fn hung_queue() -> Scenario {
    Scenario {
        name: "hung-queue".into(),
        story: "one process makes 200 calls a second, and the upstream hangs for 60 s",
        ..one_process([Group::steady(200.0)], 20, Fault::Hangs, 80, 100)
    }
}
