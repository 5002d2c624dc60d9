//! The settings of a cache that can change while it is used.

use std::sync::Arc;
use std::time::Duration;

use crate::last_known_good::policy::rules::Rules;
use crate::stale::Cause;

/// What can be set of a cache while it is used.
pub(crate) struct CacheSettings {
    pub(crate) rules: Rules,
    pub(crate) max_entry_bytes: usize,
    /// `None` is on all of them.
    pub(crate) serves_stale_on: Option<ServesStaleOn>,
    /// How often a response that is the same is kept anew, told to the store, or asked for there.
    pub(crate) renew_after: Duration,
    /// After how long a stale response is served in place of an answer.
    pub(crate) soft_limit: Option<Duration>,
    /// How many calls go on after that at a time.
    pub(crate) max_refreshes: usize,
}

impl CacheSettings {
    pub(crate) fn serves_stale_on(&self, cause: Cause) -> bool {
        self.serves_stale_on.as_ref().is_none_or(|falls| falls(cause))
    }
}

pub(crate) type ServesStaleOn = Arc<dyn Fn(Cause) -> bool + Send + Sync>;
