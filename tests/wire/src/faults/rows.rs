//! Runs the rows, several at a time.
//!
//! Each row has a thread and a runtime of its own, so that client and server take turns in the same order in every
//! run.

use std::sync::Mutex;
use std::thread;
use std::time::Duration;

use tokio::runtime;

use super::case::Case;
use super::clients::Setting;
use super::observe::{self, Bare, Steadfast};
use crate::BoxError;

/// The rows that run at a time. Most of them wait.
const AT_A_TIME: usize = 12;
/// The longest time of one observation.
pub(crate) const LIMIT: Duration = Duration::from_secs(20);

/// The observations of a row.
#[derive(Debug, Clone)]
pub(crate) struct Row {
    pub(crate) case: Case,
    pub(crate) bare: Bare,
    pub(crate) steadfast: Steadfast,
    /// The call through a client whose circuit the first failure opens.
    pub(crate) one_failure_opens: Steadfast,
}

/// Runs every job on a thread with a runtime of its own, and returns the results in the order of the jobs.
pub(crate) fn run_all<J: Sync, T: Send>(
    jobs: &[J],
    run: impl AsyncFn(&J) -> Result<T, BoxError> + Sync,
) -> Result<Vec<T>, BoxError> {
    let jobs_left = Mutex::new(jobs.iter().enumerate());
    let take = || jobs_left.lock().expect("no job panics").next();
    let results: Mutex<Vec<(usize, Result<T, BoxError>)>> = Mutex::default();
    thread::scope(|scope| {
        for _ in 0..AT_A_TIME.min(jobs.len()) {
            scope.spawn(|| {
                while let Some((at, job)) = take() {
                    let result = in_own_runtime(run(job));
                    results.lock().expect("no job panics").push((at, result));
                }
            });
        }
    });
    let mut results = results.into_inner().expect("no job panics");
    results.sort_by_key(|(at, _)| *at);
    results.into_iter().map(|(_, result)| result).collect()
}

fn in_own_runtime<T>(job: impl Future<Output = Result<T, BoxError>>) -> Result<T, BoxError> {
    let runtime = runtime::Builder::new_current_thread().enable_all().build()?;
    let result = runtime.block_on(job);
    // The resolver may still wait for an answer.
    runtime.shutdown_background();
    result
}

/// Observes one row.
pub(crate) async fn observe(case: &Case) -> Result<Row, BoxError> {
    Ok(Row {
        case: case.clone(),
        bare: within_limit(observe::bare(case)).await?,
        steadfast: within_limit(observe::steadfast(case, Setting::Defaults)).await?,
        one_failure_opens: within_limit(observe::steadfast(case, Setting::OneFailureOpens)).await?,
    })
}

/// The result of an observation; the default stands for one that hung.
pub(crate) async fn within_limit<T: Default>(
    observation: impl Future<Output = Result<T, BoxError>>,
) -> Result<T, BoxError> {
    tokio::time::timeout(LIMIT, observation).await.unwrap_or_else(|_| Ok(T::default()))
}

impl Row {
    /// True if the circuit breaker counted a failure.
    pub(crate) const fn is_counted(&self) -> bool {
        self.one_failure_opens.has_tripped
    }

    /// The calls through steadfast.
    pub(crate) fn calls(&self) -> [&Steadfast; 2] {
        [&self.steadfast, &self.one_failure_opens]
    }
}
