//! The settings of the timeout layer, and the limit of one attempt.

use std::time::Duration;

use tokio::time::Instant;

use crate::internal::clock;
use crate::{HasCallOptions, TimeoutScope};

/// The settings of the layer. If both values are `None`, only the call's deadline bounds an attempt.
#[derive(Debug, Clone, Copy)]
pub(super) struct TimeoutSettings {
    pub(super) after: Option<Duration>,
    /// If a call has a timeout of its own, this share of the timeout replaces `after`.
    pub(super) share: Option<f64>,
}

impl TimeoutSettings {
    pub(super) fn allowance(&self, request: &impl HasCallOptions) -> Allowance {
        let options = request.options();
        let share = self.share.zip(options.get_timeout()).map(|(share, total)| scale(total, share));
        Allowance { after: share.or(self.after), deadline: options.get_deadline() }
    }
}

fn scale(time: Duration, share: f64) -> Duration {
    Duration::try_from_secs_f64(time.as_secs_f64() * share).unwrap_or(time)
}

/// The time allowed for an attempt whose clock has not started.
#[derive(Debug, Clone, Copy)]
pub(super) struct Allowance {
    pub(super) after: Option<Duration>,
    /// The deadline of the call, which bounds every attempt.
    pub(super) deadline: Option<Instant>,
}

impl Allowance {
    /// Starts the clock at `now`. Returns the latest end of the attempt, and the limit that a timeout error reports.
    pub(super) fn begin(self, now: Instant) -> (Option<Instant>, AttemptLimit) {
        let own = self.after.and_then(|after| clock::after(now, after));
        let end = clock::earliest(own, self.deadline);
        let is_the_calls = self.deadline.is_some() && end == self.deadline;
        let after = end.map_or(Duration::MAX, |end| end.saturating_duration_since(now));
        let scope = if is_the_calls { TimeoutScope::Total } else { TimeoutScope::Attempt };
        (end, AttemptLimit { after, scope })
    }
}

/// The time limit of an attempt, and its origin: the attempt's own timeout, or the call's deadline.
#[derive(Debug, Clone, Copy)]
pub(super) struct AttemptLimit {
    pub(super) after: Duration,
    pub(super) scope: TimeoutScope,
}
