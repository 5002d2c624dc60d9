//! A request that costs nothing, neither to hold nor to copy, so that what is seen is the layers'.

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
