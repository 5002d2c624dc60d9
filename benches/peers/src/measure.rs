//! How it is measured: rounds in which every library has its turn, and the medians over them.

use std::hint::black_box;
use std::ops::AddAssign;
use std::pin::pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use tokio::runtime::Runtime;
use tower::Service;

use crate::allocations;
use crate::upstream::Inner;

/// What one batch of calls has shown.
#[derive(Debug, Clone, Copy, Default)]
pub struct Sample {
    /// The time of one call, on the thread that makes it.
    pub ns: f64,
    /// How many calls are made in a second, by all together.
    pub per_second: f64,
    pub allocations: f64,
    pub p99: Option<Duration>,
}

/// Makes so many calls, or a few more.
pub type Subject = Box<dyn FnMut(u64) -> Sample>;

/// What is added up while a batch runs.
#[derive(Debug, Clone, Copy, Default)]
pub struct Tally {
    pub calls: u64,
    time: Duration,
    allocations: u64,
}

impl Tally {
    /// Times `calls` calls, which `work` makes.
    pub fn time(&mut self, calls: u64, work: impl FnOnce()) {
        let clock = Clock::start();
        work();
        self.add(calls, &clock);
    }

    pub fn add(&mut self, calls: u64, clock: &Clock) {
        let (time, allocations) = clock.elapsed();
        *self += Self { calls, time, allocations };
    }

    #[allow(clippy::cast_precision_loss)]
    pub fn sample(&self) -> Sample {
        let (calls, time) = (self.calls as f64, self.time.as_secs_f64());
        Sample {
            ns: time * 1e9 / calls,
            per_second: calls / time,
            allocations: self.allocations as f64 / calls,
            p99: None,
        }
    }
}

impl AddAssign for Tally {
    fn add_assign(&mut self, other: Self) {
        self.calls += other.calls;
        self.time += other.time;
        self.allocations += other.allocations;
    }
}

/// The machine's own clock, which no runtime pauses, and the thread's allocations.
pub struct Clock {
    start: std::time::Instant,
    allocations: u64,
}

impl Clock {
    #[allow(clippy::disallowed_methods)]
    pub fn start() -> Self {
        let allocations = allocations::made();
        Self { start: std::time::Instant::now(), allocations }
    }

    pub fn elapsed(&self) -> (Duration, u64) {
        (self.start.elapsed(), allocations::made() - self.allocations)
    }
}

pub fn runtime() -> Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime")
}

// ===== Calls, one after the other =====

/// How many requests are made ahead, so that making them is not timed: what owns memory, a few at a time, so that they
/// stay in the cache.
const fn ahead<Req>() -> u64 {
    if std::mem::needs_drop::<Req>() { 32 } else { 256 }
}

/// A service, and what it is called with.
pub struct Caller<S, N, X> {
    pub service: S,
    /// The next request.
    pub next: N,
    /// Whether a result is what the case claims. Every call is asked.
    pub expect: X,
}

impl<S, N, X> Caller<S, N, X> {
    /// Calls of a service that is ready at once: polled where they are made, without a runtime in between.
    pub fn ready<Req>(mut self) -> Subject
    where
        S: Service<Req> + 'static,
        N: FnMut() -> Req + 'static,
        X: Fn(&Result<S::Response, S::Error>) -> bool + 'static,
        Req: 'static,
    {
        let runtime = runtime();
        let mut requests = Vec::new();
        Box::new(move |calls| {
            let _context = runtime.enter();
            let mut cx = Context::from_waker(Waker::noop());
            let mut tally = Tally::default();
            while tally.calls < calls {
                requests.extend((0..ahead::<Req>().min(calls)).map(|_| (self.next)()));
                tally.time(requests.len() as u64, || {
                    for request in requests.drain(..) {
                        assert!(self.service.poll_ready(&mut cx).is_ready());
                        let future = pin!(self.service.call(black_box(request)));
                        let Poll::Ready(result) = future.poll(&mut cx) else {
                            panic!("the call is not ready at once");
                        };
                        assert!((self.expect)(black_box(&result)), "not the state that the case claims");
                    }
                });
            }
            tally.sample()
        })
    }

    /// Calls in a task of a current-thread runtime.
    pub fn in_task<Req>(self) -> Subject
    where
        S: Service<Req, Response: Send, Error: Send, Future: Send> + Send + 'static,
        N: FnMut() -> Req + Send + 'static,
        X: Fn(&Result<S::Response, S::Error>) -> bool + Send + 'static,
        Req: Send + 'static,
    {
        let runtime = runtime();
        let mut caller = Some(self);
        Box::new(move |calls| {
            let mut turn = caller.take().expect("a batch gives it back");
            let task = async move {
                let tally = turn.calls(calls, || false).await;
                (turn, tally)
            };
            let (turn, tally) =
                runtime.block_on(async { tokio::spawn(task).await.expect("every call succeeds") });
            caller = Some(turn);
            tally.sample()
        })
    }

    /// So many calls, or fewer if it is time to stop; some in any case.
    pub async fn calls<Req>(&mut self, calls: u64, stop: impl Fn() -> bool) -> Tally
    where
        S: Service<Req>,
        N: FnMut() -> Req,
        X: Fn(&Result<S::Response, S::Error>) -> bool,
    {
        let mut requests = Vec::new();
        let mut tally = Tally::default();
        while tally.calls == 0 || tally.calls < calls && !stop() {
            requests.extend((0..ahead::<Req>().min(calls)).map(|_| (self.next)()));
            let number = requests.len() as u64;
            let clock = Clock::start();
            for request in requests.drain(..) {
                let ready = std::future::poll_fn(|cx| self.service.poll_ready(cx)).await;
                assert!(ready.is_ok());
                let result = self.service.call(black_box(request)).await;
                assert!((self.expect)(black_box(&result)), "not the state that the case claims");
            }
            tally.add(number, &clock);
        }
        tally
    }
}

