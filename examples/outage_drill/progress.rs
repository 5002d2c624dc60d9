//! The output while the drill runs: a progress bar with live figures, and a line for each completed phase.

use indicatif::{ProgressBar, ProgressStyle};
use steadfast::circuit_breaker::State;

use crate::clients::Side;
use crate::record::Call;

pub struct Progress {
    bar: ProgressBar,
    /// The answers in the current phase, by [`Side`] and [`Answer`](crate::clients::Answer).
    answers: [[u32; 3]; 2],
    circuit: State,
}

impl Progress {
    pub fn new(calls: u32) -> Self {
        let template = "\n{prefix:<10.bold.cyan} {wide_bar:.cyan/dim} {percent:>3} %  {elapsed}\n{msg}";
        let style = ProgressStyle::with_template(template).expect("the template is valid");
        let bar = ProgressBar::new(calls.into()).with_style(style.progress_chars("━━─"));
        Self { bar, answers: [[0; 3]; 2], circuit: State::Closed }
    }

    /// Starts a phase.
    pub fn begin(&mut self, phase: &'static str) {
        self.answers = [[0; 3]; 2];
        self.bar.set_prefix(phase);
        self.show();
    }

    /// Counts a completed call.
    pub fn count(&mut self, call: &Call) {
        self.answers[call.side as usize][call.answer as usize] += 1;
        if call.side == Side::Bare {
            self.bar.inc(1);
        }
        self.show();
    }

    /// Records a change of the circuit's state.
    pub fn circuit(&mut self, state: State) {
        self.circuit = state;
        self.show();
    }

    /// Ends a phase and prints its line. Without a terminal, these lines are the only progress output.
    pub fn end(&self, phase: &str) {
        let [bare, steadfast] = self.figures();
        let line = format!("{phase:<10} {bare}  │  {steadfast}");
        if self.bar.is_hidden() {
            eprintln!("{line}");
        } else {
            self.bar.println(line);
        }
    }

    pub fn finish(&self) {
        self.bar.finish_and_clear();
    }

    fn show(&self) {
        let [bare, steadfast] = self.figures();
        self.bar.set_message(format!("{:10} {bare}\n{:10} {steadfast}", "", ""));
    }

    fn figures(&self) -> [String; 2] {
        let [[answered, _, lost], [fresh, stale, failed]] = self.answers;
        let circuit = match self.circuit {
            State::Closed => "closed",
            State::Open => "open",
            State::HalfOpen => "half-open",
            State::ForcedOpen | State::ForcedClosed => "forced",
        };
        [
            format!("bare {answered:>5} fresh {lost:>5} failed"),
            format!("steadfast {fresh:>5} fresh {stale:>5} stale {failed:>5} failed  circuit {circuit}"),
        ]
    }
}
