//! The record of one attempt at an endpoint, from its start to the end of its body. It has one result.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::ejection::{EndpointFault, FaultKind, MIN_LEASE};
use super::group::{Endpoint, FaultReport};
use super::load::low_bits;
use crate::http::body::{BodyEnd, BodyObserver};
use crate::sealed::Sealed;
use crate::{BoxError, EndpointId, RetryTerms};

/// An attempt that waits for the head of its answer.
///
/// If it is dropped without a result, the time of its wait decides: an unusually long wait is a fault.
#[derive(Debug)]
pub(super) struct Attempt {
    endpoint: Arc<Endpoint>,
    began: Instant,
    /// The generation of the endpoint's health.
    generation: u32,
    /// The version of the endpoint's service.
    version: u32,
    is_probe: bool,
    has_ended: bool,
}

/// An attempt that is dropped counts as a fault after so many times the usual time, and at least after
/// [`MIN_WAIT`].
const LONG_WAIT_TIMES: u32 = 4;

const MIN_WAIT: Duration = Duration::from_millis(100);

/// While no answer of the endpoint is known, an attempt that is dropped counts as a fault after this time.
const LONG_FIRST_WAIT: Duration = Duration::from_secs(1);

impl Attempt {
    #[inline]
    pub(super) fn begin(endpoint: Arc<Endpoint>, is_probe: bool, now: Instant, now_ms: u64) -> Self {
        endpoint.load.begin(low_bits(now_ms));
        let (generation, version) = (endpoint.load.health().generation(), endpoint.version());
        Self { endpoint, began: now, generation, version, is_probe, has_ended: false }
    }

    pub(super) fn endpoint(&self) -> EndpointId {
        self.endpoint.id
    }

    pub(super) const fn is_probe(&self) -> bool {
        self.is_probe
    }

    /// Records a good answer. Its body follows.
    #[inline]
    pub(super) fn succeeded(&mut self) -> EndpointBody {
        let now = Instant::now();
        let now_ms = low_bits(self.endpoint.millis(now));
        if self.is_current() {
            self.endpoint.load.sample(now.saturating_duration_since(self.began), now_ms);
        }
        if self.is_probe {
            self.endpoint.probe_answered(self.generation);
        }
        self.answered(now_ms)
    }

    /// Records an answer whose time says nothing about the endpoint. The endpoint is alive.
    pub(super) fn neutral(&mut self) -> EndpointBody {
        let now_ms = low_bits(self.endpoint.millis(Instant::now()));
        self.answered(now_ms)
    }

    /// Records an answer that is a fault.
    pub(super) fn answered_with_fault(
        &mut self,
        kind: FaultKind,
        retry_after: Option<Duration>,
    ) -> (EndpointBody, RetryTerms) {
        let now = Instant::now();
        let now_ms = low_bits(self.endpoint.millis(now));
        let body = self.answered(now_ms).settled();
        self.endpoint.load.begin_fall(now_ms);
        if kind == FaultKind::Application && self.is_current() {
            self.endpoint.load.sample_if_longer(now.saturating_duration_since(self.began), now_ms);
        }
        (body, self.fault(kind, retry_after, now))
    }

    /// Records an attempt without an answer.
    pub(super) fn failed(&mut self, kind: FaultKind) -> RetryTerms {
        let now = Instant::now();
        self.has_ended = true;
        self.endpoint.load.failed(low_bits(self.endpoint.millis(now)));
        self.fault(kind, None, now)
    }

    /// Takes the attempt back: it was not sent, or its failure says nothing about the endpoint.
    pub(super) fn withdraw(&mut self) {
        self.has_ended = true;
        self.endpoint.load.withdrawn();
        self.release_probe();
    }

    /// Records an attempt that its caller gives up: by a drop, or by the deadline of the call.
    #[cold]
    pub(super) fn abandon(&mut self) -> RetryTerms {
        if self.has_waited_long() {
            return self.failed(self.kind_of_long_wait());
        }
        if self.is_current() {
            // An answer would have taken at least as long.
            let now = Instant::now();
            let waited = now.saturating_duration_since(self.began);
            self.endpoint.load.sample_if_longer(waited, low_bits(self.endpoint.millis(now)));
        }
        self.withdraw();
        RetryTerms::Charged
    }

