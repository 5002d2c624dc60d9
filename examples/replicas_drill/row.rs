//! The figures of one subject in one phase.

use std::ops::Range;

use crate::drill::stats::{between, milliseconds, percentile};
use crate::record::{Arrivals, Record};
use crate::script::Event;
use crate::subject::Subject;

/// A row of a table.
#[derive(Debug, Clone, Copy)]
pub struct Row {
    pub subject: Subject,
    pub phase: &'static str,
    pub event: Event,
    pub calls: usize,
    pub fresh: usize,
    pub failed: usize,
    /// By the client's count.
    pub attempts_per_call: f64,
    /// By the servers' count. A refused connection carries no request.
    pub requests_per_call: f64,
    pub p50_ms: f64,
    pub p99_ms: f64,
    /// The connections that the servers accepted.
    pub connections_opened: usize,
    /// The share of the requests that reached the replica which breaks, comes or goes, in percent.
    pub replica_percent: Option<f64>,
}

impl Row {
    /// The figures of consecutive phases.
    pub fn new(record: &Record, subject: Subject, phases: Range<usize>) -> Self {
        let calls: Vec<_> = record.calls(subject, phases.clone()).collect();
        let mut waits: Vec<_> = calls.iter().map(|call| call.took).collect();
        waits.sort_unstable();
        let fresh = calls.iter().filter(|call| call.answer.fresh).count();
        let attempts: u32 = calls.iter().map(|call| call.answer.attempts).sum();
        let single = (phases.len() == 1).then(|| (record.phases[phases.start], phases.start));
        let arrived = Arrived::new(record, subject, phases);
        let of_replica = |index: usize| percent(arrived.requests[index], arrived.requests.iter().sum());
        let concerned = single.and_then(|(_, phase)| record.observed.get(subject.index())?.concerned[phase]);
        Self {
            subject,
            phase: single.map_or("all", |(phase, _)| phase.name),
            event: single.map_or(Event::Nothing, |(phase, _)| phase.event),
            calls: calls.len(),
            fresh,
            failed: calls.len() - fresh,
            attempts_per_call: ratio(attempts as usize, calls.len()),
            requests_per_call: ratio(arrived.requests.iter().sum(), calls.len()),
            p50_ms: milliseconds(percentile(&waits, 50)),
            p99_ms: milliseconds(percentile(&waits, 99)),
            connections_opened: arrived.connections,
            replica_percent: concerned.map(of_replica),
        }
    }

    /// The share of the calls with a fresh answer.
    pub fn fresh_percent(&self) -> f64 {
        percent(self.fresh, self.calls)
    }
}

/// The numbers of arrivals during some phases.
struct Arrived {
    /// By replica.
    requests: Vec<usize>,
    connections: usize,
}

impl Arrived {
    fn new(record: &Record, subject: Subject, phases: Range<usize>) -> Self {
        let spans = &record.phases[phases];
        let (Some(first), Some(last)) = (spans.first(), spans.last()) else {
            return Self { requests: Vec::new(), connections: 0 };
        };
        let replicas = record.observed.get(subject.index()).map_or(&[][..], |it| &it.replicas);
        let requests = |it: &Arrivals| between(&it.requests, first.start, last.end);
        let connections = |it: &Arrivals| between(&it.connections, first.start, last.end);
        Self {
            requests: replicas.iter().map(requests).collect(),
            connections: replicas.iter().map(connections).sum(),
        }
    }
}

#[allow(clippy::cast_precision_loss)]
fn ratio(part: usize, whole: usize) -> f64 {
    part as f64 / whole.max(1) as f64
}

fn percent(part: usize, whole: usize) -> f64 {
    100.0 * ratio(part, whole)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::sample;

    #[test]
    fn each_call_stands_in_the_row_of_its_subject() {
        let counts: Vec<_> = sample().rows().iter().map(|row| (row.calls, row.fresh, row.failed)).collect();
        assert_eq!(counts, [(2, 1, 1), (2, 2, 0), (2, 1, 1), (2, 2, 0)]);
    }

    #[test]
    fn attempts_are_the_clients_and_requests_are_the_servers() {
        let row = sample().rows()[1];
        assert!((row.attempts_per_call - 1.5).abs() < 1e-9);
        // The request at the end of the phase is not counted.
        assert!((row.requests_per_call - 1.5).abs() < 1e-9);
        assert_eq!(row.connections_opened, 2);
    }

    #[test]
    fn the_share_of_the_replica_is_that_of_the_requests() {
        let share = sample().rows()[0].replica_percent.unwrap();
        assert!((share - 100.0 / 3.0).abs() < 1e-9, "{share}");
    }

    #[test]
    fn a_record_of_nothing_has_finite_figures() {
        let total = Record::default().total(crate::subject::SUBJECTS[0]);
        assert_eq!((total.phase, total.calls), ("all", 0));
        assert!(total.attempts_per_call.is_finite() && total.fresh_percent().is_finite());
    }
}
