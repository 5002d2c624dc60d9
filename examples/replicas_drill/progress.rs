//! The output while the drill runs: a progress bar with live figures, and a line for each completed phase.

use std::collections::VecDeque;
use std::fmt::Write as _;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

use crate::drill::stats::percentile;
use crate::record::Call;
use crate::script::Script;
use crate::subject::{ARRANGEMENTS, SIDES, SUBJECTS, Subject};

/// The number of calls in the live percentiles.
const RECENT: usize = 100;

pub struct Progress {
    bar: ProgressBar,
    phases: Vec<PhaseProgress>,
    current: usize,
    /// The phases whose lines are printed.
    printed: usize,
    subjects: [Live; SUBJECTS.len()],
}

struct PhaseProgress {
    name: &'static str,
    /// The calls of all subjects that have not ended.
    remaining: usize,
    /// The failed and the fresh answers, by the index of the subject.
    answers: [[u32; 2]; SUBJECTS.len()],
}

/// The live figures of a subject.
#[derive(Default)]
struct Live {
    in_flight: u32,
    recent: VecDeque<Duration>,
}

impl Progress {
    pub fn new(script: &Script) -> Self {
        let template = "\n{prefix:<19.bold.cyan} {wide_bar:.cyan/dim} {percent:>3} %  {elapsed}\n{msg}";
        let style = ProgressStyle::with_template(template).expect("the template is valid");
        let bar = ProgressBar::new(script.calls.len() as u64).with_style(style.progress_chars("━━─"));
        let phase = |name| PhaseProgress { name, remaining: 0, answers: Default::default() };
        let mut phases: Vec<_> = script.phases.iter().map(|it| phase(it.name)).collect();
        for due in &script.calls {
            phases[script.phase_at(due.at)].remaining += SUBJECTS.len();
        }
        Self { bar, phases, current: 0, printed: 0, subjects: Default::default() }
    }

    /// Counts the calls that start now, one of each subject.
    pub fn start(&mut self, phase: usize) {
        self.current = phase;
        self.bar.set_prefix(self.phases[phase].name);
        self.bar.inc(1);
        for live in &mut self.subjects {
            live.in_flight += 1;
        }
    }

    /// Counts a completed call.
    pub fn count(&mut self, call: &Call) {
        let index = call.subject.index();
        self.subjects[index].end(call.took);
        let phase = &mut self.phases[call.phase];
        phase.remaining -= 1;
        phase.answers[index][usize::from(call.answer.fresh)] += 1;
        while self.printed < self.phases.len() && self.phases[self.printed].remaining == 0 {
            self.print(&self.phases[self.printed]);
            self.printed += 1;
        }
        if !self.bar.is_hidden() {
            self.bar.set_message(self.message());
        }
    }

    pub fn finish(&self) {
        self.bar.finish_and_clear();
    }

    /// Prints the line of a phase. Without a terminal, these lines are the only progress output.
    fn print(&self, phase: &PhaseProgress) {
        let mut line = format!("{:<19}", phase.name);
        for arrangement in ARRANGEMENTS {
            let [bare, steadfast] = SIDES.map(|side| {
                let [failed, fresh] = phase.answers[Subject { arrangement, side }.index()];
                100.0 * f64::from(fresh) / f64::from((failed + fresh).max(1))
            });
            let name = arrangement.name();
            let _ = write!(line, "  {name}: bare {bare:>6.2} % fresh, steadfast {steadfast:>6.2} %");
        }
        if self.bar.is_hidden() {
            eprintln!("{line}");
        } else {
            self.bar.println(line);
        }
    }

    /// The figures of the current phase.
    fn message(&self) -> String {
        let mut text = format!("{:19}  fresh  failed  in flight  p99 of the last {RECENT}\n", "");
        for subject in SUBJECTS {
            let [failed, fresh] = self.phases[self.current].answers[subject.index()];
            let live = &self.subjects[subject.index()];
            let name = format!("{} {}", subject.arrangement.name(), subject.side.name());
            let (in_flight, p99) = (live.in_flight, live.p99().as_millis());
            let _ = writeln!(text, "{name:19}  {fresh:>5}  {failed:>6}  {in_flight:>9}  {p99:>12} ms");
        }
        text
    }
}

// ===== impl Live =====

impl Live {
    fn end(&mut self, took: Duration) {
        self.in_flight -= 1;
        self.recent.push_back(took);
        if self.recent.len() > RECENT {
            self.recent.pop_front();
        }
    }

    fn p99(&self) -> Duration {
        let mut recent: Vec<_> = self.recent.iter().copied().collect();
        recent.sort_unstable();
        percentile(&recent, 99)
    }
}
