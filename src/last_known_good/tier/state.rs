//! The shared state of a cache: settings, memory and store.

use std::sync::Arc;
use std::time::Duration;

use crate::http::HttpRequest;
use crate::internal::shared_settings::SharedSettings;
use crate::internal::wall_clock::WallClock;
use crate::last_known_good::entry::unix_nanos::UnixNanos;
use crate::last_known_good::entry::{Entry, Times};
use crate::last_known_good::memory::cache::Memory;
use crate::last_known_good::memory::refreshes::Refreshes;
use crate::last_known_good::policy::credentials::Credentials;
use crate::last_known_good::policy::key::{Key, SeededHasher};
use crate::last_known_good::policy::rules::Rules;
use crate::last_known_good::policy::settings::CacheSettings;
use crate::last_known_good::policy::vary::RequestHeaders;
use crate::last_known_good::tier::bounded_store::BoundedStore;
use crate::stale::Cause;

/// The state that all handles of a cache share.
pub(crate) struct CacheState {
    pub(crate) name: Option<Arc<str>>,
    pub(crate) settings: SharedSettings<CacheSettings>,
    pub(crate) credentials: Credentials,
    pub(crate) clock: WallClock,
    pub(crate) hasher: SeededHasher,
    pub(crate) memory: Memory,
    pub(crate) refreshes: Refreshes,
    pub(crate) store: Option<BoundedStore>,
}

impl CacheState {
    pub(crate) fn rules(&self) -> Rules {
        self.settings.read(|settings| settings.rules)
    }

    pub(crate) fn max_entry_bytes(&self) -> usize {
        self.settings.read(|settings| settings.max_entry_bytes)
    }

    pub(crate) fn renew_after(&self) -> Duration {
        self.settings.read(|settings| settings.renew_after)
    }

    pub(crate) fn max_refreshes(&self) -> usize {
        self.settings.read(|settings| settings.max_refreshes)
    }

    /// The time after which a call counts as slow and gets a stale response; `None` if the limit is not set, or if no
    /// stale response is served on `Cause::Slow`.
    pub(crate) fn soft_limit(&self) -> Option<Duration> {
        self.settings.read(|settings| settings.soft_limit.filter(|_| settings.serves_stale_on(Cause::Slow)))
    }

    pub(crate) fn now(&self) -> UnixNanos {
        UnixNanos::new(self.clock.now())
    }

    /// Returns the cache key of a request.
    pub(crate) fn key(&self, request: &impl HttpRequest) -> Key {
        Key::new(request, self.credentials.of(request), &self.hasher)
    }

    /// Returns the request headers on which the response may vary.
    pub(crate) fn headers(&self, request: &impl HttpRequest, key: &Key) -> RequestHeaders {
        RequestHeaders::new(request.headers(), key.partition().map(|_| &self.credentials))
    }

    /// True if `entry` is too recent to be replaced by a response that differs only in insignificant headers. `times`
    /// are those of the response.
    pub(crate) fn is_new_enough(&self, entry: &Entry, times: Times) -> bool {
        times.received.since(entry.times().received) < self.renew_after()
    }

    pub(crate) fn serves_stale_on(&self, cause: Cause) -> bool {
        self.settings.read(|settings| settings.serves_stale_on(cause))
    }
}
