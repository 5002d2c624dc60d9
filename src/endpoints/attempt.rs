//! The record of one attempt at an endpoint, until the head of its answer. `body.rs` follows the body.

use std::sync::Arc;
use std::time::Duration;

use http::{HeaderMap, Version};
use tokio::time::Instant;

use super::attempt_start::AttemptStart;
use super::body::EndpointBody;
use super::ejection::FaultKind;
use super::group::Endpoint;
use crate::http::keep_alive::keep_alive;
use crate::{EndpointId, RetryTerms};

/// An attempt that waits for the head of its answer.
///
/// If it is dropped without a result, the time of its wait decides: an unusually long wait is a fault.
#[derive(Debug)]
pub(super) struct Attempt {
    start: AttemptStart,
    has_ended: bool,
}

impl Attempt {
    /// Follows an attempt that the load of the endpoint counts already.
    #[inline]
    pub(super) fn new(endpoint: Arc<Endpoint>, is_probe: bool, now: Instant) -> Self {
        let (generation, version) = (endpoint.load.health().generation(), endpoint.version());
        let start = AttemptStart { endpoint, began: now, generation, version, is_probe };
        Self { start, has_ended: false }
    }

    pub(super) fn endpoint(&self) -> EndpointId {
        self.start.endpoint.id
    }

    pub(super) const fn is_probe(&self) -> bool {
        self.start.is_probe
    }

    pub(super) fn is_lane(&self) -> bool {
        self.start.endpoint.load.is_lane()
    }

    /// Looks at the head of the first answer over new connections.
    #[inline]
    pub(super) fn has_head<'a>(
        &self,
        version: Option<Version>,
        headers: impl FnOnce() -> Option<&'a HeaderMap>,
    ) {
        if self.start.endpoint.takes_head() {
            if let Some(version) = version {
                self.start.endpoint.has_head(version, headers().and_then(keep_alive));
            }
        }
    }

    /// Records a good answer. Its body follows, and is a stream if its length is not known.
    #[inline]
    pub(super) fn succeeded(&mut self, is_stream: bool) -> EndpointBody {
        let now = Instant::now();
        let AttemptStart { endpoint, began, generation, is_probe, .. } = &self.start;
        let now_ms = endpoint.millis(now);
        if self.start.is_current() {
            endpoint.load.sample(now.saturating_duration_since(*began), now_ms);
        }
        endpoint.load.good_head(now_ms);
        endpoint.earn_renewals();
        if *is_probe {
            endpoint.probe_answered(*generation, is_stream, now_ms);
        }
        self.answered(now_ms, is_stream)
    }

    /// Records an answer that is neither a success nor a fault. A probe has no result.
    pub(super) fn neutral(&mut self) -> EndpointBody {
        let now_ms = self.start.endpoint.millis(Instant::now());
        self.start.endpoint.load.restart_decay(now_ms);
        self.release_probe();
        self.answered(now_ms, false).settled()
    }

    /// Records an answer of another host, to which the endpoint has redirected the request. The endpoint is well, and
    /// the body belongs to the other host.
    #[cold]
    pub(super) fn redirected(&mut self) -> EndpointBody {
        let now_ms = self.start.endpoint.millis(Instant::now());
        let mut body = self.answered(now_ms, false);
        if !self.start.endpoint.load.health().is_well() {
            body.succeeded();
        }
        body.settled()
    }

    /// Records an answer that is a fault.
    pub(super) fn answered_with_fault(
        &mut self,
        kind: FaultKind,
        retry_after: Option<Duration>,
    ) -> (EndpointBody, RetryTerms) {
        let now = Instant::now();
        let now_ms = self.start.endpoint.millis(now);
        let body = self.answered(now_ms, false).settled();
        let load = &self.start.endpoint.load;
        if kind == FaultKind::Application && self.start.is_current() {
            load.sample_at_least(now.saturating_duration_since(self.start.began), now_ms);
        } else {
            load.restart_decay(now_ms);
        }
        (body, self.start.fault(kind, retry_after, Some(load.good_head_ms()), now))
    }

    /// Records an attempt without an answer.
    pub(super) fn failed(&mut self, kind: FaultKind) -> RetryTerms {
        let now = Instant::now();
        self.has_ended = true;
        self.start.endpoint.load.failed(self.start.endpoint.millis(now));
        self.start.fault(kind, None, Some(self.start.endpoint.load.good_head_ms()), now)
    }

    /// Records an attempt whose failure is no fault of the endpoint.
    pub(super) fn ended_neutrally(&mut self) {
        let AttemptStart { endpoint, .. } = &self.start;
        endpoint.load.restart_decay(endpoint.millis(Instant::now()));
        self.withdraw();
    }

    /// Takes the attempt back: it was not sent, or another host has failed.
    pub(super) fn withdraw(&mut self) {
        self.has_ended = true;
        self.start.endpoint.load.withdrawn();
        self.release_probe();
    }

    fn release_probe(&self) {
        if self.start.is_probe {
            self.start.endpoint.release_probe(self.start.generation);
        }
    }

    /// Records an attempt that its caller gives up: by a drop, or by the deadline of the call.
    #[cold]
    pub(super) fn abandon(&mut self) -> RetryTerms {
        let AttemptStart { endpoint, began, .. } = &self.start;
        let now = Instant::now();
        let waited = now.saturating_duration_since(*began);
        // A probe that is late has failed, or its callers would probe an endpoint that hangs again and again.
        let is_late_probe = self.start.is_probe && self.start.is_late(waited);
        if is_late_probe || self.start.is_long(waited) {
            return self.failed(self.start.kind_of_long_wait(*began));
        }
        if self.start.is_current() {
            endpoint.load.sample_at_least(waited, endpoint.millis(now));
        }
        self.withdraw();
        RetryTerms::Charged
    }

    /// Records an attempt whose own time limit has passed.
    #[cold]
    pub(super) fn timed_out(&mut self) -> RetryTerms {
        let usual = self.start.endpoint.load.latency();
        let waited = self.start.began.elapsed();
        if self.start.is_probe {
            return self.failed(FaultKind::Timeout);
        }
        if usual.is_some_and(|usual| waited < usual) {
            // The limit may belong to an outer call that polls this one, so it does not count against the endpoint.
            return self.abandon();
        }
        let is_short = usual.is_some_and(|usual| waited < usual * 2);
        self.failed(match self.start.kind_of_long_wait(self.start.began) {
            FaultKind::Abandoned if !is_short => FaultKind::Timeout,
            kind => kind,
        })
    }

    #[inline]
    fn answered(&mut self, now_ms: u64, is_stream: bool) -> EndpointBody {
        self.has_ended = true;
        self.start.endpoint.load.answered(now_ms);
        EndpointBody::new(self.start.clone(), now_ms, is_stream)
    }
}

impl Drop for Attempt {
    fn drop(&mut self) {
        if !self.has_ended {
            self.abandon();
        }
    }
}
