//! The groups of cases, and the rounds through all groups.

use std::time::Duration;

use tower::Service;

use super::{Caller, Clock, Sample, Subject, wait_for_processor};
use crate::upstream::Inner;

/// The runs of one case, and the rows computed from them.
pub struct Group {
    pub name: String,
    pub runs: Vec<Run>,
    pub rows: Vec<RowSpec>,
    /// The run without a library, with which the other runs are compared.
    pub baseline: Option<RunId>,
    batch: Duration,
    checks: Vec<Box<dyn Fn()>>,
}

/// The specification of a table row.
pub struct RowSpec {
    pub case: String,
    pub library: &'static str,
    pub value: Value,
}

#[derive(Debug, Clone, Copy)]
pub enum Value {
    /// The time of a call.
    Time(RunId),
    /// The calls per second.
    Rate(RunId),
    /// The time of a call in the first run, less that in the second.
    Difference(RunId, RunId),
    /// The call rate of the first run, divided by that of the second.
    Scaling(RunId, RunId),
    /// A number of bytes.
    Bytes(f64),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RunId(pub usize);

pub struct Run {
    subject: Subject,
    calls: u64,
    /// The sample of each round.
    pub samples: Vec<Sample>,
    /// True for each round in which other processes kept a thread from running.
    pub disturbed: Vec<bool>,
}

impl Group {
    /// Adds a run.
    pub fn run(&mut self, subject: Subject) -> RunId {
        self.runs.push(Run { subject, calls: 0, samples: Vec::new(), disturbed: Vec::new() });
        RunId(self.runs.len() - 1)
    }

    /// Adds a row.
    pub fn row(&mut self, case: impl Into<String>, library: &'static str, value: Value) {
        self.rows.push(RowSpec { case: case.into(), library, value });
    }

    /// Adds a run, and a row with its time of a call.
    pub fn time(&mut self, library: &'static str, subject: Subject) -> RunId {
        let run = self.run(subject);
        self.row(self.name.clone(), library, Value::Time(run));
        run
    }

    /// Adds a library whose calls all succeed.
    pub fn healthy<S, Req>(
        &mut self,
        library: &'static str,
        inner: Inner,
        service: S,
        next: impl FnMut() -> Req + Send + 'static,
    ) -> RunId
    where
        S: Service<Req, Response: Send, Error: Send, Future: Send> + Send + 'static,
        Req: Send + 'static,
    {
        let caller = Caller { service, next, expect: Result::is_ok };
        self.time(library, if inner == Inner::Ready { caller.ready() } else { caller.in_task() })
    }

    /// Adds the baseline: the same call without a library.
    pub fn baseline<S, Req>(
        &mut self,
        library: &'static str,
        inner: Inner,
        service: S,
        next: impl FnMut() -> Req + Send + 'static,
    ) where
        S: Service<Req, Response: Send, Error: Send, Future: Send> + Send + 'static,
        Req: Send + 'static,
    {
        self.baseline = Some(self.healthy(library, inner, service, next));
    }

    /// Adds a check, which runs before and after the measurement.
    pub fn check(&mut self, check: impl Fn() + 'static) {
        self.checks.push(Box::new(check));
    }

    /// Keeps a value, such as a permit, until the measurement is over.
    pub fn hold(&mut self, held: impl Sized + 'static) {
        self.check(move || _ = &held);
    }

    /// Sets the duration of a batch.
    pub fn batch(&mut self, time: Duration) {
        self.batch = time;
    }

    fn assert(&self) {
        self.checks.iter().for_each(|check| check());
    }

    /// Determines the number of calls in a batch.
    fn calibrate(&mut self, share: f64) {
        let batch = self.batch.as_secs_f64() * 1e9 * share;
        for run in &mut self.runs {
            let mut calls = 1;
            loop {
                let ns = (run.subject)(calls).ns;
                #[allow(
                    clippy::cast_precision_loss,
                    clippy::cast_possible_truncation,
                    clippy::cast_sign_loss
                )]
                if ns * calls as f64 > batch / 4.0 {
                    run.calls = ((batch / ns) as u64).max(1);
                    break;
                }
                calls *= 4;
            }
        }
    }

    /// Executes each run once. Each round begins with a different run.
    fn round(&mut self, round: usize) {
        let begin = round % self.runs.len().max(1);
        let (last, first) = self.runs.split_at_mut(begin);
        for run in first.iter_mut().chain(last) {
            let (clock, waited) = (Clock::start(), wait_for_processor());
            let sample = (run.subject)(run.calls);
            let waited = wait_for_processor().saturating_sub(waited).max(sample.waited);
            run.disturbed.push(waited > clock.elapsed().0 / 50);
            run.samples.push(sample);
        }
    }
}

/// All groups of a measurement.
pub struct Suite {
    /// Only groups whose names contain this string are made.
    pub filter: String,
    /// If true, the batches are tiny and only check that every case runs and reaches its state.
    pub quick: bool,
    pub groups: Vec<Group>,
}

impl Suite {
    pub fn group(&mut self, name: impl Into<String>, make: impl FnOnce(&mut Group)) {
        let name = name.into();
        if !name.contains(&self.filter) {
            return;
        }
        let mut group = Group {
            name,
            runs: Vec::new(),
            rows: Vec::new(),
            baseline: None,
            batch: Duration::from_millis(5),
            checks: Vec::new(),
        };
        make(&mut group);
        group.assert();
        self.groups.push(group);
    }

    /// Measures all groups. Each round goes through every group, so that noise does not hit a single group.
    pub fn measure(&mut self, rounds: usize) {
        let share = if self.quick { 0.02 } else { 1.0 };
        for group in &mut self.groups {
            group.calibrate(share);
            group.assert();
        }
        for round in 0..rounds {
            eprint!("\rround {} of {rounds}", round + 1);
            self.groups.iter_mut().for_each(|group| group.round(round));
        }
        eprintln!();
        self.groups.iter().for_each(Group::assert);
    }
}
