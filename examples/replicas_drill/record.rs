//! The recorded calls and arrivals. All times count from the start of the drill.

use std::ops::Range;
use std::time::Duration;

use tokio::time::Instant;

use crate::clients::Answer;
use crate::row::Row;
use crate::script::{Phase, Script};
use crate::stage::Stage;
use crate::subject::{ARRANGEMENTS, SIDES, SUBJECTS, Subject};

/// A completed call.
#[derive(Debug, Clone, Copy)]
pub struct Call {
    pub subject: Subject,
    /// The index of the phase in which the call started.
    pub phase: usize,
    /// The scheduled start.
    pub due: Duration,
    /// The time that the caller waited.
    pub took: Duration,
    pub answer: Answer,
}

/// The arrivals at one replica.
#[derive(Debug, Clone, Default)]
pub struct Arrivals {
    pub connections: Vec<Duration>,
    pub requests: Vec<Duration>,
}

/// The events at the replicas of one subject.
#[derive(Debug, Clone, Default)]
pub struct Observed {
    pub replicas: Vec<Arrivals>,
    /// The replica of each phase: that which breaks, comes or goes.
    pub concerned: Vec<Option<usize>>,
}

#[derive(Debug, Clone, Default)]
pub struct Record {
    pub phases: Vec<Phase>,
    pub calls: Vec<Call>,
    /// By the index of the [`Subject`].
    pub observed: Vec<Observed>,
}

// ===== impl Observed =====

impl Observed {
    pub fn new(stage: &Stage, epoch: Instant) -> Self {
        let times =
            |instants: Vec<Instant>| instants.into_iter().map(|it| it.duration_since(epoch)).collect();
        let replicas = stage.arrivals().into_iter().map(|arrivals| Arrivals {
            connections: times(arrivals.connections),
            requests: times(arrivals.requests),
        });
        Self { replicas: replicas.collect(), concerned: stage.concerned.clone() }
    }
}

// ===== impl Record =====

impl Record {
    pub fn new(script: &Script) -> Self {
        Self { phases: script.phases.clone(), ..Self::default() }
    }

    /// The rows of all phases: first those behind a name. In each phase, the bare client's row is the first.
    pub fn rows(&self) -> Vec<Row> {
        let phases = 0..self.phases.len();
        let pairs = ARRANGEMENTS.into_iter().flat_map(|arrangement| {
            phases
                .clone()
                .flat_map(move |phase| SIDES.map(|side| (Subject { arrangement, side }, phase..phase + 1)))
        });
        pairs.map(|(subject, phases)| Row::new(self, subject, phases)).collect()
    }

    /// The figures of all phases together.
    pub fn total(&self, subject: Subject) -> Row {
        Row::new(self, subject, 0..self.phases.len())
    }

    /// The calls of a subject that started in these phases.
    pub fn calls(&self, subject: Subject, phases: Range<usize>) -> impl Iterator<Item = &Call> {
        let started = move |call: &&Call| call.subject == subject && phases.contains(&call.phase);
        self.calls.iter().filter(started)
    }

    /// The longest wait of any caller through steadfast.
    pub fn longest_wait(&self) -> Duration {
        let subjects = SUBJECTS.into_iter().filter(|subject| subject.side == crate::subject::Side::Steadfast);
        let waits = subjects.flat_map(|it| self.calls(it, 0..self.phases.len()).map(|call| call.took));
        waits.max().unwrap_or_default()
    }

    /// The end of the last phase.
    pub fn end(&self) -> Duration {
        self.phases.last().map_or(Duration::ZERO, |phase| phase.end)
    }
}

/// A record of one phase, for tests: the bare client fails one of two calls, and steadfast none.
#[cfg(test)]
pub fn sample() -> Record {
    use crate::script::Event;
    use crate::subject::Side;

    let millis = Duration::from_millis;
    let phase = Phase { name: "one < fails", event: Event::Fail, start: Duration::ZERO, end: millis(1000) };
    let calls = SUBJECTS.into_iter().flat_map(|subject| {
        let is_steadfast = subject.side == Side::Steadfast;
        [(true, 1), (is_steadfast, if is_steadfast { 2 } else { 1 })].map(|(fresh, attempts)| Call {
            subject,
            phase: 0,
            due: millis(300 * u64::from(attempts)),
            took: millis(40 * u64::from(attempts)),
            answer: Answer { fresh, attempts },
        })
    });
    let arrivals = |requests: &[u64]| Arrivals {
        connections: vec![millis(290)],
        requests: requests.iter().copied().map(millis).collect(),
    };
    let observed = SUBJECTS.map(|_| Observed {
        replicas: vec![arrivals(&[300]), arrivals(&[310, 320, 1001])],
        concerned: vec![Some(0)],
    });
    Record { phases: vec![phase], calls: calls.collect(), observed: observed.into() }
}
