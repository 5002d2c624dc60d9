//! Plays a scenario: everybody calls, in simulated time, and what becomes of it is written down.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use http::{Request, Uri};
use http_body_util::Empty;
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use tokio::sync::Semaphore;
use tokio::time::{Instant, sleep, sleep_until};
use tower::ServiceExt;

use crate::plan::{Fault, Phase, Plan};
use crate::policy::{Answer, Client, Policy};
use crate::record::{Call, Kind, Record};
use crate::scenario::{Pace, Scenario};
use crate::upstream::{Ask, Tries, Upstream};

/// One call in so many must not be sent twice.
const ORDER_EVERY: u32 = 20;

/// How long the last calls have to end.
const LAST_CALLS: Duration = Duration::from_secs(60);

/// Plays a scenario. The same seed gives the same record.
pub fn play(scenario: &Scenario, policy: &Policy, seed: u64) -> Record {
    simulated(everybody(scenario, policy, seed))
}

/// Runs something in time that passes only when there is nothing left to do.
pub fn simulated<T>(what: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .expect("a runtime without IO needs nothing of the system");
    runtime.block_on(what)
}

/// What the calls of a run share.
struct Stage {
    scenario: Scenario,
    start: Instant,
    uris: Vec<Uri>,
    calls: Mutex<Vec<Call>>,
    orders: AtomicUsize,
}

/// A process that calls.
struct Process {
    stage: Arc<Stage>,
    client: Client,
    workers: Option<Semaphore>,
    in_flight: AtomicUsize,
    most_in_flight: AtomicUsize,
    wrong_ages: AtomicU64,
}

/// By how much an age may differ: it counts from when the answer was asked for (RFC 9111, 4.2.3), not from when it came.
const AGE_TOLERANCE: Duration = Duration::from_millis(35);

async fn everybody(scenario: &Scenario, policy: &Policy, seed: u64) -> Record {
    let mut seeds = SmallRng::seed_from_u64(seed);
    let healthy = Phase { until: scenario.length, fault: Fault::None };
    let upstreams: Arc<[Upstream]> = (0..scenario.upstreams)
        .map(|index| {
            let plan = scenario.plan.clone();
            let plan = if index == 0 { plan } else { Plan { phases: vec![healthy], ..plan } };
            Upstream::new(plan, seeds.random())
        })
        .collect();
    let stage = Arc::new(Stage {
        scenario: scenario.clone(),
        start: Instant::now(),
        uris: uris(scenario),
        calls: Mutex::default(),
        orders: AtomicUsize::new(0),
    });
    let processes: Vec<_> = (0..scenario.callers.processes)
        .map(|_| {
            let upstreams = Arc::clone(&upstreams);
            let at = move |host: &str| {
                upstreams[host.trim_start_matches('u').parse::<usize>().unwrap_or(0)].clone()
            };
            Arc::new(Process {
                stage: Arc::clone(&stage),
                client: policy.client(scenario, at, seeds.random()),
                workers: scenario.callers.workers.map(Semaphore::new),
                in_flight: AtomicUsize::new(0),
                most_in_flight: AtomicUsize::new(0),
                wrong_ages: AtomicU64::new(0),
            })
        })
        .collect();
    for process in &processes {
        match scenario.callers.pace {
            Pace::Open => drop(tokio::spawn(Arc::clone(process).call_openly(seeds.random()))),
            Pace::Serial(callers) => (0..callers)
                .for_each(|_| drop(tokio::spawn(Arc::clone(process).call_serially(seeds.random())))),
        }
    }
    sleep_until(stage.start + scenario.first_fault()).await;
    let false_trips = processes.iter().map(|process| process.trips()).sum();
    sleep_until(stage.start + scenario.length + LAST_CALLS).await;
    // What is not in the record would be in no figure.
    let under_way = |process: &Arc<Process>| process.in_flight.load(Ordering::Relaxed);
    assert_eq!(
        processes.iter().map(under_way).sum::<usize>(),
        0,
        "{}: calls that have not ended",
        scenario.name
    );
    let calls = std::mem::take(&mut *stage.calls.lock().unwrap_or_else(PoisonError::into_inner));
    let most = |process: &Arc<Process>| process.most_in_flight.load(Ordering::Relaxed);
    Record {
        calls,
        seen: upstreams[0].seen(),
        false_trips,
        most_in_flight: processes.iter().map(most).max().unwrap_or_default(),
        wrong_ages: processes.iter().map(|process| process.wrong_ages.load(Ordering::Relaxed)).sum(),
    }
}

/// What can be asked for: by upstream, and by key.
fn uris(scenario: &Scenario) -> Vec<Uri> {
    let keys = 0..scenario.callers.keys.count;
    let of = |upstream| keys.clone().map(move |key| format!("http://u{upstream}/items/{key}"));
    (0..scenario.upstreams).flat_map(of).map(|uri| uri.parse().expect("valid")).collect()
}