// ===== Groups =====

/// The rows of one case, and of what follows from it.
pub struct Group {
    pub name: String,
    pub runs: Vec<Run>,
    pub rows: Vec<RowSpec>,
    /// The run that the others are compared with: the same call without the library.
    pub baseline: Option<RunId>,
    batch: Duration,
    checks: Vec<Box<dyn Fn()>>,
}

/// A row of the table, in the making.
pub struct RowSpec {
    pub case: String,
    pub library: &'static str,
    pub value: Value,
}

#[derive(Debug, Clone, Copy)]
pub enum Value {
    /// The time of a call.
    Time(RunId),
    /// The calls in a second.
    Rate(RunId),
    /// What the first takes more than the second.
    Difference(RunId, RunId),
    /// How many times as many calls a second the first makes.
    Scaling(RunId, RunId),
    /// A number of bytes.
    Bytes(f64),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RunId(pub usize);

pub struct Run {
    subject: Subject,
    calls: u64,
    pub samples: Vec<Sample>,
}

impl Group {
    /// Anything that is run for this group.
    pub fn run(&mut self, subject: Subject) -> RunId {
        self.runs.push(Run { subject, calls: 0, samples: Vec::new() });
        RunId(self.runs.len() - 1)
    }

    /// A row of the case `case`.
    pub fn row(&mut self, case: impl Into<String>, library: &'static str, value: Value) {
        self.rows.push(RowSpec { case: case.into(), library, value });
    }

    /// A row of the time of a call.
    pub fn time(&mut self, library: &'static str, subject: Subject) -> RunId {
        let run = self.run(subject);
        self.row(self.name.clone(), library, Value::Time(run));
        run
    }

    /// A library whose calls all succeed.
    pub fn healthy<S, Req>(
        &mut self,
        library: &'static str,
        inner: Inner,
        service: S,
        next: impl FnMut() -> Req + Send + 'static,
    ) -> RunId
    where
        S: Service<Req, Response: Send, Error: Send, Future: Send> + Send + 'static,
        Req: Send + 'static,
    {
        let caller = Caller { service, next, expect: Result::is_ok };
        self.time(library, if inner == Inner::Ready { caller.ready() } else { caller.in_task() })
    }

    /// The same call without a library: what the others are compared with.
    pub fn baseline<S, Req>(
        &mut self,
        library: &'static str,
        inner: Inner,
        service: S,
        next: impl FnMut() -> Req + Send + 'static,
    ) where
        S: Service<Req, Response: Send, Error: Send, Future: Send> + Send + 'static,
        Req: Send + 'static,
    {
        self.baseline = Some(self.healthy(library, inner, service, next));
    }

    /// What has to hold before and after.
    pub fn check(&mut self, check: impl Fn() + 'static) {
        self.checks.push(Box::new(check));
    }

    /// Keeps something that is held as long as the case is measured.
    pub fn hold(&mut self, held: impl Sized + 'static) {
        self.check(move || _ = &held);
    }

    /// How long a batch takes.
    pub fn batch(&mut self, time: Duration) {
        self.batch = time;
    }

    fn assert(&self) {
        self.checks.iter().for_each(|check| check());
    }

    /// Finds out how many calls make a batch.
    fn calibrate(&mut self, share: f64) {
        let batch = self.batch.as_secs_f64() * 1e9 * share;
        for run in &mut self.runs {
            let mut calls = 1;
            loop {
                let ns = (run.subject)(calls).ns;
                #[allow(
                    clippy::cast_precision_loss,
                    clippy::cast_possible_truncation,
                    clippy::cast_sign_loss
                )]
                if ns * calls as f64 > batch / 4.0 {
                    run.calls = ((batch / ns) as u64).max(1);
                    break;
                }
                calls *= 4;
            }
        }
    }

    /// Every run once, beginning with another one each round.
    fn round(&mut self, round: usize) {
        let begin = round % self.runs.len().max(1);
        let (last, first) = self.runs.split_at_mut(begin);
        for run in first.iter_mut().chain(last) {
            let sample = (run.subject)(run.calls);
            run.samples.push(sample);
        }
    }
}

// ===== The whole of it =====

/// All that is measured in one run.
pub struct Suite {
    /// Only groups whose name has this in it are made.
    pub filter: String,
    /// Whether it is enough that every case runs and every state is reached.
    pub quick: bool,
    pub groups: Vec<Group>,
}

impl Suite {
    pub fn group(&mut self, name: impl Into<String>, make: impl FnOnce(&mut Group)) {
        let name = name.into();
        if !name.contains(&self.filter) {
            return;
        }
        let mut group = Group {
            name,
            runs: Vec::new(),
            rows: Vec::new(),
            baseline: None,
            batch: Duration::from_millis(5),
            checks: Vec::new(),
        };
        make(&mut group);
        group.assert();
        self.groups.push(group);
    }

    /// Runs everything; the rounds go through all groups, so that a noisy while is not one group's alone.
    pub fn measure(&mut self, rounds: usize) {
        let share = if self.quick { 0.02 } else { 1.0 };
        for group in &mut self.groups {
            group.calibrate(share);
            group.assert();
        }
        for round in 0..rounds {
            eprint!("\rround {} of {rounds}", round + 1);
            self.groups.iter_mut().for_each(|group| group.round(round));
        }
        eprintln!();
        self.groups.iter().for_each(Group::assert);
    }
}
