//! The settings of a bulkhead, and their builder.

use std::sync::Arc;
use std::time::Duration;

use crate::ConfigError;
use crate::config_error::MAX_DURATION;

/// Configures a [`Bulkhead`](super::Bulkhead), whose page has an example. [`build`](Self::build) checks the values.
#[derive(Debug, Clone)]
pub struct BulkheadBuilder {
    pub(super) name: Option<Arc<str>>,
    pub(super) max_concurrent: usize,
    pub(super) settings: BulkheadSettings,
}

/// The settings of the queue. The number of permits is in `Permits`, because a smaller number takes effect gradually,
/// as permits in use are returned.
#[derive(Debug, Clone, Copy)]
pub(super) struct BulkheadSettings {
    pub(super) max_waiting: usize,
    pub(super) max_wait: Duration,
}

impl BulkheadBuilder {
    pub(super) const fn new() -> Self {
        let settings = BulkheadSettings { max_waiting: 10_000, max_wait: Duration::from_secs(1) };
        Self { name: None, max_concurrent: 128, settings }
    }

    /// Sets the upstream's name, for errors and events. Default: none.
    pub fn name(mut self, name: impl Into<Arc<str>>) -> Self {
        self.name = Some(name.into());
        self
    }

    #[cfg(feature = "reqwest")]
    pub(crate) fn get_name(&self) -> Option<&str> {
        self.name.as_deref()
    }

    /// Sets the number of permits, which is the largest number of calls in flight: 1 to 1,000,000. Default: 128.
    pub fn max_concurrent(mut self, calls: usize) -> Self {
        self.max_concurrent = calls;
        self
    }

    /// Sets the largest number of calls that wait for a permit: up to 1,000,000. If so many wait already, a newcomer
    /// takes the place of the oldest waiter, which is refused. With 0, a full bulkhead refuses at once. Default:
    /// 10,000.
    pub fn max_waiting(mut self, calls: usize) -> Self {
        self.settings.max_waiting = calls;
        self
    }

    /// Sets the longest wait of a call that cannot expect a permit: up to a year. Three kinds of calls cannot: calls
    /// without a deadline, calls in a queue too long for their deadline, and calls that see no attempt end with an
    /// answer for this time. [Other calls](super#the-queue) wait as long as their deadlines allow. With zero, a full
    /// bulkhead refuses at once. Default: 1 s.
    ///
    /// Choose a time in which at least one attempt usually ends. A streamed answer ends with its body. Once answers
    /// are known, a call waits for at least twice the time that they usually take.
    pub fn max_wait(mut self, time: Duration) -> Self {
        self.settings.max_wait = time;
        self
    }

    pub(super) fn validate(&self) -> Result<(), ConfigError> {
        check_max_concurrent(self.max_concurrent)?;
        ConfigError::check("bulkhead.max_waiting", self.settings.max_waiting, 0..=1_000_000)?;
        ConfigError::check("bulkhead.max_wait", self.settings.max_wait, Duration::ZERO..=MAX_DURATION)?;
        Ok(())
    }
}

pub(super) fn check_max_concurrent(calls: usize) -> Result<usize, ConfigError> {
    ConfigError::check("bulkhead.max_concurrent", calls, 1..=1_000_000)
}
