//! The times at which the calls of a group start.

use std::time::Duration;

use rand::RngExt;
use rand::rngs::SmallRng;

use crate::scenario::Arrivals;

/// The starts of the calls of a process, in order. Calls of a closed loop have no such times.
#[derive(Debug)]
pub struct Starts<'a> {
    arrivals: &'a Arrivals,
    /// The time after which no call starts.
    length: Duration,
    /// The number of calls so far, and the time of the last candidate.
    calls: u32,
    last: Duration,
}

impl<'a> Starts<'a> {
    pub const fn new(arrivals: &'a Arrivals, length: Duration) -> Self {
        Self { arrivals, length, calls: 0, last: Duration::ZERO }
    }

    /// The start of the next call.
    pub fn next(&mut self, rng: &mut SmallRng) -> Option<Duration> {
        let next = match self.arrivals {
            Arrivals::OpenLoop(rate) => return self.next_of_open_loop(rate, rng),
            Arrivals::ClosedLoop(_) => None,
            Arrivals::Burst { calls, from, over } => {
                (self.calls < *calls).then(|| *from + over.mul_f64(f64::from(self.calls) / f64::from(*calls)))
            }
            Arrivals::Every(period) => Some(*period * self.calls + period.mul_f64(rng.random())),
        };
        self.calls += 1;
        self.last = next.filter(|next| *next < self.length)?;
        Some(self.last)
    }

    fn next_of_open_loop(&mut self, rate: &[(Duration, f64)], rng: &mut SmallRng) -> Option<Duration> {
        let most = rate.iter().map(|(_, rate)| *rate).fold(0.0, f64::max);
        loop {
            // Thinning (Lewis and Shedler, 1979): candidates come at the highest rate, and some are skipped.
            self.last += Duration::from_secs_f64(-(1.0 - rng.random::<f64>()).ln() / most);
            if self.last >= self.length {
                return None;
            }
            if rng.random::<f64>() * most < rate_at(rate, self.last) {
                return Some(self.last);
            }
        }
    }
}

/// The rate at this time, interpolated linearly between the points.
fn rate_at(rate: &[(Duration, f64)], time: Duration) -> f64 {
    let after = rate.iter().position(|(at, _)| *at > time);
    match after {
        None => rate.last().map_or(0.0, |(_, rate)| *rate),
        Some(0) => rate[0].1,
        Some(index) => {
            let ((from, before), (to, after)) = (rate[index - 1], rate[index]);
            before + (after - before) * ((time - from).as_secs_f64() / (to - from).as_secs_f64())
        }
    }
}

impl Arrivals {
    /// The time at which a burst begins or the rate first changes.
    pub fn first_change(&self) -> Option<Duration> {
        match self {
            Self::OpenLoop(rate) => {
                let change = rate.windows(2).find(|two| two[0].1.total_cmp(&two[1].1).is_ne());
                change.map(|two| two[0].0)
            }
            Self::Burst { from, .. } => Some(*from),
            Self::ClosedLoop(_) | Self::Every(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn starts(arrivals: &Arrivals) -> Vec<Duration> {
        let (mut starts, mut rng) = (Starts::new(arrivals, 100 * SECOND), SmallRng::seed_from_u64(1));
        std::iter::from_fn(|| starts.next(&mut rng)).collect()
    }

    #[test]
    fn a_burst_comes_at_once_or_evenly() {
        let burst = |over| starts(&Arrivals::Burst { calls: 4, from: 10 * SECOND, over });
        assert_eq!(burst(Duration::ZERO), [10 * SECOND; 4]);
        assert_eq!(burst(2 * SECOND), [20, 21, 22, 23].map(|half| half * SECOND / 2));
    }

    #[test]
    fn a_call_comes_in_each_period() {
        let starts = starts(&Arrivals::Every(10 * SECOND));
        let periods: Vec<_> = starts.iter().map(|start| start.as_secs() / 10).collect();
        assert_eq!(periods, (0..10).collect::<Vec<_>>());
        let gaps: Vec<_> = starts.windows(2).map(|two| two[1] - two[0]).collect();
        assert!(gaps.iter().any(|gap| *gap != gaps[0]), "{gaps:?}");
    }

    #[test]
    fn an_open_loop_follows_its_rate() {
        let rate = vec![(Duration::ZERO, 10.0), (50 * SECOND, 10.0), (50 * SECOND, 100.0)];
        let starts = starts(&Arrivals::OpenLoop(rate));
        let before = starts.iter().filter(|start| **start < 50 * SECOND).count();
        assert!((430..570).contains(&before) && (4700..5300).contains(&(starts.len() - before)), "{before}");
    }
}
