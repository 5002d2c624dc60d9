//! The figures of a scenario, as pure functions of its calls and requests.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use tokio::time::Instant;

use super::load::{Call, GETS};
use super::records::Request;
use super::replica::Kill;
use super::stage::Connections;
use super::timeline::{Timeline, Window};

/// A call that starts within this time after a kill may meet a connection whose reset the client has not read yet.
const RESET_IS_READ: Duration = Duration::from_millis(20);

/// Everything that callers and replicas observed of a scenario.
#[derive(Debug)]
pub(super) struct Figures {
    /// In the order of their starts.
    pub(super) calls: Vec<Call>,
    /// In the order of their arrival.
    pub(super) requests: Vec<Request>,
    pub(super) timeline: Timeline,
    /// Only of a balancer.
    pub(super) connections: Option<Connections>,
}

/// Failed calls, by method.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Failed {
    pub(super) gets: usize,
    pub(super) posts: usize,
}

// ===== callers =====

impl Figures {
    /// The share of the calls that have a fresh answer, of those that start during the fault.
    pub(super) fn fresh(&self) -> f64 {
        let fresh = self.calls_in(self.timeline.fault.whole).filter(|call| call.failure.is_none());
        ratio(fresh.count(), self.calls_in(self.timeline.fault.whole).count())
    }

    /// The failed calls of the whole scenario.
    pub(super) fn failed(&self) -> Failed {
        let (posts, gets): (Vec<_>, Vec<_>) = self.failures().partition(|call| call.is_post);
        Failed { gets: gets.len(), posts: posts.len() }
    }

    pub(super) fn failures(&self) -> impl Iterator<Item = &Call> {
        self.calls.iter().filter(|call| call.failure.is_some())
    }

    pub(super) fn posts(&self) -> usize {
        self.calls.iter().filter(|call| call.is_post).count()
    }

    /// The time below which the share `quantile` of the calls ends. Failed calls count, too.
    pub(super) fn percentile(&self, window: Window, quantile: f64) -> Duration {
        let mut times: Vec<Duration> = self.calls_in(window).map(|call| call.end - call.start).collect();
        times.sort_unstable();
        percentile(&times, quantile)
    }

    pub(super) fn calls_in(&self, window: Window) -> impl Iterator<Item = &Call> {
        self.calls.iter().filter(move |call| window.contains(call.start))
    }

    /// The largest number of calls that were in flight at a time.
    pub(super) fn most_in_flight(&self) -> usize {
        // At the same instant, ends come first.
        let mut changes: Vec<(Instant, isize)> =
            self.calls.iter().flat_map(|call| [(call.start, 1), (call.end, -1)]).collect();
        changes.sort_unstable();
        let in_flight = changes.iter().scan(0, |sum, (_, change)| {
            *sum += change;
            Some(*sum)
        });
        in_flight.max().map_or(0, isize::unsigned_abs)
    }

    /// The starts of the calls that needed a second attempt, of those in flight during the fault.
    pub(super) fn retried(&self) -> impl Iterator<Item = Instant> {
        let from = self.timeline.fault.whole.from;
        self.calls.iter().filter(move |call| call.end >= from && call.attempts > 1).map(|call| call.start)
    }

    /// The time from the return until ten calls in a row have fresh answers.
    pub(super) fn recovery(&self) -> Option<Duration> {
        const IN_A_ROW: usize = 10;
        let window = self.timeline.fault.whole;
        let calls: Vec<&Call> = self.calls_in(window).collect();
        let fresh = calls.windows(IN_A_ROW).find(|calls| calls.iter().all(|call| call.failure.is_none()))?;
        fresh.iter().map(|call| call.end - window.from).max()
    }
}

// ===== replicas =====

impl Figures {
    /// The requests a call, of the calls that start during the fault.
    pub(super) fn attempts(&self) -> f64 {
        let calls: HashSet<u64> = self.calls_in(self.timeline.fault.whole).map(|call| call.id).collect();
        let requests = self.requests.iter().filter(|request| calls.contains(&request.call));
        ratio(requests.count(), calls.len())
    }

    /// The requests that the watched replicas receive, as a multiple of their fair share among `of` replicas.
    pub(super) fn share(&self, of: usize) -> f64 {
        self.share_of(&self.timeline.fault.watched, of)
    }

    /// The requests that some replicas receive, as a multiple of their fair share among `of` replicas.
    pub(super) fn share_of(&self, replicas: &[usize], of: usize) -> f64 {
        let requests = || self.requests_in(self.timeline.fault.settled);
        let received = requests().filter(|request| replicas.contains(&request.replica));
        ratio(received.count() * of, requests().count() * replicas.len())
    }

    /// The requests a call of an outage. A replica that is down receives none.
    pub(super) fn outage_load(&self) -> f64 {
        self.timeline
            .fault
            .outage
            .map_or(0.0, |outage| ratio(self.requests_in(outage).count(), self.calls_in(outage).count()))
    }

    /// The requests of each full second after the return, as a multiple of the offered calls.
    pub(super) fn loads(&self) -> Vec<f64> {
        let second = Duration::from_secs(1);
        let whole = self.timeline.fault.whole;
        let starts = std::iter::successors(Some(whole.from), |&from| Some(from + second));
        starts
            .map(|from| Window { from, until: from + second })
            .take_while(|window| window.until <= whole.until)
            .map(|window| ratio(self.requests_in(window).count(), GETS as usize))
            .collect()
    }

