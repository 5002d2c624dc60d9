//! A request that costs nothing, neither to hold nor to copy, so that what is seen is the layers'.

use steadfast::{HasOptions, Resend, Resendable};

#[derive(Debug, Clone, Copy)]
pub(crate) struct Ping;

impl HasOptions for Ping {}

impl Resendable for Ping {
    fn resend(&self) -> Resend {
        Resend::Always
    }

    fn try_clone(&self) -> Option<Self> {
        Some(*self)
    }
}
