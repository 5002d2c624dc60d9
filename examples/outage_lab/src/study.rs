//! Plays many scenarios, policies and seeds in parallel, on every processor.

use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use crate::figures::Figures;
use crate::play::play;
use crate::policy::Policy;
use crate::record::{Record, Second};
use crate::scenario::Scenario;

/// The results of a scenario with a policy.
#[derive(Debug, Clone)]
pub struct Run {
    pub scenario: Scenario,
    pub policy: &'static str,
    /// The figures for each seed, in the order of the seeds.
    pub figures: Vec<Figures>,
    /// The course with the first seed.
    pub course: Vec<Second>,
}

/// The pairs of scenario and policy to play, without duplicates by name.
#[derive(Debug, Clone, Default)]
pub struct Plays(Vec<(Scenario, Policy)>);

impl Plays {
    pub fn add(&mut self, scenario: &Scenario, policy: &Policy) {
        let is_same = |(s, p): &(Scenario, Policy)| s.name == scenario.name && p.name == policy.name;
        if !self.0.iter().any(is_same) {
            self.0.push((scenario.clone(), policy.clone()));
        }
    }
}

/// The run of a scenario with a policy. Panics if it was not played.
pub fn find<'a>(runs: &'a [Run], scenario: &Scenario, policy: &str) -> &'a Run {
    let run = runs.iter().find(|run| run.scenario.name == scenario.name && run.policy == policy);
    run.expect("the scenario was played with the policy")
}

/// Plays every pair with each seed. Calls `progress(done, total)` after each run.
pub fn study(Plays(plays): &Plays, seeds: &[u64], progress: impl Fn(usize, usize) + Sync) -> Vec<Run> {
    let jobs: Vec<_> =
        (0..plays.len()).flat_map(|play| seeds.iter().map(move |seed| (play, *seed))).collect();
    let (next, done) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let results = Mutex::new(vec![None; jobs.len()]);
    let work = || {
        while let Some((index, (number, seed))) = {
            let index = next.fetch_add(1, Ordering::Relaxed);
            jobs.get(index).map(|job| (index, *job))
        } {
            let (scenario, policy) = &plays[number];
            let record = play(scenario, policy, seed);
            let course = if seed == seeds[0] { record.course() } else { vec![] };
            let result = (figures(scenario, &record), course);
            results.lock().unwrap_or_else(PoisonError::into_inner)[index] = Some(result);
            progress(done.fetch_add(1, Ordering::Relaxed) + 1, jobs.len());
        }
    };
    thread::scope(|scope| {
        let workers = thread::available_parallelism().map_or(1, std::num::NonZero::get);
        (0..workers).for_each(|_| drop(scope.spawn(work)));
    });
    let results = results.into_inner().unwrap_or_else(PoisonError::into_inner);
    let mut results = results.into_iter().map(|result| result.expect("every job is done"));
    plays
        .iter()
        .map(|(scenario, policy)| {
            let (figures, courses): (Vec<_>, Vec<_>) = results.by_ref().take(seeds.len()).unzip();
            let course = courses.into_iter().next().unwrap_or_default();
            Run { scenario: scenario.clone(), policy: policy.name, figures, course }
        })
        .collect()
}

fn figures(scenario: &Scenario, record: &Record) -> Figures {
    record.figures(&scenario.during, &scenario.after)
}

impl Run {
    /// The mean of a figure over the seeds.
    #[allow(clippy::cast_precision_loss)]
    pub fn mean(&self, figure: impl Fn(&Figures) -> f64) -> f64 {
        self.figures.iter().map(figure).sum::<f64>() / self.figures.len() as f64
    }

    /// The maximum of a figure over the seeds.
    pub fn most(&self, figure: impl Fn(&Figures) -> f64) -> f64 {
        self.figures.iter().map(figure).fold(f64::NEG_INFINITY, f64::max)
    }

    /// The median of a figure over the seeds.
    pub fn median(&self, figure: impl Fn(&Figures) -> f64) -> f64 {
        let mut values: Vec<_> = self.figures.iter().map(figure).collect();
        values.sort_unstable_by(f64::total_cmp);
        values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
    }
}
