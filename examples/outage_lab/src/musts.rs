//! The requirements of the default client, each of which must hold with every seed.

mod outages;
mod replicas;
mod traffic;

use crate::figures::Figures;
use crate::policy::{Policy, bare};
use crate::scenario::Scenario;
use crate::study::{Plays, Run, find, study};

/// A requirement: a bound on a figure of a scenario.
pub struct Must {
    pub name: String,
    scenario: Scenario,
    figure: Figure,
    baseline: Baseline,
    bound: Bound,
    /// If true, the mean over the seeds has to reach the bound, instead of the figure of every seed.
    on_average: bool,
    /// If true, the client makes no retries.
    without_retries: bool,
    /// If true, the verdict also has the figure of a bare client.
    shows_bare: bool,
}

type Figure = fn(&Figures) -> f64;

/// The divisor of a figure.
enum Baseline {
    None,
    /// The figure of a bare client, with the same seed.
    Bare,
    /// The figure of the default client in another scenario, with the same seed. The figure of the requirement may be
    /// larger by `allowance`.
    Scenario {
        scenario: Box<Scenario>,
        allowance: f64,
    },
}

#[derive(Debug, Clone, Copy)]
enum Bound {
    AtLeast(f64),
    AtMost(f64),
    /// No requirement: the mean is only reported.
    Reported,
}

/// The requirements that are known to be missed, each with the worst figure that is tolerated.
///
/// Flapping every 3 s is too fast for a circuit: one that opened in time would lose a third of the good times, too.
/// So the circuit stays closed, and retries, paid for with the tokens of the good times, add to the load.
const MISSED: [(&str, f64); 1] = [("flapping: load × bare", 1.1)];

/// The verdict on a requirement.
pub struct Verdict {
    pub name: String,
    pub bound: String,
    /// The worst figure of all seeds, or their mean if the requirement is on average or the figure only reported.
    pub reached: f64,
    /// `None` for a figure that is only reported.
    pub holds: Option<bool>,
    /// The mean of a bare client, where the requirement asks for it.
    pub bare: Option<f64>,
}

impl Verdict {
    /// True if the requirement is missed, and is not [known](MISSED) to be missed by this much.
    pub fn is_missed_unexpectedly(&self) -> bool {
        let is_known = || MISSED.iter().any(|(name, most)| *name == self.name && self.reached <= *most);
        self.holds == Some(false) && !is_known()
    }
}

use Bound::{AtLeast, AtMost, Reported};

/// All requirements. `healthy_seconds` is the length of the healthy scenario, at a thousand calls a second.
pub fn all(healthy_seconds: u64) -> Vec<Must> {
    let mut musts = outages::all(healthy_seconds);
    musts.extend(traffic::all());
    musts.extend(replicas::all());
    let mut seen = vec![];
    for scenario in musts.iter().map(|must| must.scenario.clone()).collect::<Vec<_>>() {
        if !seen.contains(&scenario.name) {
            seen.push(scenario.name.clone());
            musts.push(Must::new("duplicate orders", scenario, |it| it.duplicates, AtMost(0.0)));
        }
    }
    musts
}

/// Plays the scenarios of the requirements and returns the verdicts for `client`.
pub fn judge(
    musts: &[Must],
    client: &Policy,
    seeds: &[u64],
    progress: impl Fn(usize, usize) + Sync,
) -> Vec<Verdict> {
    let mut plays = Plays::default();
    for must in musts {
        let client = &must.client(client);
        plays.add(&must.scenario, client);
        if must.shows_bare || matches!(must.baseline, Baseline::Bare) {
            plays.add(&must.scenario, &bare());
        }
        if let Baseline::Scenario { scenario, .. } = &must.baseline {
            plays.add(scenario, client);
        }
    }
    let runs = study(&plays, seeds, progress);
    musts.iter().map(|must| must.judge(&must.client(client), &runs)).collect()
}

