//! The news about the addresses of a name, and the settings of a discovery.

use std::sync::Arc;
use std::time::Duration;

use super::addresses::AddressChange;

/// The time without a use after which the task of a name ends, and its endpoints drop their connections.
pub(super) const IDLE: Duration = Duration::from_secs(90);

/// The receiver of the news. It runs in the task, or in a call of [`NameDiscovery::switch_family`], and must not
/// block.
pub(crate) type Sink = Arc<dyn Fn(AddressNews) + Send + Sync>;

/// A report of a [`NameDiscovery`]. Reports arrive one at a time, in the order of the events.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum AddressNews {
    /// The addresses in use have changed. The removals come first.
    Changed(Vec<AddressChange>),
    /// The name was not used for [`IDLE`]. The addresses stay known, and later changes refer to them.
    Idle,
}

/// The settings of a [`NameDiscovery`].
#[derive(Debug, Clone, Copy)]
pub(crate) struct DiscoverySettings {
    /// The interval between two look-ups, with a jitter of ±20 %. Greater than zero.
    pub(crate) refresh: Duration,
    /// The largest number of addresses in use, at least 1.
    pub(crate) max_addresses: usize,
    /// The seed of the jitter and of the choice among more than `max_addresses`.
    pub(crate) seed: u64,
}
