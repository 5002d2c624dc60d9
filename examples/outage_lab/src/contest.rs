//! The contest of jitters: many clients write one item under optimistic locking, and retry after each conflict.
//!
//! The contest is AWS' (Brooker 2015, "Exponential Backoff And Jitter"), with the real retry layer instead of a
//! model. An attempt reads the item's version and then writes. The write conflicts if another client has written in
//! between. The time between read and write is half of an attempt, so two clients succeed while every client tries
//! once: without backoff, N clients make about N²/4 writes.

use std::f64::consts::TAU;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use steadfast::retry::{Backoff, Jitter, RetryLayer, RetryPolicy};
use steadfast::{Error, ErrorInfo, HasCallOptions, Outcome, RetrySafety, RetryableRequest, classify};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};
use tower::{ServiceBuilder, ServiceExt, service_fn};

use crate::play::simulated;

/// The factor by which the contest is slowed down. Tokio's timers round up to whole milliseconds, which would distort
/// waits of 10 ms.
const SLOWER: u32 = 1000;

/// One millisecond in the contest's time.
pub const MS: Duration = Duration::from_millis(SLOWER as u64);

/// The delay of a message in milliseconds: the mean and the standard deviation of a normal distribution.
const DELAY: (f64, f64) = (10.0, 2.0);

/// The retries of a client: the largest number that a policy accepts.
const MAX_RETRIES: u32 = 100;

/// The totals of a contest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Totals {
    /// The time until the last client was done.
    pub time: Duration,
    /// The number of writes, including conflicting ones.
    pub calls: usize,
    /// The number of clients that ran out of retries.
    pub given_up: usize,
}

/// Lets each of `clients` clients write the item once. The waits of `backoff` are multiples of [`MS`]. The same seed
/// gives the same totals.
///
/// # Panics
///
/// Panics if `backoff` is invalid.
pub fn contest(clients: usize, backoff: Backoff, seed: u64) -> Totals {
    simulated(run_clients(clients, backoff, seed))
}

async fn run_clients(clients: usize, backoff: Backoff, seed: u64) -> Totals {
    let start = Instant::now();
    let mut seeds = SmallRng::seed_from_u64(seed);
    let item = Item::new(seeds.random());
    let mut writers = JoinSet::new();
    for _ in 0..clients {
        let policy =
            RetryPolicy::builder().max_retries(MAX_RETRIES).backoff(backoff).seed(seeds.random()).build();
        let item = item.clone();
        let client = ServiceBuilder::new()
            .layer(
                RetryLayer::new(policy.expect("a valid backoff"))
                    .without_budget()
                    .classifier(classify::from_fn(classify_answer))
                    .non_http(),
            )
            .service(service_fn(move |Update| item.clone().update()));
        writers.spawn(client.oneshot(Update));
    }
    let answers = writers.join_all().await;
    Totals {
        time: start.elapsed() / SLOWER,
        calls: item.state().calls,
        given_up: answers.iter().filter(|answer| !matches!(answer, Ok(Answer::Written))).count(),
    }
}

// ===== The item =====

/// A request to read the item's version and to write the next one.
struct Update;

impl HasCallOptions for Update {}

impl RetryableRequest for Update {
    fn retry_safety(&self) -> RetrySafety {
        RetrySafety::Idempotent
    }

    fn try_clone(&self) -> Option<Self> {
        Some(Self)
    }
}

/// The result of an attempt.
enum Answer {
    Written,
    /// Another client wrote between the read and the write.
    Conflict,
}

/// The error type of an attempt, which never fails.
type Never = Error<std::convert::Infallible>;

fn classify_answer(result: Result<&Answer, &ErrorInfo>) -> Outcome {
    match result {
        Ok(Answer::Conflict) => Outcome::transient(),
        Ok(Answer::Written) | Err(_) => Outcome::Success,
    }
}

/// The item, behind a simulated network.
#[derive(Clone)]
struct Item(Arc<Mutex<State>>);

struct State {
    version: u64,
    calls: usize,
    rng: SmallRng,
}

