//! A request that costs nothing to hold or to copy, so that a measurement shows the cost of the layers alone.

use steadfast::{HasCallOptions, RetrySafety, RetryableRequest};

#[derive(Debug, Clone, Copy)]
pub(crate) struct Ping;

impl HasCallOptions for Ping {}

impl RetryableRequest for Ping {
    fn retry_safety(&self) -> RetrySafety {
        RetrySafety::Idempotent
    }

    fn try_clone(&self) -> Option<Self> {
        Some(*self)
    }
}
