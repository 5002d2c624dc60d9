//! The settings that can change while a cache is in use.

use std::sync::Arc;
use std::time::Duration;

use crate::last_known_good::policy::rules::Rules;
use crate::stale::Cause;

/// The settings that can change while a cache is in use.
pub(crate) struct CacheSettings {
    pub(crate) rules: Rules,
    pub(crate) max_entry_bytes: usize,
    /// The causes for which a stale response is served; `None` means every cause.
    pub(crate) serves_stale_on: Option<ServesStaleOn>,
    /// The shortest time between two minor updates of an entry. Reads and writes of the store are minor updates. So
    /// is a replacement that differs only in headers without effect on storing or serving.
    pub(crate) renew_after: Duration,
    /// The time after which a call counts as slow and gets a stale response; `None` for no limit.
    pub(crate) soft_limit: Option<Duration>,
    /// The maximum number of refreshes at a time. A refresh is a call that continues in the background after its
    /// caller got a stale response.
    pub(crate) max_refreshes: usize,
}

impl CacheSettings {
    pub(crate) fn serves_stale_on(&self, cause: Cause) -> bool {
        self.serves_stale_on.as_ref().is_none_or(|serves| serves(cause))
    }
}

pub(crate) type ServesStaleOn = Arc<dyn Fn(Cause) -> bool + Send + Sync>;