impl Item {
    fn new(seed: u64) -> Self {
        Self(Arc::new(Mutex::new(State { version: 0, calls: 0, rng: SmallRng::seed_from_u64(seed) })))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn update(self) -> Result<Answer, Never> {
        self.message().await;
        let version = self.state().version;
        self.message().await;
        self.message().await;
        let answer = self.state().write(version);
        self.message().await;
        Ok(answer)
    }

    /// Waits for the delay of one message.
    async fn message(&self) {
        let delay = self.state().delay();
        sleep(delay).await;
    }
}

impl State {
    fn write(&mut self, read: u64) -> Answer {
        self.calls += 1;
        if read != self.version {
            return Answer::Conflict;
        }
        self.version += 1;
        Answer::Written
    }

    fn delay(&mut self) -> Duration {
        // The Box-Muller transform (1958).
        let radius = (-2.0 * (1.0 - self.rng.random::<f64>()).ln()).sqrt();
        let normal = radius * (TAU * self.rng.random::<f64>()).cos();
        MS.mul_f64((DELAY.0 + DELAY.1 * normal).max(0.0))
    }
}

// ===== The strategies =====

/// A backoff strategy.
#[derive(Debug, Clone, Copy)]
pub struct Strategy {
    pub name: &'static str,
    pub backoff: Backoff,
}

/// The strategies: no wait at all, and each jitter with a constant and with a growing ceiling.
///
/// AWS' simulator has a base of 5 ms and doubles it before the first retry, while steadfast's first ceiling is the
/// base itself. So these ceilings begin at the 10 ms of the published figures. Decorrelated jitter has no growing
/// ceiling, so it keeps the simulator's base.
pub fn strategies() -> Vec<Strategy> {
    let cap = 2000 * MS;
    let named = |name, backoff: Backoff| Strategy { name, backoff };
    let growing = |jitter| Backoff::new().base(10 * MS).cap(cap).jitter(jitter);
    let constant = |jitter| growing(jitter).factor(1.0);
    vec![
        named("no backoff", Backoff::new().base(Duration::ZERO).jitter(Jitter::None)),
        named("constant", constant(Jitter::None)),
        named("constant, equal jitter", constant(Jitter::Equal)),
        named("constant, full jitter", constant(Jitter::Full)),
        named("constant, ±70 %", constant(Jitter::Proportional(0.7))),
        named("exponential", growing(Jitter::None)),
        named("exponential, equal jitter", growing(Jitter::Equal)),
        named("exponential, full jitter", growing(Jitter::Full)),
        named("exponential, ±70 %", growing(Jitter::Proportional(0.7))),
        named("decorrelated jitter", growing(Jitter::Decorrelated).base(5 * MS)),
    ]
}

/// The numbers of clients in the [`table`].
pub const CLIENTS: [usize; 3] = [10, 50, 100];

/// The totals of a strategy with one number of clients.
#[derive(Debug, Clone, Copy)]
pub struct Row {
    pub strategy: &'static str,
    pub clients: usize,
    /// The median over the seeds.
    pub time: Duration,
    /// The median over the seeds.
    pub calls: usize,
    /// The maximum over the seeds.
    pub given_up: usize,
}

/// The rows of every strategy with each number of clients.
///
/// # Panics
///
/// Panics if `seeds` is empty.
pub fn table(seeds: &[u64]) -> Vec<Row> {
    let rows = |clients| strategies().into_iter().map(move |strategy| strategy.row(clients, seeds));
    CLIENTS.into_iter().flat_map(rows).collect()
}

impl Strategy {
    fn row(&self, clients: usize, seeds: &[u64]) -> Row {
        let outcomes: Vec<_> = seeds.iter().map(|seed| contest(clients, self.backoff, *seed)).collect();
        Row {
            strategy: self.name,
            clients,
            time: median(outcomes.iter().map(|outcome| outcome.time)),
            calls: median(outcomes.iter().map(|outcome| outcome.calls)),
            given_up: outcomes.iter().map(|outcome| outcome.given_up).max().unwrap_or_default(),
        }
    }
}

fn median<T: Ord + Copy>(values: impl Iterator<Item = T>) -> T {
    let mut values: Vec<_> = values.collect();
    values.sort_unstable();
    values[values.len() / 2]
}

#[cfg(test)]
mod tests {
    use super::*;

