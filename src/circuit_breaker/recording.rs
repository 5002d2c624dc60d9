//! The recording of results: how the outcome of a call changes the run of failures, the rates, and a round of probes.
//!
//! Each admitted call is recorded once. The table [which outcomes count](super#which-outcomes-count) has the effects.
//!
//! # Implementation
//!
//! The share of failures is checked at each failure, the share of slow calls at each slow call. A fast success raises
//! neither share, but may complete the minimum number of calls. Even then, the shares are checked only at the next
//! failure or slow call.
//!
//! A call compares the generation, and then records its result. If the phase changes in between, the result may count
//! in the rates of the next generation. The result does not count in the run of failures, because the word of the run
//! holds the generation.

use std::time::Duration;

use tokio::time::Instant;

use super::answer_time::nanos;
use super::config::{BreakerSettings, Consecutive};
use super::gate::Ticket;
use super::handle::{BreakerInner, CircuitBreaker};
use super::machine::ProbeResult;
use super::run::MAX_FAILURES;
use super::window::CallRecord;
use crate::Outcome;
use crate::internal::sync::atomic::Ordering::Relaxed;

/// A wait that is long enough to say something about an upstream whose usual times are not known.
const LONG_ENOUGH: Duration = Duration::from_millis(100);

impl CircuitBreaker {
    /// Records the end of an admitted call. `slow` is true if the call waited too long for the head of the answer.
    #[inline]
    pub(super) fn ended(&self, ticket: Ticket, outcome: Outcome, slow: bool) {
        match (ticket, outcome) {
            // The path of a healthy call under the default rules.
            (Ticket::Counted(generation), Outcome::Success) if self.0.window.is_none() => {
                if self.gate().generation() == generation {
                    self.0.consecutive.success(generation);
                }
            }
            _ => self.record(ticket, outcome, slow),
        }
    }

    /// Records that an admitted call was dropped by its caller after it had waited for `waited`; `None` if the call
    /// did not wait for the upstream.
    pub(super) fn abandoned(&self, ticket: Ticket, waited: Option<Duration>) {
        let times = &self.0.answer_time;
        let is_hung = waited.is_some_and(|waited| times.is_drop_a_failure(waited, self.abandoned_after()));
        let outcome = if is_hung { Outcome::transient() } else { Outcome::Neutral };
        self.ended(ticket, outcome, self.is_slow(waited));
    }

    /// Records that the time limit of the caller has cut an admitted call after it had waited for `waited`; `None` if
    /// the call did not wait for the upstream. An attempt that `is_overdue` has had its whole share of the total
    /// time.
    #[cold]
    pub(super) fn cut(&self, ticket: Ticket, waited: Option<Duration>, is_overdue: bool) {
        let times = &self.0.answer_time;
        let is_hung = waited.is_some_and(|waited| match ticket {
            // An upstream that has never answered well has to do so before its circuit closes. A probe of a moment
            // says nothing.
            Ticket::Probe(_) if times.usual().is_none() && waited >= LONG_ENOUGH => true,
            _ if is_overdue => times.usual().is_none_or(|usual| waited >= usual),
            _ => times.is_cut_a_failure(waited, self.abandoned_after()),
        });
        let outcome = if is_hung { Outcome::transient() } else { Outcome::Neutral };
        self.ended(ticket, outcome, self.is_slow(waited));
    }

    /// Records a failure of an attempt that has waited for `waited`, its share of the total time, and that goes on.
    /// Returns false and records nothing if good answers usually take longer.
    #[cold]
    pub(super) fn overdue(&self, ticket: Ticket, waited: Duration) -> bool {
        let is_late = self.0.answer_time.usual().is_none_or(|usual| waited >= usual);
        if is_late {
            self.ended(ticket, Outcome::transient(), self.is_slow(Some(waited)));
        }
        is_late
    }

    /// Adds the time that a call waited for the head of a good answer. `is_late` is true if the attempt was judged
    /// before its answer came.
    pub(super) fn learn_answer_time(&self, took: Duration, is_late: bool) {
        self.0.answer_time.answered(took, is_late);
    }

