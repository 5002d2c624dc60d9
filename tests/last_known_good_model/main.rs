//! The last-known-good cache and a plain model of its rules, side by side. For all requests, answers and losses, both
//! must give the same results.

mod callers;
mod chance;
mod heads;
mod model;
mod observed;
mod run;
#[path = "../support/mod.rs"]
mod support;

use run::Run;

/// Each run has a seed of its own, so that a run that fails is short.
const RUNS: u64 = 100;
const STEPS: usize = 1000;

#[tokio::test(start_paused = true)]
async fn the_cache_and_the_model_agree() {
    let mut served = 0;
    for seed in 0..RUNS {
        served += Run::new(seed).steps(STEPS).await;
    }
    // With fewer stale responses, the agreement would mean little.
    assert!(served > 3000, "{served}");
}
