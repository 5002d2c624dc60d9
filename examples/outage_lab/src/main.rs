use outage_lab::*;
use std::time::Instant;
fn main() {
    let args: Vec<String> = std::env::args().collect();
    let want = args.get(1).cloned().unwrap_or_default();
    let pol = args.get(2).cloned().unwrap_or_default();
    let seeds: u64 = args.get(3).map_or(1, |s| s.parse().unwrap());
    println!(
        "{:<22}{:<20}{:>6}{:>7}{:>6}{:>6}{:>7}{:>7}{:>6}{:>8}{:>7}{:>8}{:>6}{:>5} {:>6} {:>5}",
        "scenario",
        "policy",
        "succ",
        "stale",
        "load",
        "sust",
        "during",
        "after",
        "rec",
        "peak",
        "p50",
        "p99",
        "ft",
        "dup",
        "infl",
        "wall"
    );
    for scenario in scenario::families().into_iter().flat_map(|f| f.scenarios) {
        if !scenario.name.contains(&want) {
            continue;
        }
        for policy in policy::all() {
            if !policy.name.contains(&pol) {
                continue;
            }
            for seed in 1..=seeds {
                let t = Instant::now();
                let r = play::play(&scenario, &policy, seed);
                let f = r.figures(&scenario.during, &scenario.after);
                println!(
                    "{:<22}{:<20}{:>6.3}{:>7.3}{:>6.2}{:>6.2}{:>7.3}{:>7.3}{:>6.1}{:>8.0}{:>7.0}{:>8.0}{:>6}{:>5} {:>6} {:>5.2}",
                    scenario.name,
                    policy.name,
                    f.success,
                    f.stale,
                    f.load,
                    f.sustained_load,
                    f.goodput_during,
                    f.goodput_after,
                    f.recovery_s,
                    f.peak_after,
                    f.p50_ms,
                    f.p99_ms,
                    f.false_trips,
                    f.duplicates,
                    r.most_in_flight,
                    t.elapsed().as_secs_f64()
                );
            }
        }
    }
}
