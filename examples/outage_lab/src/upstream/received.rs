//! The count of the requests that have reached an upstream.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use http::Method;

use super::UpstreamRequest;
use crate::plan::Replica;

/// The requests that have reached an upstream. Orders count only as duplicates.
#[derive(Debug, Clone, Default)]
pub struct Received {
    /// The attempts in each hundredth of a second.
    pub attempts: Vec<u32>,
    /// The attempts that are retries, in each hundredth of a second.
    pub retries: Vec<u32>,
    pub replicas: Vec<AtReplica>,
    /// Orders that were sent more than once.
    pub duplicates: u32,
}

/// The requests that have reached a replica.
#[derive(Debug, Clone, Default)]
pub struct AtReplica {
    /// True if the replica was started during the run.
    pub is_new: bool,
    /// The attempts in each hundredth of a second.
    pub attempts: Vec<u32>,
}

/// The number of attempts of a call. An extension of the request, shared by its copies.
#[derive(Debug, Clone, Default)]
pub struct AttemptCounter(Arc<AttemptCounterInner>);

#[derive(Debug, Default)]
struct AttemptCounterInner {
    made: AtomicU32,
    /// The attempts whose connections were not refused.
    sent: AtomicU32,
}

impl AttemptCounter {
    /// The counter of a request.
    pub fn of(request: &UpstreamRequest) -> Self {
        request.extensions().get::<Self>().expect("every call counts its attempts").clone()
    }

    /// The number of attempts so far.
    pub fn made(&self) -> u32 {
        self.0.made.load(Ordering::Relaxed)
    }
}

impl Received {
    pub(super) fn new(replicas: &[Replica]) -> Self {
        let at = |replica: &Replica| AtReplica { is_new: !replica.starts.is_zero(), attempts: vec![] };
        Self { replicas: replicas.iter().map(at).collect(), ..Self::default() }
    }

    /// Counts an attempt at this time, counted from the start. `replica` is `None` for a refused connection.
    pub(super) fn count(&mut self, at: Duration, replica: Option<usize>, request: &UpstreamRequest) {
        let counter = AttemptCounter::of(request);
        let is_retry = counter.0.made.fetch_add(1, Ordering::Relaxed) > 0;
        let is_resent = replica.is_some() && counter.0.sent.fetch_add(1, Ordering::Relaxed) > 0;
        if request.method() == Method::POST {
            self.duplicates += u32::from(is_resent);
            return;
        }
        let hundredth = usize::try_from(at.as_millis() / 10).unwrap_or(usize::MAX);
        add(&mut self.attempts, hundredth, 1);
        add(&mut self.retries, hundredth, u32::from(is_retry));
        if let Some(replica) = replica {
            add(&mut self.replicas[replica].attempts, hundredth, 1);
        }
    }
}

/// Adds to the count of a hundredth of a second.
fn add(hundredths: &mut Vec<u32>, hundredth: usize, count: u32) {
    if hundredths.len() <= hundredth {
        hundredths.resize(hundredth + 1, 0);
    }
    hundredths[hundredth] += count;
}
