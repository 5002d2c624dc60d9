//! The recorded calls and phases, and the figures computed from them.

use std::time::Duration;

use steadfast::circuit_breaker::State;

use crate::clients::{Answer, SIDES, Side};
use crate::drill::stats::{between, milliseconds, percentile};

/// A completed call. All times in this file count from the start of the drill.
#[derive(Debug, Clone, Copy)]
pub struct Call {
    pub side: Side,
    /// The index of the phase in which the call started.
    pub phase: usize,
    /// The scheduled start.
    pub due: Duration,
    /// The time that the caller waited.
    pub took: Duration,
    pub answer: Answer,
}

/// A completed phase.
#[derive(Debug, Clone, Copy)]
pub struct CompletedPhase {
    pub name: &'static str,
    pub start: Duration,
    /// The time after which no call was started.
    pub calls_end: Duration,
    /// The time when the last call had ended.
    pub end: Duration,
    /// The attempts by [`Side`].
    pub attempts: [u64; 2],
}

#[derive(Debug, Clone, Default)]
pub struct Record {
    pub calls: Vec<Call>,
    pub phases: Vec<CompletedPhase>,
    /// The changes of the circuit's state, with their times.
    pub circuit: Vec<(Duration, State)>,
    /// The times at which requests reached the server, by [`Side`].
    pub arrivals: [Vec<Duration>; 2],
}

/// A row of the table: the results of one client in one phase.
#[derive(Debug, Clone, Copy)]
pub struct Row {
    pub side: Side,
    pub phase: &'static str,
    pub calls: usize,
    pub fresh: usize,
    pub stale: usize,
    pub failed: usize,
    pub attempts_per_call: f64,
    pub p50_ms: f64,
    pub p99_ms: f64,
    pub server_requests: usize,
}

impl Record {
    /// The rows, phase by phase: first the bare client's, then steadfast's.
    pub fn rows(&self) -> Vec<Row> {
        let phases = self.phases.iter().enumerate();
        phases.flat_map(|(index, phase)| SIDES.map(|side| self.row(side, index, phase))).collect()
    }

    #[allow(clippy::cast_precision_loss)]
    fn row(&self, side: Side, index: usize, phase: &CompletedPhase) -> Row {
        let calls: Vec<_> =
            self.calls.iter().filter(|call| call.side == side && call.phase == index).collect();
        let count = |answer| calls.iter().filter(|call| call.answer == answer).count();
        let mut waits: Vec<_> = calls.iter().map(|call| call.took).collect();
        waits.sort_unstable();
        Row {
            side,
            phase: phase.name,
            calls: calls.len(),
            fresh: count(Answer::Fresh),
            stale: count(Answer::Stale),
            failed: count(Answer::Failed),
            attempts_per_call: phase.attempts[side as usize] as f64 / calls.len().max(1) as f64,
            p50_ms: milliseconds(percentile(&waits, 50)),
            p99_ms: milliseconds(percentile(&waits, 99)),
            server_requests: between(&self.arrivals[side as usize], phase.start, phase.end),
        }
    }

    /// The longest wait of a caller of this client.
    pub fn longest_wait(&self, side: Side) -> Duration {
        let calls = self.calls.iter().filter(|call| call.side == side);
        calls.map(|call| call.took).max().unwrap_or_default()
    }

    /// The end of the last phase.
    pub fn end(&self) -> Duration {
        self.phases.last().map_or(Duration::ZERO, |phase| phase.end)
    }
}

/// A record of one short phase, for tests.
#[cfg(test)]
pub fn sample() -> Record {
    let second = Duration::from_secs(1);
    let call = |side, tenth: u32, answer| Call {
        side,
        phase: 0,
        due: second * tenth / 10,
        took: Duration::from_millis(2) * (tenth + 1),
        answer,
    };
    Record {
        calls: vec![
            call(Side::Bare, 0, Answer::Fresh),
            call(Side::Bare, 1, Answer::Failed),
            call(Side::Steadfast, 0, Answer::Fresh),
            call(Side::Steadfast, 1, Answer::Stale),
        ],
        phases: vec![CompletedPhase {
            name: "a < b",
            start: Duration::ZERO,
            calls_end: second / 5,
            end: second / 4,
            attempts: [2, 3],
        }],
        circuit: vec![(Duration::ZERO, State::Closed), (second / 5, State::Open)],
        arrivals: [vec![second / 100, second / 9], vec![second / 100, second / 9, second / 8, second]],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(side: Side) -> Row {
        sample().rows()[side as usize]
    }

    #[test]
    fn each_call_stands_in_the_row_of_its_client_and_its_phase() {
        let counts = |row: Row| (row.calls, row.fresh, row.stale, row.failed);
        assert_eq!(counts(row(Side::Bare)), (2, 1, 0, 1));
        assert_eq!(counts(row(Side::Steadfast)), (2, 1, 1, 0));
    }

    #[test]
    fn attempts_are_shared_out_among_the_calls() {
        assert!((row(Side::Steadfast).attempts_per_call - 1.5).abs() < f64::EPSILON);
    }

    #[test]
    fn requests_that_arrive_after_the_phase_are_not_its_own() {
        assert_eq!(row(Side::Steadfast).server_requests, 3);
    }

    #[test]
    fn waits_are_given_to_a_tenth_of_a_millisecond() {
        assert!((row(Side::Bare).p99_ms - 4.0).abs() < f64::EPSILON);
    }

    #[test]
    fn a_phase_without_calls_has_a_row_of_zeros() {
        let mut record = sample();
        record.calls.clear();
        assert_eq!(record.rows()[0].calls, 0);
        assert!(record.rows()[0].attempts_per_call.is_finite());
    }
}