impl Must {
    fn new(figure_name: &str, scenario: Scenario, figure: Figure, bound: Bound) -> Self {
        Self {
            name: format!("{}: {figure_name}", scenario.name),
            scenario,
            figure,
            baseline: Baseline::None,
            bound,
            on_average: false,
            without_retries: false,
            shows_bare: false,
        }
    }

    /// The client that has to meet the requirement.
    fn client(&self, client: &Policy) -> Policy {
        if self.without_retries { client.without_retries() } else { client.clone() }
    }

    /// True if the scenario's name begins with `name`.
    pub fn is_about(&self, name: &str) -> bool {
        self.scenario.name.starts_with(name)
    }

    fn judge(&self, client: &Policy, runs: &[Run]) -> Verdict {
        let values = |scenario: &Scenario, policy: &str| {
            find(runs, scenario, policy).figures.iter().map(self.figure).collect::<Vec<_>>()
        };
        let mut own = values(&self.scenario, client.name);
        let baseline = match &self.baseline {
            Baseline::None => vec![1.0; own.len()],
            Baseline::Bare => values(&self.scenario, bare().name),
            Baseline::Scenario { scenario, allowance } => {
                for own in &mut own {
                    *own -= allowance;
                }
                values(scenario, client.name)
            }
        };
        let ratios: Vec<_> = own.iter().zip(baseline).map(|(own, baseline)| own / baseline).collect();
        #[allow(clippy::cast_precision_loss)]
        let average = ratios.iter().sum::<f64>() / ratios.len() as f64;
        let worst = match self.bound {
            AtLeast(_) => ratios.iter().copied().fold(f64::INFINITY, f64::min),
            AtMost(_) => ratios.iter().copied().fold(f64::NEG_INFINITY, f64::max),
            Reported => average,
        };
        // `min` and `max` skip NaN, the figure of a run that counted nothing. Such a requirement must not hold.
        let is_measured = ratios.iter().all(|ratio| !ratio.is_nan());
        let reached = match (is_measured, self.on_average) {
            (false, _) => f64::NAN,
            (true, true) => average,
            (true, false) => worst,
        };
        let (bound, holds) = match self.bound {
            AtLeast(bound) => (format!("≥ {bound}"), Some(reached >= bound)),
            AtMost(bound) => (format!("≤ {bound}"), Some(reached <= bound)),
            Reported => (String::new(), None),
        };
        let bare = self.shows_bare.then(|| find(runs, &self.scenario, bare().name).mean(self.figure));
        Verdict { name: self.name.clone(), bound, reached, holds, bare }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::default_client;
    use crate::scenario::spike;

    #[test]
    fn an_unmeasured_figure_does_not_hold() {
        for bound in [AtLeast(0.0), AtMost(1.0)] {
            let must = Must { baseline: Baseline::Bare, ..Must::new("load", spike(), |it| it.load, bound) };
            let run = |policy| Run {
                scenario: spike(),
                policy,
                figures: vec![Figures::default(); 2],
                course: vec![],
            };
            let verdict = must.judge(&default_client(), &[run(default_client().name), run(bare().name)]);
            assert_eq!(verdict.holds, Some(false), "zero divided by zero holds: {}", verdict.reached);
        }
    }

    #[test]
    fn an_allowance_is_taken_off_before_the_division() {
        let scenario = |name: &str| Scenario { name: name.into(), ..spike() };
        let run = |name, opens_s| Run {
            scenario: scenario(name),
            policy: default_client().name,
            figures: vec![Figures { opens_s, ..Figures::default() }],
            course: vec![],
        };
        let baseline = Baseline::Scenario { scenario: Box::new(scenario("other")), allowance: 0.5 };
        let must = Must::new("opens", scenario("own"), |it| it.opens_s, AtMost(1.2));
        let must = Must { baseline, ..must };
        for (own, other, holds) in
            [(6.5, 5.0, true), (6.6, 5.0, false), (f64::INFINITY, f64::INFINITY, false)]
        {
            let verdict = must.judge(&default_client(), &[run("own", own), run("other", other)]);
            assert_eq!(verdict.holds, Some(holds), "{own}, {other}: {}", verdict.reached);
        }
    }
}
