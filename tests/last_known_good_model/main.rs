//! A fallback and a plain model of its rules, side by side: whatever is asked, answered and lost, both say the same.

mod chance;
mod model;
mod run;
mod said;
mod seen;
#[path = "../support/mod.rs"]
mod support;
mod whose;

use run::Run;

/// Each run is one with its own seed, so that one that fails is short.
const RUNS: u64 = 100;
const STEPS: usize = 1000;

#[tokio::test(start_paused = true)]
async fn what_is_served_is_what_the_rules_say() {
    let mut served = 0;
    for seed in 0..RUNS {
        served += Run::new(seed).steps(STEPS).await;
    }
    // Enough of them that agreement means something.
    assert!(served > 3000, "{served}");
}
