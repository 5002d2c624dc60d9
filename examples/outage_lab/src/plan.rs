//! What an upstream is, and what befalls it when.

use std::time::Duration;

/// How long an upstream takes for what it is asked.
#[derive(Debug, Clone, Copy)]
pub enum Model {
    /// Between half and one and a half times this, however many ask.
    Steady(Duration),
    /// The more it has to do at a time, the longer everything takes (Brooker 2022-08-11).
    Contended { base: Duration, each: Duration },
    /// So many are worked on at a time, and so many wait. Beyond that it answers 503 at once.
    Queue { workers: usize, work: Duration, places: usize },
}

/// What is wrong with an upstream.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Fault {
    None,
    /// This share of the attempts is answered with 503.
    Fails(f64),
    /// No connection comes about.
    Refuses,
    /// Nothing is ever answered.
    Hangs,
    /// Everything takes this many times as long.
    Slow(f64),
    /// All are answered with 503, and told to come back after so many seconds.
    RetryAfter(u32),
}

/// What is wrong until when, counted from the start.
#[derive(Debug, Clone, Copy)]
pub struct Phase {
    pub until: Duration,
    pub fault: Fault,
}

/// What an upstream is.
#[derive(Debug, Clone)]
pub struct Plan {
    pub model: Model,
    /// An attempt reaches any one of these.
    pub replicas: usize,
    /// Only one replica suffers from what is wrong.
    pub one_suffers: bool,
    /// The last one is without an end.
    pub phases: Vec<Phase>,
}

impl Plan {
    /// What is wrong at this time.
    pub fn fault(&self, time: Duration) -> Fault {
        let phase = self.phases.iter().find(|phase| time < phase.until).or(self.phases.last());
        phase.map_or(Fault::None, |phase| phase.fault)
    }

    /// How much could be worked off until `time`: slowness is less work in the same time.
    pub fn worked(&self, time: Duration) -> Duration {
        self.pieces().map(|(from, until, slow)| until.min(time).saturating_sub(from).div_f64(slow)).sum()
    }

    /// When that much is worked off.
    pub fn when_worked(&self, work: Duration) -> Duration {
        let mut left = work;
        for (from, until, slow) in self.pieces() {
            let need = left.mul_f64(slow);
            if need <= until.saturating_sub(from) {
                return from + need;
            }
            left -= (until - from).div_f64(slow);
        }
        unreachable!("the last piece is without an end")
    }

    /// From when to when it is how many times as slow.
    fn pieces(&self) -> impl Iterator<Item = (Duration, Duration, f64)> {
        let begins = std::iter::once(Duration::ZERO).chain(self.phases.iter().map(|phase| phase.until));
        let last = self.phases.len().saturating_sub(1);
        self.phases.iter().zip(begins).enumerate().map(move |(index, (phase, from))| {
            let slow = if let Fault::Slow(times) = phase.fault { times } else { 1.0 };
            (from, if index == last { Duration::MAX } else { phase.until }, slow)
        })
    }
}
