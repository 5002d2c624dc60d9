//! The record of a run, and the figures computed from it.

use std::ops::Range;
use std::time::Duration;

use crate::policy::Answer;
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
    pub kind: Kind,
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
    /// The highest number of calls in flight in one process.
    pub most_in_flight: usize,
    /// The number of stale answers with a wrong age.
    pub wrong_ages: u64,
}

/// The figures of a run. "During" and "after" are the ranges that the scenario defines.
#[derive(Debug, Clone, Copy, Default)]
pub struct Figures {
    /// Fresh answers per call, during.
    pub success: f64,
    /// Stale answers per call, during.
    pub stale: f64,
    /// Attempts per call, during.
    pub load: f64,
    /// Attempts per call, in the second half of during.
    pub sustained_load: f64,
    /// Retries per call, during. Unlike the load, this figure is not lowered by local refusals, so it shows the
    /// retries alone.
    pub retries: f64,
    /// The same as `success`.
    pub goodput_during: f64,
    /// Fresh answers per call, after.
    pub goodput_after: f64,
    /// The seconds from the end of during to the start of the first second in which at least 95 % of the answers are
    /// fresh.
    pub recovery_s: f64,
    /// The highest attempt rate in any 100 ms after the end of during, in attempts a second.
    pub peak_after: f64,
    pub p50_ms: f64,
    pub p99_ms: f64,
    pub false_trips: f64,
    /// Orders that reached the upstream again.
    pub duplicates: f64,
    /// The share of calls for known keys that were answered, during.
    pub known_answered: f64,
    pub wrong_ages: f64,
    /// The p99 latency of calls to the healthy upstreams, during.
    pub others_p99_ms: f64,
    /// Fresh answers per call to the healthy upstreams, during. Needed beside the latency, since refusals are fast.
    pub others_success: f64,
    pub most_in_flight: f64,
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
                Answer::Failed => second.failed += 1,
            }
        }
        for (hundredth, attempts) in self.received.attempts.iter().enumerate() {
            course[hundredth / 100].attempts += attempts;
        }
        course
    }

    /// Computes the figures for these ranges.
    pub fn figures(&self, during: &Range<Duration>, after: &Range<Duration>) -> Figures {
        let load = |range: &Range<Duration>| ratio(self.attempts(range), self.to_first(range).count());
        let middle = (during.start + during.end) / 2;
        let waits = self.waits(during, |_| true);
        let others = self.waits(during, |call| call.upstream != 0);
        let known = self.to_first(during).filter(|call| call.kind == Kind::Get { known: true });
        let success = self.fresh(during);
        Figures {
            success,
            stale: share(self.to_first(during), |call| matches!(call.answer, Answer::Stale { .. })),
            load: load(during),
            sustained_load: load(&(middle..during.end)),
            retries: ratio(within(&self.received.retries, during), self.to_first(during).count()),
            goodput_during: success,
            goodput_after: self.fresh(after),
            recovery_s: self.recovery(during.end, after.end),
            peak_after: self.peak(&(during.end..after.end)),
            p50_ms: percentile(&waits, 50),
            p99_ms: percentile(&waits, 99),
            #[allow(clippy::cast_precision_loss)]
            false_trips: self.false_trips as f64,
            duplicates: f64::from(self.received.duplicates),
            known_answered: share(known, |call| call.answer != Answer::Failed),
            #[allow(clippy::cast_precision_loss)]
            wrong_ages: self.wrong_ages as f64,
            others_p99_ms: percentile(&others, 99),
            others_success: share(self.gets(during).filter(|call| call.upstream != 0), |call| {
                call.answer == Answer::Fresh
            }),
            most_in_flight: ratio(self.most_in_flight, 1),
        }
    }

    /// Fresh answers per call to the first upstream, for calls that start in `range`.
    pub fn fresh(&self, range: &Range<Duration>) -> f64 {
        share(self.to_first(range), |call| call.answer == Answer::Fresh)
    }

    fn to_first(&self, range: &Range<Duration>) -> impl Iterator<Item = &Call> {
        self.gets(range).filter(|call| call.upstream == 0)
    }

    fn gets(&self, range: &Range<Duration>) -> impl Iterator<Item = &Call> {
        self.calls.iter().filter(move |call| range.contains(&call.at) && call.kind != Kind::Order)
    }

    /// The sorted waits of the callers of the selected calls.
    pub fn waits(&self, range: &Range<Duration>, select: impl Fn(&Call) -> bool) -> Vec<Duration> {
        let mut waits: Vec<_> = self.gets(range).filter(|call| select(call)).map(|call| call.took).collect();
        waits.sort_unstable();
        waits
    }

    fn attempts(&self, range: &Range<Duration>) -> usize {
        within(&self.received.attempts, range)
    }

    #[allow(clippy::cast_precision_loss)]
    fn recovery(&self, from: Duration, until: Duration) -> f64 {
        const STEP: Duration = Duration::from_millis(100);
        const SECOND: Duration = Duration::from_secs(1);
        let mut start = from;
        while start + SECOND <= until {
            if self.fresh(&(start..start + SECOND)) >= 0.95 {
                return (start - from).as_secs_f64();
            }
            start += STEP;
        }
        f64::INFINITY
    }

    fn peak(&self, range: &Range<Duration>) -> f64 {
        let step = Duration::from_millis(10);
        let mut most = 0;
        let mut start = range.start;
        while start + 10 * step <= range.end {
            most = most.max(self.attempts(&(start..start + 10 * step)));
            start += step;
        }
        ratio(most * 10, 1)
    }
}

/// The sum of the counts, one per hundredth of a second, in `range`.
fn within(hundredths: &[u32], range: &Range<Duration>) -> usize {
    let hundredth = |time: Duration| usize::try_from(time.as_millis() / 10).unwrap_or(usize::MAX);
    let end = hundredth(range.end).min(hundredths.len());
    let start = hundredth(range.start).min(end);
    hundredths[start..end].iter().map(|count| *count as usize).sum()
}

/// The percentile of sorted waits in milliseconds, by the nearest-rank method.
pub fn percentile(sorted: &[Duration], percent: usize) -> f64 {
    let rank = (sorted.len() * percent).div_ceil(100);
    sorted.get(rank.saturating_sub(1)).map_or(0.0, |wait| wait.as_secs_f64() * 1000.0)
}

/// The share of the calls that match.
fn share<'a>(calls: impl Iterator<Item = &'a Call>, matches: impl Fn(&Call) -> bool) -> f64 {
    let (mut matching, mut all) = (0, 0);
    for call in calls {
        matching += usize::from(matches(call));
        all += 1;
    }
    ratio(matching, all)
}

#[allow(clippy::cast_precision_loss)]
fn ratio(part: usize, whole: usize) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 / whole as f64 }
}
