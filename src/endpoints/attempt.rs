//! The record of one attempt at an endpoint, from its start to the end of its body. It has one result.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::Instant;

use super::ejection::{EndpointFault, FaultKind, MIN_LEASE};
use super::group::{Endpoint, FaultReport};
use super::load::low_bits;
use crate::http::body::{BodyEnd, BodyObserver};
use crate::http::broken_body::{BodyFault, raise_body_fault};
use crate::internal::signals::{TimeUp, time_is_up};
use crate::sealed::Sealed;
use crate::{BoxError, EndpointId, RetryTerms};

/// An attempt that waits for the head of its answer.
///
/// If it is dropped without a result, the time of its wait decides: an unusually long wait is a fault.
#[derive(Debug)]
pub(super) struct Attempt {
    start: AttemptStart,
    has_ended: bool,
}

/// The endpoint of an attempt, as it was at the start of the attempt.
#[derive(Debug, Clone)]
struct AttemptStart {
    endpoint: Arc<Endpoint>,
    began: Instant,
    /// The generation of the endpoint's health.
    generation: u32,
    /// The version of the endpoint's service.
    version: u32,
    is_probe: bool,
}

/// A wait is unusually long from this multiple of the latency on, and at least from [`MIN_WAIT`] on.
const LONG_WAIT_TIMES: u32 = 4;

const MIN_WAIT: Duration = Duration::from_millis(100);

/// While no answer of the endpoint is known, a wait is unusually long from this time on.
const LONG_FIRST_WAIT: Duration = Duration::from_secs(1);