    /// True if a body counts as stalled when the deadline cuts it. `waited` is the time since the last frame, and
    /// `longest_gap` the longest time between earlier frames: a slow body or an event stream has not stalled.
    #[cold]
    pub(super) fn is_cut_body_stalled(&self, waited: Duration, longest_gap: Duration) -> bool {
        let usual_gap = LONG_ENOUGH.max(longest_gap.saturating_mul(2));
        waited >= usual_gap && self.0.answer_time.is_cut_a_failure(waited, self.abandoned_after())
    }

    /// True if a call that has waited for `waited` is a slow call; `None` if the call did not wait.
    #[inline]
    pub(super) fn is_slow(&self, waited: Option<Duration>) -> bool {
        waited.is_some_and(|waited| nanos(waited) > self.0.slow_after.load(Relaxed))
    }

    fn abandoned_after(&self) -> Duration {
        self.0.settings.read(|settings| settings.abandoned_after)
    }

    fn record(&self, ticket: Ticket, outcome: Outcome, slow: bool) {
        if matches!(outcome, Outcome::Neutral | Outcome::NotProcessed) {
            if let Ticket::Probe(id) = ticket {
                self.probe_ended(id, ProbeResult::Nothing, Instant::now());
            }
            return;
        }
        match ticket {
            Ticket::Probe(id) => {
                let failed = match outcome {
                    Outcome::Failure => self.0.settings.read(|settings| settings.failure_rate.is_some()),
                    outcome => outcome.is_fault(),
                };
                let result = if failed || slow { ProbeResult::Failure } else { ProbeResult::Success };
                self.probe_ended(id, result, Instant::now());
            }
            Ticket::Counted(generation) if self.gate().generation() == generation => {
                self.count(generation, outcome, slow, Instant::now());
            }
            Ticket::Counted(_) | Ticket::Unjudged => {}
        }
    }

    /// True if the run of failures has reached `rule`.
    pub(super) fn has_run(&self, rule: Consecutive) -> bool {
        let generation = self.gate().generation();
        // Without a rule for failures in a row, failures are not counted, and the run is always empty.
        self.0.consecutive.has_reached(rule, generation, || self.since_epoch(Instant::now()))
    }

    /// Counts a call to a closed circuit, and opens the circuit if a rule says so.
    pub(super) fn count(&self, generation: u64, outcome: Outcome, slow: bool, now: Instant) {
        let BreakerInner { settings, consecutive, window, .. } = &*self.0;
        let record = CallRecord { failed: outcome.is_fault(), slow };
        if !record.failed {
            consecutive.success(generation);
        }
        let at = self.since_epoch(now);
        if let Some(window) = window {
            window.record(at, record);
        }
        if record.failed || record.slow {
            settings.read(|settings| {
                let by_rate = self.is_tripped_by_rate(settings, record, at);
                let extends_run = matches!(outcome, Outcome::Transient { .. });
                let rule = settings.consecutive.filter(|_| extends_run);
                let by_run =
                    rule.is_some_and(|rule| consecutive.failure(self.unless_streaming(rule), generation, at));
                if by_rate || by_run {
                    let jitter = self.jitter();
                    self.transition(|machine| machine.trip(settings, generation, now, jitter));
                }
            });
        }
    }

    /// Returns the rule for the run, which needs more failures than there are good answers whose bodies are being
    /// read: these answers may still turn out as successes.
    fn unless_streaming(&self, rule: Consecutive) -> Consecutive {
        let streaming = u16::try_from(self.0.streaming.load(Relaxed)).unwrap_or(u16::MAX);
        Consecutive { failures: rule.failures.max(streaming.saturating_add(1)).min(MAX_FAILURES), ..rule }
    }

    /// True if a rate has reached its limit with this call.
    fn is_tripped_by_rate(&self, settings: &BreakerSettings, record: CallRecord, at: Duration) -> bool {
        let Some(window) = &self.0.window else { return false };
        let counts = window.counts(at);
        let enough = counts.calls >= settings.minimum_calls;
        let failing = settings.failure_rate.is_some_and(|rate| counts.failure_rate() >= rate);
        let slow = settings.slow_calls.is_some_and(|rule| counts.slow_rate() >= rule.rate);
        enough && (failing && record.failed || slow && record.slow)
    }
}
