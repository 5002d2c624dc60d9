//! When a call or an attempt has to end.

use std::time::Duration;

use tokio::time::Instant;

use super::BodyWatch;
use crate::poll::say_deadline;
use crate::{Error, HasCallOptions, TimeoutScope, deadline};

/// When something has to end, how much time that was, and by which clock.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limit {
    pub(super) end: Option<Instant>,
    pub(super) after: Duration,
    scope: TimeoutScope,
}

/// The time that an attempt has, from the moment at which it has to be waited for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Attempt {
    pub(super) after: Option<Duration>,
    /// The end of the call, which is the end of every attempt too.
    pub(super) deadline: Option<Instant>,
}

impl Limit {
    /// All the time in the world.
    const NONE: Self = Self { end: None, after: Duration::MAX, scope: TimeoutScope::Total };

    /// That of the whole call, stamped on the request. Whether it is checked after each wait says who is below.
    pub(super) fn of_call(request: &mut impl HasCallOptions, after: Option<Duration>, checked: bool) -> Self {
        let options = request.options();
        let after = options.get_timeout().or(after);
        if after.is_none() && options.get_deadline().is_none() {
            return Self::NONE;
        }
        let now = Instant::now();
        let own = after.and_then(|after| deadline::after(now, after));
        let end = deadline::earliest(own, options.get_deadline());
        if let Some(end) = end {
            request.set_options(options.deadline(end).deadline_is_checked(checked));
        }
        Self::new(TimeoutScope::Total, now, end)
    }

    fn new(scope: TimeoutScope, now: Instant, end: Option<Instant>) -> Self {
        let after = end.map_or(Duration::MAX, |end| end.saturating_duration_since(now));
        Self { end, after, scope }
    }

    /// Whether there was no time at all.
    pub(super) fn is_over(&self) -> bool {
        self.after.is_zero()
    }

    /// Tells whoever is above when the call has to end.
    pub(super) fn say(&self) {
        if self.scope == TimeoutScope::Total {
            say_deadline(self.end);
        }
    }

    pub(super) fn passed<E>(&self) -> Error<E> {
        Error::Timeout { scope: self.scope, after: self.after }
    }

    /// An attempt that was cut by the deadline of the call knows only what was left for it.
    pub(super) fn rephrase<E>(&self, error: Error<E>) -> Error<E> {
        if error.is_total_timeout() { self.passed() } else { error }
    }

    /// What is left of the time of a call bounds the reading of the body.
    pub(super) fn watch(&self) -> BodyWatch {
        BodyWatch::new(self.end, self.after)
    }
}

impl Attempt {
    /// The wait for it begins.
    pub(super) fn begin(self, now: Instant) -> Limit {
        let own = self.after.and_then(|after| deadline::after(now, after));
        let end = deadline::earliest(own, self.deadline);
        let cut = self.deadline.is_some() && end == self.deadline;
        Limit::new(if cut { TimeoutScope::Total } else { TimeoutScope::Attempt }, now, end)
    }
}
