//! What the default client has to reach, with every seed.

use crate::policy::{Policy, bare};
use crate::record::Figures;
use crate::scenario::{
    Population, Scenario, capacity, down, failing, flapping, healthy, known, neighbours, ramp, recovery,
    replica, spike,
};
use crate::study::{Plays, Run, find, study};

/// A figure, and how far it may go.
pub struct Must {
    pub what: String,
    scenario: Scenario,
    figure: Figure,
    by: By,
    bound: Bound,
    /// It has to hold on average, not with every seed.
    on_average: bool,
}

type Figure = fn(&Figures) -> f64;

/// What a figure is divided by.
enum By {
    Nothing,
    /// The same figure of a bare client, with the same seed.
    Bare,
    /// The same figure of the default client in another scenario, with the same seed.
    Scenario(Box<Scenario>),
}

#[derive(Debug, Clone, Copy)]
enum Bound {
    AtLeast(f64),
    AtMost(f64),
}

/// What is not reached, and within which bound it has to stay. An upstream that flaps every 3 s is too fast for a circuit
/// that does not also lose a third of its good times, so the retries that a budget filled in those allows come on top.
const MISSED: [(&str, f64); 1] = [("flapping: load × bare", 1.1)];

/// What came of it.
pub struct Verdict {
    pub what: String,
    pub bound: String,
    /// Of all seeds: the worst, or the average where that is what counts.
    pub reached: f64,
    pub holds: bool,
}

impl Verdict {
    /// Whether it is one of the few that are not reached, and has not got worse.
    pub fn is_known_to_be_missed(&self) -> bool {
        MISSED.iter().any(|(what, most)| *what == self.what && self.reached <= *most)
    }
}

use Bound::{AtLeast, AtMost};

const EVERY: [(Population, bool); 6] = [
    (Population::Small, false),
    (Population::Small, true),
    (Population::Big, false),
    (Population::Big, true),
    (Population::Large, false),
    (Population::Large, true),
];

/// All of them. `healthy_seconds` is how long nothing is wrong: a thousand calls each.
pub fn all(healthy_seconds: u64) -> Vec<Must> {
    let mut musts = vec![];
    let mut must = |what: &str, scenario: Scenario, figure: Figure, by: By, bound: Bound| {
        let what = format!("{}: {what}", scenario.name);
        musts.push(Must { what, scenario, figure, by, bound, on_average: false });
    };
    for (population, warm) in EVERY {
        let load = if population == Population::Small { 1.05 } else { 0.35 };
        for scenario in
            [failing(100, population, warm), down(false, population, warm), down(true, population, warm)]
        {
            must("load", scenario, |it| it.load, By::Nothing, AtMost(load));
        }
        for percent in [1, 5, 10] {
            let scenario = failing(percent, population, warm);
            must("fresh answers", scenario.clone(), |it| it.success, By::Nothing, AtLeast(0.995));
            must("load", scenario, |it| it.load, By::Nothing, AtMost(1.15));
        }
        for (percent, fresh, load) in [(25, 1.25, 1.35), (50, 1.15, 1.25), (75, 1.0, 1.1)] {
            let scenario = failing(percent, population, warm);
            must("fresh answers × bare", scenario.clone(), |it| it.success, By::Bare, AtLeast(fresh));
            must("sustained load", scenario, |it| it.sustained_load, By::Nothing, AtMost(load));
        }
        must("fresh answers × bare", failing(90, population, warm), |it| it.success, By::Bare, AtLeast(0.75));
    }
    for population in Population::ALL {
        for hangs in [false, true] {
            let scenario = replica(hangs, population);
            must("fresh answers", scenario.clone(), |it| it.success, By::Nothing, AtLeast(0.99));
            must("load", scenario, |it| it.load, By::Nothing, AtMost(1.35));
        }
        let scenario = recovery(population);
        let load = if population == Population::Small { 0.75 } else { 0.2 };
        must(
            "seconds until 95 % are answered",
            scenario.clone(),
            |it| it.recovery_s,
            By::Nothing,
            AtMost(5.0),
        );
        must("peak after × bare", scenario.clone(), |it| it.peak_after, By::Bare, AtMost(1.1));
        must("load", scenario, |it| it.load, By::Nothing, AtMost(load));
    }
    must("fresh answers after", spike(), |it| it.goodput_after, By::Nothing, AtLeast(0.99));
    must("fresh answers after", ramp(1), |it| it.goodput_after, By::Nothing, AtLeast(0.98));
    must("fresh answers during recovery, worst seed", ramp(10), |it| it.success, By::Nothing, AtLeast(0.6));
    must("fresh answers from 5 s after", capacity(), |it| it.goodput_after, By::Nothing, AtLeast(0.99));
    must("fresh answers × bare", flapping(), |it| it.success, By::Bare, AtLeast(0.98));
    must("load × bare", flapping(), |it| it.load, By::Bare, AtMost(1.0));
    let well = By::Scenario(Box::new(neighbours(false)));
    must("the others' p99 × without", neighbours(true), |it| it.others_p99_ms, well, AtMost(1.05));
    must("the others' fresh answers", neighbours(true), |it| it.others_success, By::Nothing, AtLeast(1.0));
    must("calls in flight", neighbours(true), |it| it.most_in_flight, By::Nothing, AtMost(400.0));
    must("false trips", healthy(healthy_seconds), |it| it.false_trips, By::Nothing, AtMost(0.0));
    must("known keys answered", known(100), |it| it.known_answered, By::Nothing, AtLeast(0.999));
    must("wrong ages", known(100), |it| it.wrong_ages, By::Nothing, AtMost(0.0));
    let twice: Vec<_> = musts.iter().map(|must| must.scenario.clone()).collect();
    musts.push(Must {
        what: "ramp-1: fresh answers during recovery, on average".into(),
        scenario: ramp(1),
        figure: |it| it.success,
        by: By::Nothing,
        bound: AtLeast(0.75),
        on_average: true,
    });
    let mut seen = vec![];
    for scenario in twice {
        if !seen.contains(&scenario.name) {
            seen.push(scenario.name.clone());
            musts.push(Must {
                what: format!("{}: sent twice that must not be", scenario.name),
                scenario,
                figure: |it| it.duplicates,
                by: By::Nothing,
                bound: AtMost(0.0),
                on_average: false,
            });
        }
    }
    musts
}

