//! Plays a scenario in simulated time: all processes make their calls, and the results are recorded.

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
use crate::upstream::{AttemptCounter, Upstream, UpstreamRequest};

/// One call in this many is an order, which must not be sent twice.
const ORDER_EVERY: u32 = 20;

/// The time for the last calls to end.
const DRAIN_TIME: Duration = Duration::from_secs(60);

/// Plays a scenario. The same seed gives the same record.
pub fn play(scenario: &Scenario, policy: &Policy, seed: u64) -> Record {
    simulated(run(scenario, policy, seed))
}

/// Runs a future in simulated time, which advances only when every task is idle.
pub fn simulated<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .expect("a runtime without IO always builds");
    runtime.block_on(future)
}

/// The state shared by all processes of a run.
struct RunState {
    scenario: Scenario,
    start: Instant,
    /// The URIs by upstream and then by key.
    uris: Vec<Uri>,
    calls: Mutex<Vec<Call>>,
    /// The number of orders so far.
    orders: AtomicUsize,
}

/// A process that makes calls.
struct Process {
    run: Arc<RunState>,
    client: Client,
    workers: Option<Semaphore>,
    in_flight: AtomicUsize,
    most_in_flight: AtomicUsize,
    wrong_ages: AtomicU64,
}

/// The tolerance of an age, which counts from the request and not from the response (RFC 9111, section 4.2.3).
const AGE_TOLERANCE: Duration = Duration::from_millis(35);

async fn run(scenario: &Scenario, policy: &Policy, seed: u64) -> Record {
    let mut seeds = SmallRng::seed_from_u64(seed);
    let healthy = Phase { until: scenario.length, fault: Fault::None };
    let upstreams: Arc<[Upstream]> = (0..scenario.upstreams)
        .map(|index| {
            let plan = scenario.plan.clone();
            let plan = if index == 0 { plan } else { Plan { phases: vec![healthy], ..plan } };
            Upstream::new(plan, seeds.random())
        })
        .collect();
    let state = Arc::new(RunState {
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
                run: Arc::clone(&state),
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
            Pace::OpenLoop => drop(tokio::spawn(Arc::clone(process).open_loop(seeds.random()))),
            Pace::ClosedLoop(callers) => {
                for _ in 0..callers {
                    drop(tokio::spawn(Arc::clone(process).closed_loop(seeds.random())));
                }
            }
        }
    }
    sleep_until(state.start + scenario.first_fault()).await;
    let false_trips = processes.iter().map(|process| process.trips()).sum();
    sleep_until(state.start + scenario.length + DRAIN_TIME).await;
    // A call that has not ended would be missing in the figures.
    let calls_in_flight = |process: &Arc<Process>| process.in_flight.load(Ordering::Relaxed);
    assert_eq!(
        processes.iter().map(calls_in_flight).sum::<usize>(),
        0,
        "{}: some calls have not ended",
        scenario.name
    );
    let calls = std::mem::take(&mut *state.calls.lock().unwrap_or_else(PoisonError::into_inner));
    let most = |process: &Arc<Process>| process.most_in_flight.load(Ordering::Relaxed);
    Record {
        calls,
        received: upstreams[0].received(),
        false_trips,
        most_in_flight: processes.iter().map(most).max().unwrap_or_default(),
        wrong_ages: processes.iter().map(|process| process.wrong_ages.load(Ordering::Relaxed)).sum(),
    }
}

/// The URIs by upstream and then by key.
fn uris(scenario: &Scenario) -> Vec<Uri> {
    let keys = 0..scenario.callers.keys.count;
    let of = |upstream| keys.clone().map(move |key| format!("http://u{upstream}/items/{key}"));
    (0..scenario.upstreams).flat_map(of).map(|uri| uri.parse().expect("valid")).collect()
}

impl Scenario {
    /// The time of the first fault or rise of the call rate. Failures of at most 10 % are noise and not a fault: no
    /// circuit should open because of them.
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

