//! One upstream with two routes: one answers every call with 500, the other is healthy and is called rarely.

use super::{Arrivals, Group, Patience, Requests, Scenario, one_process, phases, s};
use crate::plan::{Fault, Plan, Reply, Route};

/// The group of the calls to the healthy route.
pub const HEALTHY: &str = "healthy";

/// The share of the attempts that fail with 503 where there is noise.
const NOISE: f64 = 0.02;

/// Calls to the failing route, `rate` a second, beside one call to the healthy route every 10 s.
fn two_routes(name: String, rate: f64, fault: Fault, length: u64) -> Scenario {
    let broken = Group { name: "broken", requests: Requests::Route("/broken"), ..Group::steady(rate) };
    let healthy = Group {
        name: HEALTHY,
        arrivals: Arrivals::Every(s(10)),
        requests: Requests::Route("/healthy"),
        patience: Patience::Client,
    };
    let scenario = one_process([broken, healthy], 0, fault, length, length);
    let routes = vec![Route { path: "/broken", reply: Reply::InternalError }];
    Scenario {
        name,
        story: "a route that answers 500 is called densely, a healthy one every 10 s",
        plan: Plan { routes, ..scenario.plan },
        ..scenario
    }
}

/// The failing route is called 10 times a second for an hour, or 100 times a second for 20 minutes.
pub fn routes(dense: bool, noise: bool) -> Scenario {
    let (how, rate, length) = if dense { ("dense", 100.0, 1200) } else { ("plain", 10.0, 3600) };
    let (suffix, fault) = if noise { ("-noise", Fault::Fails(NOISE)) } else { ("", Fault::None) };
    two_routes(format!("routes-{how}{suffix}"), rate, fault, length)
}

/// Both routes fail for a minute. Then, the failing route goes on to fail in its own way for an hour.
pub fn routes_after_outage() -> Scenario {
    const END: u64 = 120;
    let scenario = two_routes("routes-after-outage".into(), 10.0, Fault::None, END + 3600);
    let phases = phases([(60, Fault::None), (END, Fault::Fails(1.0)), (END + 1, Fault::None)]);
    Scenario {
        story: "after an outage of 60 s, one route answers 500 and is called densely, a healthy one every 10 s",
        plan: Plan { phases, ..scenario.plan },
        during: s(END)..scenario.length,
        ..scenario
    }
}
