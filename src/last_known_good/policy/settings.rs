//! The settings of a cache that can change while the cache is in use.

use std::sync::Arc;
use std::time::Duration;

use crate::last_known_good::policy::rules::Rules;
use crate::stale::Cause;

/// The settings of a cache that can change while the cache is in use.
pub(crate) struct CacheSettings {
    pub(crate) rules: Rules,
    pub(crate) max_entry_bytes: usize,
    /// The causes on which a stale response is served; `None` for every cause.
    pub(crate) serves_stale_on: Option<ServesStaleOn>,
    /// The minimum interval, for each entry, between replacements that differ only in insignificant headers, and
    /// between accesses to the store, reads and writes alike.
    pub(crate) renew_after: Duration,
    /// The time after which a call is slow and gets a stale response.
    pub(crate) soft_limit: Option<Duration>,
    /// The maximum number of calls that continue at a time after a stale response was served.
    pub(crate) max_refreshes: usize,
}

impl CacheSettings {
    pub(crate) fn serves_stale_on(&self, cause: Cause) -> bool {
        self.serves_stale_on.as_ref().is_none_or(|serves| serves(cause))
    }
}

pub(crate) type ServesStaleOn = Arc<dyn Fn(Cause) -> bool + Send + Sync>;
