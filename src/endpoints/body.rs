//! The observer of the body of an answer. It records the result of the attempt once the body has ended.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::Instant;

use super::attempt_start::{AttemptStart, MIN_WAIT};
use super::ejection::{FaultKind, MIN_LEASE};
use crate::http::body::{BodyEnd, BodyObserver};
use crate::http::broken_body::{BodyFault, raise_body_fault};
use crate::internal::signals::{TimeUp, time_is_up};
use crate::sealed::Sealed;
use crate::{BoxError, RetryTerms};

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
    pub(super) fn new(start: AttemptStart, answered_ms: u64) -> Self {
        Self {
            start,
            answered_ms,
            is_settled: false,
            is_sized: false,
            waiting_since: None,
            longest_gap: None,
        }
    }

    pub(super) fn settled(mut self) -> Self {
        self.is_settled = true;
        self
    }

    pub(super) fn sized(mut self, is_sized: bool) -> Self {
        self.is_sized = is_sized;
        self
    }

    #[cold]
    pub(super) fn succeeded(&mut self) {
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
