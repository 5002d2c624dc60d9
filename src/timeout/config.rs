//! The settings of the timeout layer, and the limit of one attempt.

use std::time::Duration;

use tokio::time::Instant;

use crate::internal::clock::{self, share_of};
use crate::internal::signals::{Arriving, TimeUp};
use crate::{CallOptions, Error, TimeoutScope};

/// The default of [`TimeoutLayer::upload_rate`](super::TimeoutLayer::upload_rate), in bytes per second.
const UPLOAD_RATE: u64 = 128 * 1024;

/// The settings of the layer.
#[derive(Debug, Clone, Copy)]
pub(super) enum TimeoutSettings {
    /// Every attempt has this time. If `None`, only the call's deadline bounds an attempt.
    Fixed(Option<Duration>),
    /// An attempt that another attempt can follow has a share of the total time.
    Share {
        /// The share of a call without a timeout of its own.
        share: Duration,
        /// The rate at which the body of a request is assumed to be sent, in bytes per second; not zero.
        upload_rate: u64,
    },
}

impl TimeoutSettings {
    pub(super) fn share_of(total: Duration) -> Self {
        Self::Share { share: share_of(total), upload_rate: UPLOAD_RATE }
    }

    /// Returns the time of an attempt, without the time for the request's body.
    #[cfg(feature = "reqwest")]
    pub(super) const fn after(&self) -> Option<Duration> {
        match self {
            Self::Fixed(after) => *after,
            Self::Share { share, .. } => Some(*share),
        }
    }

    pub(super) fn allowance(&self, options: &CallOptions) -> Allowance {
        let deadline = options.get_deadline();
        match *self {
            Self::Fixed(after) => Allowance { after, kind: LimitKind::Fixed, deadline },
            Self::Share { share, upload_rate } => {
                let own = options.get_timeout().map_or(share, share_of);
                // Without a deadline, there is no "time left" that the last attempt could have.
                let is_last = !options.another_may_follow() && deadline.is_some();
                let (after, kind) = match own < share {
                    // A last attempt is overdue only after the layer's share: the share of a short timeout of the
                    // call says little about the upstream.
                    _ if is_last => (own.max(share), LimitKind::ShareOfLast),
                    true => (own, LimitKind::CallersShare),
                    false => (own, LimitKind::Share),
                };
                let upload = options.get_body_length().map(|length| time_of_upload(length, upload_rate));
                Allowance { after: Some(after.saturating_add(upload.unwrap_or_default())), kind, deadline }
            }
        }
    }
}

/// Returns `length / rate`. The part below a second is rounded down to milliseconds. `rate` must not be zero.
fn time_of_upload(length: u64, rate: u64) -> Duration {
    let rest = u128::from(length % rate) * 1000 / u128::from(rate);
    Duration::from_secs(length / rate).saturating_add(Duration::from_millis(rest.try_into().unwrap_or(0)))
}

/// The time allowed for an attempt whose clock has not started.
#[derive(Debug, Clone, Copy)]
pub(super) struct Allowance {
    after: Option<Duration>,
    /// The kind of the limit `after`.
    kind: LimitKind,
    /// The deadline of the call, which bounds every attempt.
    deadline: Option<Instant>,
}

impl Allowance {
    /// Starts the clock at `now`. Returns the first end of the attempt, and the limit that ends it.
    pub(super) fn begin(self, now: Instant) -> (Option<Instant>, AttemptLimit) {
        let Self { after, kind, deadline } = self;
        let end = after.and_then(|after| clock::after(now, after));
        let share = after.unwrap_or(Duration::MAX);
        AttemptLimit { after: Duration::ZERO, share, kind, deadline }.moved(now, end)
    }
}

/// The time limit of an attempt.
#[derive(Debug, Clone, Copy)]
pub(super) struct AttemptLimit {
    /// The time from the start of the clock to the end of the attempt, as a timeout error reports it.
    pub(super) after: Duration,
    /// The share of the attempt. It bounds the idle timeout of a body.
    share: Duration,
    kind: LimitKind,
    deadline: Option<Instant>,
}