impl Scenario {
    /// When something begins to be wrong: a fault, or more calls than before. What is only noise is not wrong: circuits
    /// have no business to open then.
    fn first_fault(&self) -> Duration {
        let is_quiet =
            |fault| matches!(fault, Fault::None) || matches!(fault, Fault::Fails(share) if share <= 0.1);
        let phases = &self.plan.phases;
        let fault = match phases.iter().position(|phase| !is_quiet(phase.fault)) {
            None => self.length,
            Some(0) => Duration::ZERO,
            Some(loud) => phases[loud - 1].until,
        };
        let even = self.rate.windows(2).find(|two| two[0].1.total_cmp(&two[1].1).is_ne());
        let rush = even.map_or(self.length, |two| two[0].0);
        fault.min(rush)
    }

    /// How many calls a process makes a second at this time.
    fn rate_at(&self, time: Duration) -> f64 {
        let after = self.rate.iter().position(|(at, _)| *at > time);
        match after {
            None => self.rate.last().map_or(0.0, |(_, rate)| *rate),
            Some(0) => self.rate[0].1,
            Some(index) => {
                let ((from, before), (to, after)) = (self.rate[index - 1], self.rate[index]);
                before + (after - before) * ((time - from).as_secs_f64() / (to - from).as_secs_f64())
            }
        }
    }
}

impl Process {
    /// Calls come by chance, whatever becomes of them.
    async fn call_openly(self: Arc<Self>, seed: u64) {
        let scenario = &self.stage.scenario;
        let mut rng = SmallRng::seed_from_u64(seed);
        let most = scenario.rate.iter().map(|(_, rate)| *rate).fold(0.0, f64::max);
        let mut time = Duration::ZERO;
        loop {
            // Thinning (Lewis and Shedler, 1979): as often as at the busiest moment, and some of them are left out.
            time += Duration::from_secs_f64(-(1.0 - rng.random::<f64>()).ln() / most);
            if time >= scenario.length {
                return;
            }
            if rng.random::<f64>() * most < scenario.rate_at(time) {
                sleep_until(self.stage.start + time).await;
                tokio::spawn(Arc::clone(&self).call(rng.random()));
            }
        }
    }

    /// A caller that waits for its answer, and takes a moment for it.
    async fn call_serially(self: Arc<Self>, seed: u64) {
        let mut rng = SmallRng::seed_from_u64(seed);
        while self.stage.start.elapsed() < self.stage.scenario.length {
            sleep(Duration::from_secs_f64(rng.random::<f64>() * 0.05)).await;
            Arc::clone(&self).call(rng.random()).await;
        }
    }

    async fn call(self: Arc<Self>, seed: u64) {
        let mut rng = SmallRng::seed_from_u64(seed);
        let begun = Instant::now();
        let at = begun - self.stage.start;
        let (request, upstream, kind) = self.stage.request(at, &mut rng);
        let in_flight = self.in_flight.fetch_add(1, Ordering::Relaxed) + 1;
        self.most_in_flight.fetch_max(in_flight, Ordering::Relaxed);
        let answer = {
            let _worker = match &self.workers {
                Some(workers) => Some(workers.acquire().await.expect("it is never closed")),
                None => None,
            };
            self.client.service.clone().oneshot(request).await.unwrap_or(Answer::Failed)
        };
        self.in_flight.fetch_sub(1, Ordering::Relaxed);
        self.check_age(answer);
        let call = Call { at, took: begun.elapsed(), answer, upstream, kind };
        self.stage.calls.lock().unwrap_or_else(PoisonError::into_inner).push(call);
    }

    /// A stale answer says how long ago the upstream gave it.
    fn check_age(&self, answer: Answer) {
        if let Answer::Stale { age, given_at } = answer {
            let is_right = (self.stage.start.elapsed() - given_at).abs_diff(age) <= AGE_TOLERANCE;
            self.wrong_ages.fetch_add(u64::from(!is_right), Ordering::Relaxed);
        }
    }

    fn trips(&self) -> u64 {
        let circuits = self.client.circuits.lock().unwrap_or_else(PoisonError::into_inner);
        circuits.iter().map(|circuit| circuit.snapshot().trips).sum()
    }
}

impl Stage {
    /// What is asked, and of which upstream.
    fn request(&self, at: Duration, rng: &mut SmallRng) -> (Ask, usize, Kind) {
        let keys = self.scenario.callers.keys;
        let upstream = rng.random_range(0..self.scenario.upstreams);
        let healthy = at < self.scenario.during.start;
        let key = rng.random_range(0..if healthy && keys.known > 0 { keys.known } else { keys.count });
        if rng.random_ratio(1, ORDER_EVERY) || healthy && keys.known == 0 {
            let order = self.orders.fetch_add(1, Ordering::Relaxed);
            let request = Request::post(format!("http://u{upstream}/orders/{order}"))
                .extension(Tries::default())
                .body(Empty::new());
            return (request.expect("valid"), upstream, Kind::Order);
        }
        let uri = self.uris[upstream * keys.count + key].clone();
        let kind = Kind::Get { known: key < keys.known };
        let request = Request::get(uri).extension(Tries::default()).body(Empty::new());
        (request.expect("valid"), upstream, kind)
    }
}

#[cfg(test)]
mod tests {
    use crate::scenario::{Population, failing, flapping, healthy, ramp, spike};

    #[test]
    fn trips_are_false_until_something_is_wrong() {
        let cold = failing(25, Population::Big, false);
        let seconds = [cold, flapping(), spike(), ramp(1), healthy(50)].map(|it| it.first_fault().as_secs());
        assert_eq!(seconds, [0, 20, 30, 20, 50]);
    }
}
