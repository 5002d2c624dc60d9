//! The observer of the body of an answer. It records the result of the attempt once the body has ended.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::Instant;

use super::attempt_start::AttemptStart;
use super::ejection::{FaultKind, MIN_LEASE};
use crate::http::body::{BodyEnd, BodyObserver};
use crate::http::broken_body::{BodyFault, raise_body_fault};
use crate::internal::signals::{TimeUp, time_is_up};
use crate::sealed::Sealed;
use crate::{BoxError, RetryTerms};

/// Counts an answer until its body has ended. Records a fault of the endpoint if the body breaks off, or if it has
/// [stalled](super) when a time limit cuts it or its reader drops it.
///
/// Otherwise, a good answer counts as a success when its body ends or is dropped. The answer to a probe already
/// counts as a success when a frame arrives a second or more after the start of the probe, because a stream may never
/// end.
#[derive(Debug)]
pub struct EndpointBody {
    start: AttemptStart,
    /// The time of the head.
    answered_ms: u64,
    /// True if the result of the attempt is recorded.
    is_settled: bool,
    /// True if the length of the body is not known, so that it may be a stream of events.
    is_stream: bool,
    /// The time at which the reader began to wait for the next frame.
    waiting_since: Option<Instant>,
    /// The longest time that the reader has waited for a frame. `None` before the first frame.
    longest_gap: Option<Duration>,
}

/// The least time without data after which a body that its own limit cuts is a fault.
const MIN_STALL: Duration = Duration::from_millis(20);

impl EndpointBody {
    pub(super) fn new(start: AttemptStart, answered_ms: u64, is_stream: bool) -> Self {
        Self { start, answered_ms, is_settled: false, is_stream, waiting_since: None, longest_gap: None }
    }

    pub(super) fn settled(mut self) -> Self {
        self.is_settled = true;
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

    /// Records that a time limit cuts the body, or that its reader drops it while waiting. A body that still arrives
    /// makes no fault, and nor does a quiet stream.
    #[cold]
    fn cut(&mut self, by: Cut, waiting_since: Instant) {
        let gap = waiting_since.elapsed();
        let may_be_quiet = by == Cut::Caller && self.is_stream && self.longest_gap.is_none();
        let has_stalled =
            !may_be_quiet && self.start.is_late(gap) && gap >= self.longest_gap.unwrap_or_default() * 2;
        let is_clear = by == Cut::Limit && gap >= MIN_STALL || self.start.is_probe || self.start.is_long(gap);
        if has_stalled && is_clear {
            self.failed(match self.start.kind_of_long_wait(waiting_since) {
                FaultKind::Abandoned if by == Cut::Limit => FaultKind::Timeout,
                kind => kind,
            });
        } else if has_stalled || by == Cut::Limit {
            self.given_up(gap);
        }
    }

    /// Records a body that may be slow at any endpoint, or whose caller may be impatient. It is no fault, but a retry
    /// goes to another endpoint.
    fn given_up(&mut self, gap: Duration) {
        self.is_settled = true;
        let AttemptStart { endpoint, generation, is_probe, .. } = &self.start;
        if self.start.is_current() {
            endpoint.load.sample_at_least(gap, endpoint.millis(Instant::now()));
        }
        if *is_probe {
            endpoint.release_probe(*generation);
        }
        raise_body_fault(BodyFault { endpoint: endpoint.id, terms: RetryTerms::Charged });
    }
}

/// The reason why a body ends early.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Cut {
    /// The limit of the attempt.
    Limit,
    /// The caller, by a limit of its own or by a drop.
    Caller,
}

impl Cut {
    const fn of(limit: TimeUp) -> Self {
        if limit.is_total || limit.is_callers_share { Self::Caller } else { Self::Limit }
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
                self.cut(Cut::of(limit), waiting_since);
            }
        }
        Poll::Pending
    }

    fn end(mut self: Pin<&mut Self>, end: BodyEnd) {
        self.waiting_since = None;
        if end == BodyEnd::Broken && !self.is_settled {
            self.failed(FaultKind::Exchange);
        }
    }
}

impl Drop for EndpointBody {
    #[inline]
    fn drop(&mut self) {
        self.start.endpoint.load.body_ended();
        if let (Some(since), false) = (self.waiting_since, self.is_settled) {
            self.cut(Cut::Caller, since);
        }
        if !self.is_settled && !self.start.endpoint.load.health().is_well() {
            self.succeeded();
        }
    }
}
