//! The record of a run, and the figures computed from it.

use std::ops::Range;
use std::time::Duration;

use crate::client::Answer;
use crate::upstream::Received;

/// A completed call.
#[derive(Debug, Clone, Copy)]
pub struct Call {
    /// The start of the call, counted from the start of the run.
    pub at: Duration,
    /// The time that the caller waited.
    pub took: Duration,
    pub answer: Answer,
    /// The index of the upstream.
    pub upstream: usize,
    /// The name of the call's group.
    pub group: &'static str,
    pub kind: Kind,
}

impl Call {
    /// True if the call waited for a permit in vain: no attempt was made, and the caller waited.
    pub(crate) fn is_refused_from_queue(&self) -> bool {
        self.answer == Answer::Unsent && !self.took.is_zero()
    }
}

/// The kind of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A GET. `known` is true for the keys that are called before the outage.
    Get { known: bool },
    /// A POST that must not be sent twice. Orders count only in the figure of duplicates.
    Order,
}

/// A run of one scenario with one policy and one seed.
#[derive(Debug, Clone, Default)]
pub struct Record {
    pub calls: Vec<Call>,
    /// The requests that reached the first upstream, the only one with faults.
    pub received: Received,
    /// The number of times that a circuit opened before the first fault.
    pub false_trips: u64,
    /// The times at which a circuit opened, in order, counted from the start of the run.
    pub openings: Vec<Duration>,
    /// The highest number of calls in flight in one process.
    pub most_in_flight: usize,
    /// The number of stale answers with a wrong age.
    pub wrong_ages: u64,
}

/// The counts of one second.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Second {
    /// Calls started in the second that got a fresh answer.
    pub fresh: u32,
    /// Calls started in the second that got a stale answer.
    pub stale: u32,
    /// Calls started in the second that failed.
    pub failed: u32,
    /// Attempts that reached the upstream in the second.
    pub attempts: u32,
}

impl Record {
    /// The course, second by second: the calls to the first upstream and the attempts that reached it.
    pub fn course(&self) -> Vec<Second> {
        let calls = || self.to_first(&(Duration::ZERO..Duration::MAX));
        let second_of = |call: &Call| usize::try_from(call.at.as_secs()).unwrap_or(usize::MAX);
        let called = calls().map(|call| second_of(call) + 1).max().unwrap_or_default();
        let mut course = vec![Second::default(); called.max(self.received.attempts.len().div_ceil(100))];
        for call in calls() {
            let second = &mut course[second_of(call)];
            match call.answer {
                Answer::Fresh => second.fresh += 1,
                Answer::Stale { .. } => second.stale += 1,
                Answer::Failed | Answer::Unsent => second.failed += 1,
            }
        }
        for (hundredth, attempts) in self.received.attempts.iter().enumerate() {
            course[hundredth / 100].attempts += attempts;
        }
        course
    }

    /// The GETs to the first upstream that start in `range`.
    pub(crate) fn to_first(&self, range: &Range<Duration>) -> impl Iterator<Item = &Call> {
        self.gets(range).filter(|call| call.upstream == 0)
    }

    /// The GETs that start in `range`.
    pub(crate) fn gets(&self, range: &Range<Duration>) -> impl Iterator<Item = &Call> {
        self.calls.iter().filter(move |call| range.contains(&call.at) && call.kind != Kind::Order)
    }
}
