//! The start of an attempt, and the faults that are judged by it.
//!
//! An attempt has one result, with its head or with its body. Both need the endpoint as it was at the start.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::ejection::{EndpointFault, FaultKind};
use super::endpoint::FaultReport;
use super::group::Endpoint;
use crate::RetryTerms;

/// The endpoint of an attempt, as it was at the start of the attempt.
#[derive(Debug, Clone)]
pub(super) struct AttemptStart {
    pub(super) endpoint: Arc<Endpoint>,
    pub(super) began: Instant,
    /// The generation of the endpoint's health.
    pub(super) generation: u32,
    /// The version of the endpoint's service.
    pub(super) version: u32,
    pub(super) is_probe: bool,
}

/// A wait is unusually long from this multiple of the latency on, and at least from [`MIN_WAIT`] on.
const LONG_WAIT_TIMES: u32 = 4;

const MIN_WAIT: Duration = Duration::from_millis(100);

/// While no answer of the endpoint is known, a wait is unusually long from this time on.
const LONG_FIRST_WAIT: Duration = Duration::from_secs(1);

impl AttemptStart {
    /// False if the endpoint was ejected or has returned since the attempt began.
    #[inline]
    pub(super) fn is_current(&self) -> bool {
        self.endpoint.load.health().generation() == self.generation
    }

    /// True if a wait for the endpoint is unusually long.
    pub(super) fn is_long(&self, wait: Duration) -> bool {
        let usual = self.endpoint.load.latency();
        wait >= usual.map_or(LONG_FIRST_WAIT, |usual| (usual * LONG_WAIT_TIMES).max(MIN_WAIT))
    }

    /// True if a wait lasts for twice the latency. False while no latency is known.
    pub(super) fn is_late(&self, wait: Duration) -> bool {
        self.endpoint.load.latency().is_some_and(|latency| wait >= latency * 2)
    }

    /// Returns `Exchange` if the endpoint has answered another attempt since the begin of the wait: then the route is
    /// slow, and the connections work. Otherwise `Abandoned`.
    pub(super) fn kind_of_long_wait(&self, since: Instant) -> FaultKind {
        if self.endpoint.load.has_answered_since(self.endpoint.millis(since)) {
            FaultKind::Exchange
        } else {
            FaultKind::Abandoned
        }
    }

    pub(super) fn fault(
        &self,
        kind: FaultKind,
        retry_after: Option<Duration>,
        good_head_ms: Option<u64>,
        now: Instant,
    ) -> RetryTerms {
        let Self { generation, is_probe, .. } = *self;
        let began_ms = self.endpoint.millis(self.began);
        let fault = EndpointFault { kind, retry_after, generation, is_probe, good_head_ms, began_ms };
        let FaultReport { is_charged, has_better } = self.endpoint.faulted(fault, self.version, now);
        match kind {
            // Other endpoints would throttle the call, too.
            FaultKind::Throttled => RetryTerms::Charged,
            _ if !has_better => RetryTerms::Charged,
            _ if self.is_probe => RetryTerms::AtOnce,
            _ if is_charged => RetryTerms::Elsewhere,
            _ => RetryTerms::Free,
        }
    }
}