    /// The calls per second of a process at this time.
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
    /// Starts calls at random times, however many are in flight: an open loop.
    async fn open_loop(self: Arc<Self>, seed: u64) {
        let scenario = &self.run.scenario;
        let mut rng = SmallRng::seed_from_u64(seed);
        let most = scenario.rate.iter().map(|(_, rate)| *rate).fold(0.0, f64::max);
        let mut time = Duration::ZERO;
        loop {
            // Thinning (Lewis and Shedler, 1979): candidates come at the highest rate, and some are skipped.
            time += Duration::from_secs_f64(-(1.0 - rng.random::<f64>()).ln() / most);
            if time >= scenario.length {
                return;
            }
            if rng.random::<f64>() * most < scenario.rate_at(time) {
                sleep_until(self.run.start + time).await;
                tokio::spawn(Arc::clone(&self).call(rng.random()));
            }
        }
    }

    /// Makes one call after the other, with short pauses: a closed loop.
    async fn closed_loop(self: Arc<Self>, seed: u64) {
        let mut rng = SmallRng::seed_from_u64(seed);
        while self.run.start.elapsed() < self.run.scenario.length {
            sleep(Duration::from_secs_f64(rng.random::<f64>() * 0.05)).await;
            Arc::clone(&self).call(rng.random()).await;
        }
    }

    async fn call(self: Arc<Self>, seed: u64) {
        let mut rng = SmallRng::seed_from_u64(seed);
        let begun = Instant::now();
        let at = begun - self.run.start;
        let (request, upstream, kind) = self.run.request(at, &mut rng);
        let in_flight = self.in_flight.fetch_add(1, Ordering::Relaxed) + 1;
        self.most_in_flight.fetch_max(in_flight, Ordering::Relaxed);
        let answer = {
            let _worker = match &self.workers {
                Some(workers) => Some(workers.acquire().await.expect("the semaphore is never closed")),
                None => None,
            };
            self.client.service.clone().oneshot(request).await.unwrap_or(Answer::Failed)
        };
        self.in_flight.fetch_sub(1, Ordering::Relaxed);
        self.check_age(answer);
        let call = Call { at, took: begun.elapsed(), answer, upstream, kind };
        self.run.calls.lock().unwrap_or_else(PoisonError::into_inner).push(call);
    }

    /// Compares the age of a stale answer with the time since the upstream gave it.
    fn check_age(&self, answer: Answer) {
        if let Answer::Stale { age, given_at } = answer {
            let is_right = (self.run.start.elapsed() - given_at).abs_diff(age) <= AGE_TOLERANCE;
            self.wrong_ages.fetch_add(u64::from(!is_right), Ordering::Relaxed);
        }
    }

    fn trips(&self) -> u64 {
        let circuits = self.client.circuits.lock().unwrap_or_else(PoisonError::into_inner);
        circuits.iter().map(|circuit| circuit.snapshot().trips).sum()
    }
}

impl RunState {
    /// A random request, with the index of its upstream and its kind.
    fn request(&self, at: Duration, rng: &mut SmallRng) -> (UpstreamRequest, usize, Kind) {
        let keys = self.scenario.callers.keys;
        let upstream = rng.random_range(0..self.scenario.upstreams);
        let healthy = at < self.scenario.during.start;
        let key = rng.random_range(0..if healthy && keys.known > 0 { keys.known } else { keys.count });
        if rng.random_ratio(1, ORDER_EVERY) || healthy && keys.known == 0 {
            let order = self.orders.fetch_add(1, Ordering::Relaxed);
            let request = Request::post(format!("http://u{upstream}/orders/{order}"))
                .extension(AttemptCounter::default())
                .body(Empty::new());
            return (request.expect("valid"), upstream, Kind::Order);
        }
        let uri = self.uris[upstream * keys.count + key].clone();
        let kind = Kind::Get { known: key < keys.known };
        let request = Request::get(uri).extension(AttemptCounter::default()).body(Empty::new());
        (request.expect("valid"), upstream, kind)
    }
}

#[cfg(test)]
mod tests {
    use crate::scenario::{Population, failing, flapping, healthy, ramp, spike};

    #[test]
    fn trips_are_false_until_the_first_fault() {
        let cold = failing(25, Population::Big, false);
        let seconds = [cold, flapping(), spike(), ramp(1), healthy(50)].map(|it| it.first_fault().as_secs());
        assert_eq!(seconds, [0, 20, 30, 20, 50]);
    }
}