/// The origin of a limit, and thus the action at its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum LimitKind {
    /// The time that the user has set cuts the attempt.
    Fixed,
    /// The share of the total time cuts the attempt, unless a body arrives.
    Share,
    /// The same, but for a share of a short timeout, which the caller has chosen for this call.
    CallersShare,
    /// The share of a last attempt. At its end, the attempt is signalled as overdue, unless a body arrives, and goes
    /// on until the deadline.
    ShareOfLast,
    /// The deadline of the call cuts the attempt.
    Deadline,
}

impl AttemptLimit {
    pub(super) fn scope(&self) -> TimeoutScope {
        if self.kind == LimitKind::Deadline { TimeoutScope::Total } else { TimeoutScope::Attempt }
    }

    /// True if the attempt may go on after the end of this limit.
    pub(super) const fn is_share(&self) -> bool {
        matches!(self.kind, LimitKind::Share | LimitKind::CallersShare | LimitKind::ShareOfLast)
    }

    /// Returns the signal for the last poll of an attempt at the end of this limit.
    pub(super) fn time_up(&self) -> TimeUp {
        let is_callers_share = self.kind == LimitKind::CallersShare;
        TimeUp { is_total: self.scope() == TimeoutScope::Total, is_callers_share, after: self.after }
    }

    /// Returns the error of an attempt that this limit has cut.
    pub(super) fn error<E>(&self) -> Error<E> {
        Error::of_time_up(self.time_up())
    }

    /// Returns the next end and limit of an attempt whose share has ended at `ended`, or `None` if the attempt is to
    /// be cut. `arriving` is the body that is being read.
    pub(super) fn extended(self, ended: Instant, arriving: Option<Arriving>) -> Option<Extension> {
        let idle_at = |body: Arriving| clock::after(body.last, body.idle_timeout.min(self.share));
        let (end, is_overdue) = match arriving.and_then(idle_at) {
            Some(idle_at) if idle_at > ended => (Some(idle_at), false),
            _ if self.kind == LimitKind::ShareOfLast => (self.deadline, true),
            _ => return None,
        };
        let (end, limit) = self.moved(ended, end);
        Some(Extension { end, limit, is_overdue })
    }

    /// Moves the end of the attempt from `from` to `end`, at most to the deadline.
    fn moved(self, from: Instant, end: Option<Instant>) -> (Option<Instant>, Self) {
        let end = clock::earliest(end, self.deadline);
        let is_the_calls = self.deadline.is_some() && end == self.deadline;
        let more = end.map_or(Duration::MAX, |end| end.saturating_duration_since(from));
        let kind = if is_the_calls { LimitKind::Deadline } else { self.kind };
        (end, Self { after: self.after.saturating_add(more), kind, ..self })
    }
}

/// The limit of an attempt that goes on after the end of its share.
#[derive(Debug, Clone, Copy)]
pub(super) struct Extension {
    pub(super) end: Option<Instant>,
    pub(super) limit: AttemptLimit,
    /// True if the attempt goes on although no body arrives.
    pub(super) is_overdue: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_of_an_upload_is_its_length_divided_by_the_rate() {
        let second = Duration::from_secs(1);
        assert_eq!(time_of_upload(12 * 1024 * 1024, UPLOAD_RATE), 96 * second);
        assert_eq!(time_of_upload(UPLOAD_RATE / 2, UPLOAD_RATE), second / 2);
        assert_eq!(time_of_upload(1, UPLOAD_RATE), Duration::ZERO);
        assert_eq!(time_of_upload(u64::MAX, 1), Duration::from_secs(u64::MAX));
        assert_eq!(time_of_upload(u64::MAX - 1, u64::MAX), Duration::from_millis(999));
    }
}