    const SEEDS: [u64; 9] = [1, 2, 3, 4, 5, 6, 7, 8, 9];

    fn strategy(name: &str) -> Strategy {
        strategies().into_iter().find(|strategy| strategy.name == name).expect("a strategy of this name")
    }

    /// The medians for 100 clients.
    fn row(name: &str) -> Row {
        strategy(name).row(100, &SEEDS)
    }

    /// The totals of `name` and of each other strategy, for 100 clients and each seed.
    fn against_each(name: &str) -> impl Iterator<Item = (Totals, Strategy, Totals)> {
        let this = strategy(name).backoff;
        SEEDS.into_iter().flat_map(move |seed| {
            let outcome = contest(100, this, seed);
            let others = strategies().into_iter().filter(move |other| other.backoff != this);
            others.map(move |other| (outcome, other, contest(100, other.backoff, seed)))
        })
    }

    #[test]
    fn the_same_seed_gives_the_same_outcome_and_another_gives_another() {
        for strategy in strategies() {
            let outcome = contest(50, strategy.backoff, 1);
            assert_eq!(outcome, contest(50, strategy.backoff, 1), "{strategy:?}");
            assert_ne!(outcome, contest(50, strategy.backoff, 2), "{strategy:?}");
        }
    }

    #[test]
    fn a_single_client_writes_at_once_in_the_time_of_four_messages() {
        let alone = SEEDS.map(|seed| contest(1, Backoff::new(), seed));
        assert!(alone.iter().all(|outcome| outcome.calls == 1 && outcome.given_up == 0));
        let total: Duration = alone.iter().map(|outcome| outcome.time).sum();
        assert!((320..400).contains(&total.as_millis()), "nine times four times 10 ms: {total:?}");
    }

    #[test]
    fn a_client_without_retries_left_has_given_up() {
        let outcome = contest(250, strategy("no backoff").backoff, 1);
        assert!(outcome.given_up > 0);
        assert!(outcome.calls > outcome.given_up * 101, "{outcome:?}");
    }

    #[test]
    fn up_to_a_hundred_clients_none_gives_up() {
        let rows = table(&SEEDS[..3]);
        assert_eq!(rows.len(), strategies().len() * CLIENTS.len());
        for row in rows {
            assert!(row.calls > row.clients && row.given_up == 0, "{row:?}");
        }
    }

    #[test]
    fn no_backoff_takes_the_most_calls() {
        for (none, other, outcome) in against_each("no backoff") {
            assert!((2250..2750).contains(&none.calls), "N²/4 is 2500: {none:?}");
            assert!(none.calls > outcome.calls, "{none:?}, {other:?}: {outcome:?}");
        }
    }

    #[test]
    fn growth_without_jitter_takes_by_far_the_longest() {
        for (exponential, other, outcome) in against_each("exponential") {
            assert!(exponential.time > 5 * outcome.time, "{exponential:?}, {other:?}: {outcome:?}");
        }
    }

    #[test]
    fn jitter_without_growth_saves_few_calls() {
        assert!(row("constant, full jitter").calls * 5 > row("no backoff").calls * 4);
    }

    #[test]
    fn full_jitter_takes_at_most_a_third_of_the_calls_without_backoff() {
        assert!(row("exponential, full jitter").calls * 3 <= row("no backoff").calls);
    }

    #[test]
    fn full_jitter_takes_less_time_than_equal_jitter() {
        assert!(row("exponential, full jitter").time < row("exponential, equal jitter").time);
    }

    #[test]
    fn the_layer_takes_what_the_published_simulator_says() {
        let published = [
            ("no backoff", 2035, 2428),
            ("exponential", 62_834, 1852),
            ("exponential, equal jitter", 6672, 813),
            ("exponential, full jitter", 4741, 793),
            ("decorrelated jitter", 4552, 1014),
        ];
        for (name, time, calls) in published {
            let row = row(name);
            // The time depends on the slowest of a hundred clients and so varies; the number of calls hardly does.
            assert!(row.time.abs_diff(time * MS / SLOWER) < time * MS / SLOWER / 5, "{row:?}");
            assert!(row.calls.abs_diff(calls) < calls / 20, "{row:?}");
        }
    }
}
