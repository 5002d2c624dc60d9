//! The settings of the deadline layer, and the limit of one call.

use std::time::Duration;

use tokio::time::Instant;

use crate::internal::clock;
use crate::{ErrorKind, HasCallOptions, TimeoutScope};

/// The settings of the layer.
#[derive(Debug, Clone, Copy)]
pub(super) struct DeadlineSettings {
    /// The total time of a call that sets no timeout of its own. If `None`, such a call is bounded only by a deadline
    /// that its request already carries.
    pub(super) after: Option<Duration>,
    /// True if all layers below check the deadline. This layer then needs no timer.
    pub(super) is_checked_below: bool,
}

impl DeadlineSettings {
    /// Stamps the deadline on the request. An existing deadline can move earlier, never later.
    pub(super) fn stamp(self, request: &mut impl HasCallOptions) -> CallLimit {
        let options = request.options();
        let after = options.get_timeout().or(self.after);
        if after.is_none() && options.get_deadline().is_none() {
            return CallLimit::NONE;
        }
        let now = Instant::now();
        let own = after.and_then(|after| clock::after(now, after));
        let Some(end) = clock::earliest(own, options.get_deadline()) else { return CallLimit::NONE };
        request.set_options(options.deadline(end).deadline_is_checked(self.is_checked_below));
        CallLimit { end: Some(end), after: end.saturating_duration_since(now) }
    }
}

/// The latest end of a call, and the time from the start of the call to this end.
#[derive(Debug, Clone, Copy)]
pub(super) struct CallLimit {
    pub(super) end: Option<Instant>,
    pub(super) after: Duration,
}

impl CallLimit {
    pub(super) const NONE: Self = Self { end: None, after: Duration::MAX };

    pub(super) fn kind(self) -> ErrorKind {
        ErrorKind::Timeout { scope: TimeoutScope::Total, after: Some(self.after) }
    }
}