/// Plays what is needed for these, and says what came of each for this client.
pub fn judge(
    musts: &[Must],
    client: &Policy,
    seeds: &[u64],
    progress: impl Fn(usize, usize) + Sync,
) -> Vec<Verdict> {
    let mut plays = Plays::default();
    for must in musts {
        plays.add(&must.scenario, client);
        match &must.by {
            By::Nothing => {}
            By::Bare => plays.add(&must.scenario, &bare()),
            By::Scenario(other) => plays.add(other, client),
        }
    }
    let runs = study(&plays, seeds, progress);
    musts.iter().map(|must| must.judge(client, &runs)).collect()
}

impl Must {
    /// Whether it is about a scenario of which the name begins so.
    pub fn is_about(&self, name: &str) -> bool {
        self.scenario.name.starts_with(name)
    }

    fn judge(&self, client: &Policy, runs: &[Run]) -> Verdict {
        let values = |scenario: &Scenario, policy: &str| {
            find(runs, scenario, policy).figures.iter().map(self.figure).collect::<Vec<_>>()
        };
        let own = values(&self.scenario, client.name);
        let by = match &self.by {
            By::Nothing => vec![1.0; own.len()],
            By::Bare => values(&self.scenario, bare().name),
            By::Scenario(other) => values(other, client.name),
        };
        let ratios: Vec<_> = own.iter().zip(by).map(|(own, by)| own / by).collect();
        #[allow(clippy::cast_precision_loss)]
        let average = ratios.iter().sum::<f64>() / ratios.len() as f64;
        let worst = match self.bound {
            AtLeast(_) => ratios.iter().copied().fold(f64::INFINITY, f64::min),
            AtMost(_) => ratios.iter().copied().fold(f64::NEG_INFINITY, f64::max),
        };
        // `min` and `max` pass over what is no number: where nothing was counted, nothing is reached.
        let is_measured = ratios.iter().all(|ratio| !ratio.is_nan());
        let reached = match (is_measured, self.on_average) {
            (false, _) => f64::NAN,
            (true, true) => average,
            (true, false) => worst,
        };
        let (bound, holds) = match self.bound {
            AtLeast(bound) => (format!("≥ {bound}"), reached >= bound),
            AtMost(bound) => (format!("≤ {bound}"), reached <= bound),
        };
        Verdict { what: self.what.clone(), bound, reached, holds }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::default_client;
    use crate::scenario::spike;

    #[test]
    fn what_was_not_measured_is_not_reached() {
        for bound in [AtLeast(0.0), AtMost(1.0)] {
            let by = By::Bare;
            let scenario = spike();
            let must =
                Must { what: String::new(), scenario, figure: |it| it.load, by, bound, on_average: false };
            let run = |policy| Run {
                scenario: spike(),
                policy,
                figures: vec![Figures::default(); 2],
                course: vec![],
            };
            let verdict = must.judge(&default_client(), &[run(default_client().name), run(bare().name)]);
            assert!(!verdict.holds, "nothing by nothing is no figure: {}", verdict.reached);
        }
    }
}