    /// The number of POSTs that replicas have carried out more than once.
    pub(super) fn doubled(&self) -> usize {
        let mut times = HashMap::<u64, usize>::new();
        for request in self.requests.iter().filter(|request| request.is_carried_out) {
            *times.entry(request.call).or_default() += 1;
        }
        times.values().filter(|times| **times > 1).count()
    }

    /// The POSTs that kills may have failed: those in flight at a kill that no surviving replica received.
    pub(super) fn lost_to_kills(&self) -> HashSet<u64> {
        let posts = self.calls.iter().filter(|call| call.is_post);
        let lost = posts.filter(|call| self.timeline.fault.kills.iter().any(|kill| self.is_lost(call, kill)));
        lost.map(|call| call.id).collect()
    }

    fn is_lost(&self, call: &Call, kill: &Kill) -> bool {
        call.start <= kill.until + RESET_IS_READ
            && call.end >= kill.from
            && self.requests.iter().all(|request| request.call != call.id || request.replica == kill.replica)
    }

    fn requests_in(&self, window: Window) -> impl Iterator<Item = &Request> {
        self.requests.iter().filter(move |request| window.contains(request.received))
    }
}

#[allow(clippy::cast_precision_loss)]
fn ratio(part: usize, whole: usize) -> f64 {
    part as f64 / whole.max(1) as f64
}

/// The nearest rank.
#[allow(clippy::cast_possible_truncation, clippy::cast_precision_loss, clippy::cast_sign_loss)]
fn percentile(sorted: &[Duration], quantile: f64) -> Duration {
    let rank = (sorted.len() as f64 * quantile).ceil() as usize;
    sorted.get(rank.saturating_sub(1)).copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::Instant;

    use super::{Figures, percentile};
    use crate::replicas::load::Call;
    use crate::replicas::records::Request;
    use crate::replicas::replica::Kill;
    use crate::replicas::timeline::{Fault, Timeline, Window};

    fn at(start: Instant, millis: u64) -> Instant {
        start + Duration::from_millis(millis)
    }

    /// POSTs of 10 ms at 0 ms, 100 ms, and so on. The replica 0 is killed at 205 ms.
    fn posts(failed: &[u64], requests: &[(u64, usize)]) -> Figures {
        let zero = Instant::now();
        let call = |id: u64| Call {
            id,
            is_post: true,
            start: at(zero, id * 100),
            end: at(zero, id * 100 + 10),
            attempts: 1,
            failure: failed.contains(&id).then(|| "reset".to_owned()),
        };
        let request = |&(call, replica): &(u64, usize)| Request {
            replica,
            call,
            received: at(zero, call * 100 + 1),
            is_carried_out: true,
            is_answered: true,
        };
        let whole = Window { from: zero, until: at(zero, 2000) };
        let kills = vec![Kill { replica: 0, from: at(zero, 205), until: at(zero, 206) }];
        Figures {
            calls: (0..20).map(call).collect(),
            requests: requests.iter().map(request).collect(),
            timeline: Timeline {
                warm: whole,
                fault: Fault { whole, settled: whole, watched: vec![0], kills, outage: None },
            },
            connections: None,
        }
    }

    #[test]
    fn a_percentile_is_the_nearest_rank() {
        let times: Vec<Duration> = (1..=200).map(Duration::from_millis).collect();
        assert_eq!(percentile(&times, 0.99), Duration::from_millis(198));
        assert_eq!(percentile(&times[..1], 0.5), Duration::from_millis(1));
        assert_eq!(percentile(&[], 0.5), Duration::ZERO);
    }

    #[test]
    fn a_kill_loses_only_what_is_in_flight_on_the_killed_replica() {
        assert!(posts(&[], &[(2, 0), (3, 0)]).lost_to_kills().contains(&2));
        assert!(!posts(&[], &[(2, 0), (3, 0)]).lost_to_kills().contains(&3));
        assert!(!posts(&[], &[(2, 1)]).lost_to_kills().contains(&2));
        assert!(posts(&[], &[]).lost_to_kills().contains(&2));
    }

    #[test]
    fn recovery_is_the_end_of_ten_fresh_calls_in_a_row() {
        let millis = |figures: Figures| figures.recovery().map(|time| time.as_millis());
        assert_eq!(millis(posts(&[], &[])), Some(910));
        assert_eq!(millis(posts(&[3], &[])), Some(1310));
        assert_eq!(millis(posts(&[5, 12], &[])), None);
    }

    #[test]
    fn calls_are_in_flight_until_they_end() {
        let mut figures = posts(&[], &[]);
        assert_eq!(figures.most_in_flight(), 1);
        figures.calls[0].end += Duration::from_millis(190);
        assert_eq!(figures.most_in_flight(), 2);
    }

    #[test]
    fn a_second_attempt_counts_if_its_call_outlives_the_beginning_of_the_fault() {
        let mut figures = posts(&[], &[]);
        let zero = figures.timeline.fault.whole.from;
        figures.timeline.fault.whole.from = at(zero, 205);
        for call in 1..=3 {
            figures.calls[call].attempts = 2;
        }
        assert_eq!(figures.retried().collect::<Vec<_>>(), [at(zero, 200), at(zero, 300)]);
    }

    #[test]
    fn a_post_at_two_replicas_is_doubled() {
        let figures = posts(&[], &[(1, 0), (1, 1), (2, 0), (3, 1)]);
        assert_eq!(figures.doubled(), 1);
        assert!((figures.attempts() - 0.2).abs() < 1e-9);
        assert!((figures.share(4) - 2.0).abs() < 1e-9);
    }
}
