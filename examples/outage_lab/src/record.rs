//! What happened, and the figures that follow from it.

use std::ops::Range;
use std::time::Duration;

use crate::policy::Answer;
use crate::upstream::Seen;

/// A call that is over.
#[derive(Debug, Clone, Copy)]
pub struct Call {
    /// When it was made, counted from the start.
    pub at: Duration,
    /// How long its caller waited.
    pub took: Duration,
    pub answer: Answer,
    pub upstream: usize,
    pub kind: Kind,
}

/// What is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// For something, which this process had an answer for before anything was wrong, or not.
    Get { known: bool },
    /// To do something, and not twice. There to be watched: no figure but the duplicates counts them.
    Order,
}

/// A run of one scenario with one policy and one seed.
#[derive(Debug, Clone, Default)]
pub struct Record {
    pub calls: Vec<Call>,
    /// What reached the first upstream, which is the one that suffers.
    pub seen: Seen,
    /// How often a circuit had opened before anything was wrong.
    pub false_trips: u64,
    /// The most calls that one process had under way at a time.
    pub most_in_flight: usize,
    /// Stale answers that did not say how old they are.
    pub wrong_ages: u64,
}

/// A row of the table.
#[derive(Debug, Clone, Copy, Default)]
pub struct Figures {
    /// Fresh answers for each call, while something was wrong.
    pub success: f64,
    /// Stale answers for each call, while something was wrong.
    pub stale: f64,
    /// Attempts for each call, while something was wrong.
    pub load: f64,
    /// The same in the second half of that time.
    pub sustained_load: f64,
    /// Attempts beyond the first for each call, while something was wrong. The load is less where calls are refused on the
    /// client's side: this shows what the retries alone add.
    pub retries: f64,
    pub goodput_during: f64,
    pub goodput_after: f64,
    /// From the end of what was wrong until 95 % of the calls are answered, and stay so for a second.
    pub recovery_s: f64,
    /// The most attempts in any 100 ms after the end, in attempts a second.
    pub peak_after: f64,
    pub p50_ms: f64,
    pub p99_ms: f64,
    pub false_trips: f64,
    /// Requests that must not be sent twice, and were.
    pub duplicates: f64,
    /// Of the calls for what had been answered before, those that were answered while something was wrong.
    pub known_answered: f64,
    pub wrong_ages: f64,
    /// As callers of the upstreams saw it that do not suffer.
    pub others_p99_ms: f64,
    /// Their fresh answers for each call: to be refused takes no time.
    pub others_success: f64,
    pub most_in_flight: f64,
}

/// What happened in a second.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Second {
    /// Calls that were made then, by what became of them.
    pub fresh: u32,
    pub stale: u32,
    pub failed: u32,
    /// Attempts that reached the upstream then.
    pub attempts: u32,
}

impl Record {
    /// Its course, second by second: the calls to the first upstream, and what reached it.
    pub fn course(&self) -> Vec<Second> {
        let calls = || self.to_first(&(Duration::ZERO..Duration::MAX));
        let second_of = |call: &Call| usize::try_from(call.at.as_secs()).unwrap_or(usize::MAX);
        let called = calls().map(|call| second_of(call) + 1).max().unwrap_or_default();
        let mut course = vec![Second::default(); called.max(self.seen.attempts.len().div_ceil(100))];
        for call in calls() {
            let second = &mut course[second_of(call)];
            match call.answer {
                Answer::Fresh => second.fresh += 1,
                Answer::Stale { .. } => second.stale += 1,
                Answer::Failed => second.failed += 1,
            }
        }
        for (hundredth, attempts) in self.seen.attempts.iter().enumerate() {
            course[hundredth / 100].attempts += attempts;
        }
        course
    }

    /// The figures, with what counts as during and as after.
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
            retries: ratio(within(&self.seen.retries, during), self.to_first(during).count()),
            goodput_during: success,
            goodput_after: self.fresh(after),
            recovery_s: self.recovery(during.end, after.end),
            peak_after: self.peak(&(during.end..after.end)),
            p50_ms: percentile(&waits, 50),
            p99_ms: percentile(&waits, 99),
            #[allow(clippy::cast_precision_loss)]
            false_trips: self.false_trips as f64,
            duplicates: f64::from(self.seen.duplicates),
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

    /// Fresh answers for each call that was made in this time.
    pub fn fresh(&self, range: &Range<Duration>) -> f64 {
        share(self.to_first(range), |call| call.answer == Answer::Fresh)
    }

    fn to_first(&self, range: &Range<Duration>) -> impl Iterator<Item = &Call> {
        self.gets(range).filter(|call| call.upstream == 0)
    }

    fn gets(&self, range: &Range<Duration>) -> impl Iterator<Item = &Call> {
        self.calls.iter().filter(move |call| range.contains(&call.at) && call.kind != Kind::Order)
    }

    /// How long the callers of some calls waited, in order.
    pub fn waits(&self, range: &Range<Duration>, of: impl Fn(&Call) -> bool) -> Vec<Duration> {
        let mut waits: Vec<_> = self.gets(range).filter(|call| of(call)).map(|call| call.took).collect();
        waits.sort_unstable();
        waits
    }

    fn attempts(&self, range: &Range<Duration>) -> usize {
        within(&self.seen.attempts, range)
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

/// How many of what is counted by hundredths of a second fall into a time.
fn within(hundredths: &[u32], range: &Range<Duration>) -> usize {
    let hundredth = |time: Duration| usize::try_from(time.as_millis() / 10).unwrap_or(usize::MAX);
    let end = hundredth(range.end).min(hundredths.len());
    let start = hundredth(range.start).min(end);
    hundredths[start..end].iter().map(|count| *count as usize).sum()
}

/// The least of the sorted waits that `percent` of them do not exceed, in milliseconds: the nearest-rank method.
pub fn percentile(sorted: &[Duration], percent: usize) -> f64 {
    let rank = (sorted.len() * percent).div_ceil(100);
    sorted.get(rank.saturating_sub(1)).map_or(0.0, |wait| wait.as_secs_f64() * 1000.0)
}

/// The share of some calls of which this is so.
fn share<'a>(calls: impl Iterator<Item = &'a Call>, what: impl Fn(&Call) -> bool) -> f64 {
    let (mut some, mut all) = (0, 0);
    for call in calls {
        some += usize::from(what(call));
        all += 1;
    }
    ratio(some, all)
}

#[allow(clippy::cast_precision_loss)]
fn ratio(part: usize, whole: usize) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 / whole as f64 }
}
