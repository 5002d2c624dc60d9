//! The figures that are computed from the record of a run.

#[cfg(test)]
mod tests;

use std::ops::Range;
use std::time::Duration;

use crate::client::Answer;
use crate::record::{Call, Kind, Record};
use crate::upstream::AtReplica;

/// The figures of a run. "During" and "after" are the ranges that the scenario defines.
#[derive(Debug, Clone, Default)]
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
    pub p95_ms: f64,
    pub p99_ms: f64,
    /// The attempts at the replicas that were started during the run, after, as a multiple of the fair share. Replicas
    /// that stop count as if they ran.
    pub new_share: f64,
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
    /// The seconds from the start of during until a circuit first opens; infinite if none opens.
    pub opens_s: f64,
    /// The median time until a caller is told that the wait for a permit was in vain, during. Undefined if nobody
    /// was refused after a wait.
    pub told_p50_ms: f64,
    /// The figures of each group, during.
    pub groups: Vec<GroupFigures>,
}

/// The figures of a group of calls, during, without its orders. Undefined for a group without calls.
#[derive(Debug, Clone, Copy)]
pub struct GroupFigures {
    pub name: &'static str,
    pub calls: f64,
    /// Fresh answers per call.
    pub fresh: f64,
    /// The waits of all callers.
    pub p50_ms: f64,
    pub p99_ms: f64,
    /// The waits of the callers that got a fresh answer.
    pub fresh_p50_ms: f64,
    pub fresh_p99_ms: f64,
    /// The seconds from the start of during until the last call has ended.
    pub done_s: f64,
}

impl Figures {
    /// The figures of a group.
    pub fn group(&self, name: &str) -> GroupFigures {
        self.groups.iter().find(|group| group.name == name).copied().unwrap_or_default()
    }
}

impl Default for GroupFigures {
    fn default() -> Self {
        const NONE: f64 = f64::NAN;
        Self {
            name: "",
            calls: 0.0,
            fresh: NONE,
            p50_ms: NONE,
            p99_ms: NONE,
            fresh_p50_ms: NONE,
            fresh_p99_ms: NONE,
            done_s: NONE,
        }
    }
}

impl Record {
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
            p95_ms: percentile(&waits, 95),
            p99_ms: percentile(&waits, 99),
            new_share: self.new_share(after),
            #[allow(clippy::cast_precision_loss)]
            false_trips: self.false_trips as f64,
            duplicates: f64::from(self.received.duplicates),
            known_answered: share(known, |call| !matches!(call.answer, Answer::Failed | Answer::Unsent)),
            #[allow(clippy::cast_precision_loss)]
            wrong_ages: self.wrong_ages as f64,
            others_p99_ms: percentile(&others, 99),
            others_success: share(self.gets(during).filter(|call| call.upstream != 0), |call| {
                call.answer == Answer::Fresh
            }),
            most_in_flight: ratio(self.most_in_flight, 1),
            opens_s: self.opens(during.start),
            told_p50_ms: percentile_or_nan(&self.waits(during, Call::is_refused_from_queue), 50),
            groups: self.groups(during),
        }
    }

    fn groups(&self, during: &Range<Duration>) -> Vec<GroupFigures> {
        let mut names = vec![];
        for call in &self.calls {
            if !names.contains(&call.group) {
                names.push(call.group);
            }
        }
        names.sort_unstable();
        let group = |name| {
            let calls = || self.gets(during).filter(move |call| call.group == name);
            let waits = sorted_waits(calls());
            let fresh = sorted_waits(calls().filter(|call| call.answer == Answer::Fresh));
            let done = calls().map(|call| call.at + call.took).max();
            GroupFigures {
                name,
                calls: ratio(waits.len(), 1),
                fresh: if waits.is_empty() { f64::NAN } else { ratio(fresh.len(), waits.len()) },
                p50_ms: percentile_or_nan(&waits, 50),
                p99_ms: percentile_or_nan(&waits, 99),
                fresh_p50_ms: percentile_or_nan(&fresh, 50),
                fresh_p99_ms: percentile_or_nan(&fresh, 99),
                done_s: done.map_or(f64::NAN, |done| (done - during.start).as_secs_f64()),
            }
        };
        names.into_iter().map(group).collect()
    }

    fn opens(&self, from: Duration) -> f64 {
        let first = self.openings.iter().find(|opening| **opening >= from);
        first.map_or(f64::INFINITY, |first| (*first - from).as_secs_f64())
    }

    /// Fresh answers per call to the first upstream, for calls that start in `range`.
    pub fn fresh(&self, range: &Range<Duration>) -> f64 {
        share(self.to_first(range), |call| call.answer == Answer::Fresh)
    }

    /// The sorted waits of the callers of the selected calls.
    pub fn waits(&self, range: &Range<Duration>, select: impl Fn(&Call) -> bool) -> Vec<Duration> {
        sorted_waits(self.gets(range).filter(|call| select(call)))
    }

    fn attempts(&self, range: &Range<Duration>) -> usize {
        within(&self.received.attempts, range)
    }

    fn new_share(&self, range: &Range<Duration>) -> f64 {
        let (mut new, mut all) = ((0, 0), (0, 0));
        for AtReplica { is_new, attempts } in &self.received.replicas {
            let attempts = within(attempts, range);
            all = (all.0 + attempts, all.1 + 1);
            if *is_new {
                new = (new.0 + attempts, new.1 + 1);
            }
        }
        ratio(new.0 * all.1, all.0 * new.1)
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

/// The same percentile; undefined without waits.
fn percentile_or_nan(sorted: &[Duration], percent: usize) -> f64 {
    if sorted.is_empty() { f64::NAN } else { percentile(sorted, percent) }
}

fn sorted_waits<'a>(calls: impl Iterator<Item = &'a Call>) -> Vec<Duration> {
    let mut waits: Vec<_> = calls.map(|call| call.took).collect();
    waits.sort_unstable();
    waits
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
