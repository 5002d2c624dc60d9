//! The script: the event of each phase, and the schedule of the calls.

use std::time::Duration;

use rand::{RngExt as _, SeedableRng as _, rngs::SmallRng};

use crate::replica::ITEMS;

/// The seed for the times and the items of the calls.
const SEED: u64 = 1972;

/// The average number of calls per second, through each client in each arrangement.
pub const RATE: u32 = 100;

/// The number of replicas at the start.
pub const REPLICAS: usize = 4;

/// The event of a phase. A fault strikes the replica that has received the most requests in the last two seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    Nothing,
    /// A replica answers 503 at once.
    Fail,
    /// A replica accepts connections and requests, and never answers.
    Hang,
    /// A replica takes ten times as long.
    Slow,
    /// Each replica in turn leaves the directory, finishes its requests, stops, and starts again.
    Restart,
    /// A fifth replica starts, and joins the directory.
    Add,
    /// A replica leaves the directory, finishes its requests, and stops.
    Remove,
}

/// A phase. All times count from the start of the drill.
#[derive(Debug, Clone, Copy)]
pub struct Phase {
    pub name: &'static str,
    pub event: Event,
    pub start: Duration,
    pub end: Duration,
}

/// A call, and the time when it starts.
#[derive(Debug, Clone, Copy)]
pub struct Due {
    pub at: Duration,
    pub item: u32,
}

#[derive(Debug, Clone)]
pub struct Script {
    pub phases: Vec<Phase>,
    pub calls: Vec<Due>,
}

/// The phases with their shares of the time.
const SHARES: [(&str, Event, u32); 11] = [
    ("healthy", Event::Nothing, 6),
    ("one fails", Event::Fail, 8),
    ("after the failure", Event::Nothing, 4),
    ("one hangs", Event::Hang, 8),
    ("after the hang", Event::Nothing, 4),
    ("one slow", Event::Slow, 8),
    ("after the slowness", Event::Nothing, 4),
    ("rolling restart", Event::Restart, 12),
    ("after the restart", Event::Nothing, 3),
    ("one added", Event::Add, 9),
    ("one removed", Event::Remove, 9),
];

impl Phase {
    pub fn length(&self) -> Duration {
        self.end.saturating_sub(self.start)
    }
}

impl Script {
    pub fn new(seconds: u32) -> Self {
        let phases = phases(Duration::from_secs(seconds.into()));
        let end = phases.last().map_or(Duration::ZERO, |phase| phase.end);
        Self { phases, calls: calls(end) }
    }

    /// The index of the phase at this time.
    pub fn phase_at(&self, time: Duration) -> usize {
        self.phases.iter().rposition(|phase| phase.start <= time).unwrap_or_default()
    }
}

fn phases(length: Duration) -> Vec<Phase> {
    let all: u32 = SHARES.iter().map(|(.., share)| share).sum();
    let mut before = 0;
    let phase = |(name, event, share)| {
        let start = length * before / all;
        before += share;
        Phase { name, event, start, end: length * before / all }
    };
    SHARES.into_iter().map(phase).collect()
}

/// Calls at random times, as from many independent callers (a Poisson process): now and then, many are in flight.
fn calls(end: Duration) -> Vec<Due> {
    let mut chance = SmallRng::seed_from_u64(SEED);
    let mut at = Duration::ZERO;
    let next = || {
        let gap = -(1.0 - chance.random::<f64>()).ln() / f64::from(RATE);
        at += Duration::from_secs_f64(gap);
        Due { at, item: chance.random_range(0..ITEMS) }
    };
    std::iter::repeat_with(next).take_while(|due| due.at < end).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_phases_share_the_seconds_without_a_gap() {
        let script = Script::new(75);
        let seconds: Vec<_> = script.phases.iter().map(|phase| phase.length().as_secs()).collect();
        assert_eq!(seconds, [6, 8, 4, 8, 4, 8, 4, 12, 3, 9, 9]);
        assert!(script.phases.windows(2).all(|pair| pair[0].end == pair[1].start));
    }

    #[test]
    fn the_calls_come_at_the_rate_in_the_order_of_their_times() {
        let calls = Script::new(100).calls;
        assert!((9_700..10_300).contains(&calls.len()), "{}", calls.len());
        assert!(calls.is_sorted_by_key(|due| due.at));
    }
}
