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

use crate::arrivals::Starts;
use crate::client::{Answer, Client};
use crate::plan::{Fault, Phase, Plan};
use crate::policy::Policy;
use crate::record::{Call, Kind, Record};
use crate::scenario::{Arrivals, Group, Requests, Scenario};
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
    let upstreams: Vec<_> = (0..scenario.upstreams)
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
            Arc::new(Process {
                run: Arc::clone(&state),
                client: policy.client(scenario, &upstreams, seeds.random()),
                workers: scenario.callers.workers.map(Semaphore::new),
                in_flight: AtomicUsize::new(0),
                most_in_flight: AtomicUsize::new(0),
                wrong_ages: AtomicU64::new(0),
            })
        })
        .collect();
    for process in &processes {
        for (group, Group { arrivals, .. }) in scenario.groups.iter().enumerate() {
            if let Arrivals::ClosedLoop(callers) = arrivals {
                for _ in 0..*callers {
                    drop(tokio::spawn(Arc::clone(process).closed_loop(group, seeds.random())));
                }
            } else {
                drop(tokio::spawn(Arc::clone(process).open_loop(group, seeds.random())));
            }
        }
    }
    sleep_until(state.start + scenario.first_fault()).await;
    let false_trips = processes.iter().map(|process| process.client.circuits.trips()).sum();
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
    let mut openings: Vec<_> =
        processes.iter().flat_map(|process| process.client.circuits.openings()).collect();
    openings.sort_unstable();
    Record {
        calls,
        received: upstreams[0].received(),
        false_trips,
        openings: openings.into_iter().map(|opening| opening - state.start).collect(),
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
        let rush = self.groups.iter().filter_map(|group| group.arrivals.first_change()).min();
        fault.min(rush.unwrap_or(self.length))
    }
}

impl Process {
    /// Starts the calls of a group at their times, however many are in flight: an open loop.
    async fn open_loop(self: Arc<Self>, group: usize, seed: u64) {
        let scenario = &self.run.scenario;
        let mut rng = SmallRng::seed_from_u64(seed);
        let mut starts = Starts::new(&scenario.groups[group].arrivals, scenario.length);
        while let Some(time) = starts.next(&mut rng) {
            sleep_until(self.run.start + time).await;
            tokio::spawn(Arc::clone(&self).call(group, rng.random()));
        }
    }

    /// Makes one call after the other, with short pauses: a closed loop.
    async fn closed_loop(self: Arc<Self>, group: usize, seed: u64) {
        let mut rng = SmallRng::seed_from_u64(seed);
        while self.run.start.elapsed() < self.run.scenario.length {
            sleep(Duration::from_secs_f64(rng.random::<f64>() * 0.05)).await;
            Arc::clone(&self).call(group, rng.random()).await;
        }
    }

    async fn call(self: Arc<Self>, group: usize, seed: u64) {
        let group = &self.run.scenario.groups[group];
        let mut rng = SmallRng::seed_from_u64(seed);
        let begun = Instant::now();
        let at = begun - self.run.start;
        let (request, upstream, kind) = self.run.request(group, at, &mut rng);
        let in_flight = self.in_flight.fetch_add(1, Ordering::Relaxed) + 1;
        self.most_in_flight.fetch_max(in_flight, Ordering::Relaxed);
        let answer = {
            let _worker = match &self.workers {
                Some(workers) => Some(workers.acquire().await.expect("the semaphore is never closed")),
                None => None,
            };
            self.client.answer(request, group.patience).await
        };
        self.in_flight.fetch_sub(1, Ordering::Relaxed);
        self.check_age(answer);
        let call = Call { at, took: begun.elapsed(), answer, upstream, group: group.name, kind };
        self.run.calls.lock().unwrap_or_else(PoisonError::into_inner).push(call);
    }

    /// Compares the age of a stale answer with the time since the upstream gave it.
    fn check_age(&self, answer: Answer) {
        if let Answer::Stale { age, given_at } = answer {
            let is_right = (self.run.start.elapsed() - given_at).abs_diff(age) <= AGE_TOLERANCE;
            self.wrong_ages.fetch_add(u64::from(!is_right), Ordering::Relaxed);
        }
    }
}

impl RunState {
    /// A random request, with the index of its upstream and its kind.
    fn request(&self, group: &Group, at: Duration, rng: &mut SmallRng) -> (UpstreamRequest, usize, Kind) {
        if let Requests::Route(path) = group.requests {
            let request = Request::get(format!("http://u0{path}")).extension(AttemptCounter::default());
            return (request.body(Empty::new()).expect("valid"), 0, Kind::Get { known: false });
        }
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
    use std::time::Duration;

    use super::play;
    use crate::policy::{bare, default_client};
    use crate::scenario::{
        Hole, Population, black_hole, burst, failing, fails_as_fast, flapping, healthy, ramp, spike,
    };

    #[test]
    fn trips_are_false_until_the_first_fault() {
        let cold = failing(25, Population::Big, false);
        let scenarios = [cold, flapping(), spike(), ramp(1), healthy(50), burst()];
        assert_eq!(scenarios.map(|it| it.first_fault().as_secs()), [0, 20, 30, 20, 50, 20]);
    }

    #[test]
    fn a_call_ends_with_the_patience_of_its_caller() {
        for drops in [false, true] {
            let hole = black_hole(Hole { limit: 800, drops, rate: 10, warm: false });
            let calls = play(&hole, &bare(), 1).calls;
            let longest = calls.iter().map(|call| call.took).max().unwrap_or_default();
            // The deadline layer waits a few turns longer than the deadline.
            assert!(longest.abs_diff(Duration::from_millis(800)) < Duration::from_millis(5), "{longest:?}");
        }
    }

    #[test]
    fn the_openings_of_a_circuit_are_recorded() {
        let openings = play(&fails_as_fast(), &default_client(), 1).openings;
        // The default circuit opens after failures over 5 s, first for about 1 s.
        assert!(openings.len() > 2 && openings[0].abs_diff(Duration::from_secs(25)).as_secs_f64() < 0.5);
        assert!(openings.windows(2).all(|two| two[0] < two[1]), "{openings:?}");
    }
}
