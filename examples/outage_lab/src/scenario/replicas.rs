//! An upstream of several replicas: one of them or all have a fault, or replicas come and go.
//!
//! Each scenario is made for a balancer of layer 7; [`Scenario::over`] moves it to another network.

use http::StatusCode;

use super::{Population, Scenario, ms, outage, s};
use crate::plan::{Fault, Model, Plan, Replica, Stop};

/// The time of the first change of the replicas.
const BEGIN: u64 = 20;

/// One of four replicas fails or hangs.
pub fn replica(hangs: bool, population: Population) -> Scenario {
    let (how, fault) = if hangs { ("hangs", Fault::Hangs) } else { ("fails", Fault::Fails(1.0)) };
    Scenario {
        name: format!("replica-{how}-{}", population.letter()),
        story: "one of four replicas is down",
        ..one_of_four(outage(population, 40, fault, 100, 120))
    }
}

/// One of four replicas takes ten times as long.
pub fn slow_replica() -> Scenario {
    Scenario {
        name: "replica-slow".into(),
        story: "for 40 s one of four replicas takes ten times as long",
        ..one_of_four(outage(Population::Large, BEGIN, Fault::Slow(10.0), BEGIN + 40, BEGIN + 60))
    }
}

/// One of four replicas answers half of its calls at once with an error.
pub fn half_failing_replica(status: StatusCode) -> Scenario {
    let fault = Fault::QuickErrors { share: 0.5, status };
    Scenario {
        name: format!("replica-half-{}", status.as_u16()),
        story: "for 40 s one of four replicas answers half of its calls with an error within 5 ms",
        ..one_of_four(outage(Population::Large, BEGIN, fault, BEGIN + 40, BEGIN + 60))
    }
}

/// All four replicas take ten times as long.
pub fn slow_replicas() -> Scenario {
    Scenario {
        name: "replicas-slow".into(),
        story: "for 40 s all four replicas take ten times as long",
        ..four(outage(Population::Large, BEGIN, Fault::Slow(10.0), BEGIN + 40, BEGIN + 60))
    }
}

/// All four replicas lose four fifths of their capacity for 10 s, and calls wait in their queues.
pub fn overloaded_replicas() -> Scenario {
    let scenario = four(outage(Population::Big, BEGIN, Fault::Slow(5.0), BEGIN + 10, BEGIN + 60));
    let model = Model::Queue { workers: 6, work: ms(20), places: 1250 };
    Scenario {
        name: "replicas-overloaded".into(),
        story: "for 10 s all four replicas can answer only a fifth of their 1,200 calls a second",
        plan: Plan { model, ..scenario.plan },
        after: s(BEGIN + 15)..s(BEGIN + 60),
        ..scenario
    }
}

/// Four replicas are replaced, one every five seconds. A new replica starts one second before the old one stops.
pub fn restart(stop: Stop) -> Scenario {
    let turns = || (0..4).map(|turn| s(BEGIN + 5 * turn));
    let old = turns().map(|turn| Replica { stops: turn + s(1), stop, ..Replica::ALWAYS });
    let new = turns().map(|turn| Replica { starts: turn, ..Replica::ALWAYS });
    Scenario {
        name: format!("restart-{}", if stop == Stop::Graceful { "graceful" } else { "killed" }),
        story: "four replicas are replaced one after the other",
        ..changing(old.chain(new), BEGIN + 25, BEGIN + 35)
    }
}

/// Two replicas become four. *After* begins 70 s later.
pub fn scale_up() -> Scenario {
    let new = Replica { starts: s(BEGIN), ..Replica::ALWAYS };
    let end = BEGIN + 70;
    Scenario {
        name: "scale-up".into(),
        story: "two replicas become four",
        ..changing([Replica::ALWAYS, Replica::ALWAYS, new, new], end, end + 20)
    }
}

/// Four replicas become two.
pub fn scale_down() -> Scenario {
    let old = Replica { stops: s(BEGIN), ..Replica::ALWAYS };
    Scenario {
        name: "scale-down".into(),
        story: "two of four replicas stop gracefully",
        ..changing([Replica::ALWAYS, Replica::ALWAYS, old, old], BEGIN + 20, BEGIN + 25)
    }
}

/// Healthy replicas that come and go from 20 s on.
fn changing(replicas: impl IntoIterator<Item = Replica>, end: u64, length: u64) -> Scenario {
    let scenario = outage(Population::Large, BEGIN, Fault::None, end, length);
    Scenario { plan: Plan { replicas: replicas.into_iter().collect(), ..scenario.plan }, ..scenario }
}

fn four(scenario: Scenario) -> Scenario {
    Scenario { plan: Plan { replicas: vec![Replica::ALWAYS; 4], ..scenario.plan }, ..scenario }
}

fn one_of_four(scenario: Scenario) -> Scenario {
    let scenario = four(scenario);
    Scenario { plan: Plan { one_faulty: true, ..scenario.plan }, ..scenario }
}