    /// Records an attempt whose own time limit has passed.
    #[cold]
    pub(super) fn timed_out(&mut self) -> RetryTerms {
        let usual = self.endpoint.load.latency();
        let waited = self.began.elapsed();
        if self.is_probe {
            return self.failed(FaultKind::Timeout);
        }
        if usual.is_some_and(|usual| waited < usual) {
            // The limit may be that of a call around this one.
            return self.abandon();
        }
        let is_short = usual.is_some_and(|usual| waited < usual * 2);
        self.failed(match self.kind_of_long_wait() {
            FaultKind::Abandoned if !is_short => FaultKind::Timeout,
            kind => kind,
        })
    }

    /// If other attempts were answered meanwhile, the route is slow rather than the endpoint, and the connections work.
    fn kind_of_long_wait(&self) -> FaultKind {
        let began_ms = low_bits(self.endpoint.millis(self.began));
        if self.endpoint.load.has_answered_since(began_ms) {
            FaultKind::Exchange
        } else {
            FaultKind::Abandoned
        }
    }

    fn has_waited_long(&self) -> bool {
        let usual = self.endpoint.load.latency();
        let long = usual.map_or(LONG_FIRST_WAIT, |usual| (usual * LONG_WAIT_TIMES).max(MIN_WAIT));
        self.began.elapsed() >= long
    }

    /// False if the endpoint was ejected or has returned since the attempt began.
    #[inline]
    fn is_current(&self) -> bool {
        self.endpoint.load.health().generation() == self.generation
    }

    #[inline]
    fn answered(&mut self, now_ms: u32) -> EndpointBody {
        self.has_ended = true;
        self.endpoint.load.answered(now_ms);
        EndpointBody {
            endpoint: Arc::clone(&self.endpoint),
            generation: self.generation,
            version: self.version,
            is_settled: false,
            probe_began: self.is_probe.then_some(self.began),
        }
    }

    fn fault(&self, kind: FaultKind, retry_after: Option<Duration>, now: Instant) -> RetryTerms {
        let fault = EndpointFault { kind, retry_after, generation: self.generation, is_probe: self.is_probe };
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

    fn release_probe(&self) {
        if self.is_probe {
            self.endpoint.release_probe(self.generation);
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

/// Counts an answer until its body has ended, and records a body that breaks off as a fault of the endpoint.
///
/// A good answer counts as a success when its body ends, or when the reader drops the body. The answer to a probe
/// also does so if its body still arrives a second after the start of the probe, because a stream may never end.
#[derive(Debug)]
pub struct EndpointBody {
    endpoint: Arc<Endpoint>,
    generation: u32,
    version: u32,
    /// True if the result of the attempt is recorded.
    is_settled: bool,
    /// The start of the attempt, if it is a probe.
    probe_began: Option<Instant>,
}

impl EndpointBody {
    fn settled(mut self) -> Self {
        self.is_settled = true;
        self
    }

    #[cold]
    fn succeeded(&mut self) {
        self.is_settled = true;
        self.probe_began = None;
        self.endpoint.recovered(self.generation, Instant::now());
    }
}

impl Sealed for EndpointBody {}

impl BodyObserver for EndpointBody {
    #[inline]
    fn at_frame(mut self: Pin<&mut Self>) -> Option<BoxError> {
        if self.probe_began.is_some_and(|began| began.elapsed() >= MIN_LEASE) {
            self.succeeded();
        }
        None
    }

    fn end(mut self: Pin<&mut Self>, end: BodyEnd) {
        if end == BodyEnd::Broken && !self.is_settled {
            self.is_settled = true;
            let is_probe = self.probe_began.is_some();
            let fault = EndpointFault {
                kind: FaultKind::Exchange,
                retry_after: None,
                generation: self.generation,
                is_probe,
            };
            self.endpoint.faulted(fault, self.version, Instant::now());
        }
    }
}

impl Drop for EndpointBody {
    #[inline]
    fn drop(&mut self) {
        self.endpoint.load.body_ended();
        if !self.is_settled && !self.endpoint.load.health().is_well() {
            self.succeeded();
        }
    }
}