impl Attempt {
    #[inline]
    pub(super) fn begin(endpoint: Arc<Endpoint>, is_probe: bool, now: Instant, now_ms: u64) -> Self {
        endpoint.load.begin(low_bits(now_ms));
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

    /// Records a good answer. Its body follows.
    #[inline]
    pub(super) fn succeeded(&mut self) -> EndpointBody {
        let now = Instant::now();
        let AttemptStart { endpoint, began, generation, is_probe, .. } = &self.start;
        let now_ms = endpoint.millis(now);
        if self.start.is_current() {
            endpoint.load.sample(now.saturating_duration_since(*began), now_ms);
        }
        endpoint.load.good_head(now_ms);
        if *is_probe {
            endpoint.probe_answered(*generation, now_ms);
        }
        self.answered(now_ms)
    }

    /// Records an answer whose time is no latency of the endpoint. The endpoint is alive.
    pub(super) fn neutral(&mut self) -> EndpointBody {
        let now_ms = self.start.endpoint.millis(Instant::now());
        self.start.endpoint.load.restart_decay(now_ms);
        self.answered(now_ms)
    }

    /// Records an answer of another host, to which the endpoint has redirected the request. The endpoint is well, and
    /// the body belongs to the other host.
    #[cold]
    pub(super) fn redirected(&mut self) -> EndpointBody {
        let now_ms = self.start.endpoint.millis(Instant::now());
        let mut body = self.answered(now_ms);
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
        let body = self.answered(now_ms).settled();
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
        if self.start.is_long(waited) {
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
    fn answered(&mut self, now_ms: u64) -> EndpointBody {
        self.has_ended = true;
        self.start.endpoint.load.answered(now_ms);
        EndpointBody {
            start: self.start.clone(),
            answered_ms: now_ms,
            is_settled: false,
            is_sized: false,
            waiting_since: None,
            longest_gap: None,
        }
    }
}

impl AttemptStart {
    /// False if the endpoint was ejected or has returned since the attempt began.
    #[inline]
    fn is_current(&self) -> bool {
        self.endpoint.load.health().generation() == self.generation
    }

    /// True if a wait for the endpoint is unusually long.
    fn is_long(&self, wait: Duration) -> bool {
        let usual = self.endpoint.load.latency();
        wait >= usual.map_or(LONG_FIRST_WAIT, |usual| (usual * LONG_WAIT_TIMES).max(MIN_WAIT))
    }

    /// Returns `Exchange` if the endpoint has answered another attempt since the begin of the wait: then the route is
    /// slow, and the connections work. Otherwise `Abandoned`.
    fn kind_of_long_wait(&self, since: Instant) -> FaultKind {
        if self.endpoint.load.has_answered_since(self.endpoint.millis(since)) {
            FaultKind::Exchange
        } else {
            FaultKind::Abandoned
        }
    }

    fn fault(
        &self,
        kind: FaultKind,
        retry_after: Option<Duration>,
        good_head_ms: Option<u64>,
        now: Instant,
    ) -> RetryTerms {
        let Self { generation, is_probe, .. } = *self;
        let fault = EndpointFault { kind, retry_after, generation, is_probe, good_head_ms };
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

impl Drop for Attempt {
    fn drop(&mut self) {
        if !self.has_ended {
            self.abandon();
        }
    }
}

/// Counts an answer until its body has ended. Records a fault of the endpoint if the body breaks off, or if it has
/// stalled for an unusually long time when a time limit cuts it.
///
/// A good answer counts as a success when its body ends or is dropped. The answer to a probe already counts as a
/// success when a frame arrives a second or more after the start of the probe, because a stream may never end.
#[derive(Debug)]
pub struct EndpointBody {
    start: AttemptStart,
    /// The time of the head.
    answered_ms: u64,
    /// True if the result of the attempt is recorded.
    is_settled: bool,
    /// True if the length of the body is known, so that it cannot be a stream of events.
    is_sized: bool,
    /// The time at which the reader began to wait for the next frame.
    waiting_since: Option<Instant>,
    /// The longest time that the reader has waited for a frame. `None` before the first frame.
    longest_gap: Option<Duration>,
}

impl EndpointBody {
    fn settled(mut self) -> Self {
        self.is_settled = true;
        self
    }

    pub(super) fn sized(mut self, is_sized: bool) -> Self {
        self.is_sized = is_sized;
        self
    }

    #[cold]
    fn succeeded(&mut self) {
        self.is_settled = true;
        self.start.endpoint.recovered(self.start.generation, self.answered_ms, Instant::now());
    }

    /// Records a fault, and passes it on to the layer that reads the body into memory, for the retry.
    #[cold]
    fn failed(&mut self, kind: FaultKind) {
        self.is_settled = true;
        let terms = self.start.fault(kind, None, None, Instant::now());
        raise_body_fault(BodyFault { endpoint: self.start.endpoint.id, terms });
    }

    /// Records that a time limit cuts the body. A body that still arrives makes no fault, and nor does a quiet
    /// stream.
    #[cold]
    fn cut(&mut self, limit: TimeUp, waiting_since: Instant) {
        let gap = waiting_since.elapsed();
        let is_callers = limit.is_total || limit.is_callers_share;
        let is_long = if is_callers {
            let may_be_quiet = !self.is_sized && self.longest_gap.is_none();
            !may_be_quiet && self.start.is_long(gap)
        } else {
            gap >= (self.start.endpoint.load.latency().unwrap_or_default() * 2).max(MIN_WAIT)
        };
        if is_long && gap >= self.longest_gap.unwrap_or_default() * 2 {
            self.failed(match self.start.kind_of_long_wait(waiting_since) {
                FaultKind::Abandoned if !is_callers => FaultKind::Timeout,
                kind => kind,
            });
        } else if !is_callers {
            // The body may be slow at any endpoint, but the retry goes to another one.
            self.is_settled = true;
            if self.start.is_probe {
                self.start.endpoint.release_probe(self.start.generation);
            }
            raise_body_fault(BodyFault { endpoint: self.start.endpoint.id, terms: RetryTerms::Charged });
        }
    }
}

impl Sealed for EndpointBody {}

impl BodyObserver for EndpointBody {
    #[inline]
    fn at_frame(mut self: Pin<&mut Self>) -> Option<BoxError> {
        let gap = self.waiting_since.take().map_or(Duration::ZERO, |since| since.elapsed());
        self.longest_gap = self.longest_gap.max(Some(gap));
        if self.start.is_probe && !self.is_settled && self.start.began.elapsed() >= MIN_LEASE {
            self.succeeded();
        }
        None
    }

    fn poll_pending(mut self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<BoxError> {
        if !self.is_settled {
            let waiting_since = *self.waiting_since.get_or_insert_with(Instant::now);
            if let Some(limit) = time_is_up() {
                self.cut(limit, waiting_since);
            }
        }
        Poll::Pending
    }

    fn end(mut self: Pin<&mut Self>, end: BodyEnd) {
        if end == BodyEnd::Broken && !self.is_settled {
            self.failed(FaultKind::Exchange);
        }
    }
}

impl Drop for EndpointBody {
    #[inline]
    fn drop(&mut self) {
        let load = &self.start.endpoint.load;
        load.body_ended();
        if !self.is_settled && !load.health().is_well() {
            self.succeeded();
        }
    }
}
