//! What the handles of a cache share.

use std::hash::{BuildHasher, DefaultHasher, Hasher};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::Response;

use super::InsertError;
use crate::http::HttpRequest;
use crate::internal::shared_settings::SharedSettings;
use crate::internal::wall_clock::WallClock;
use crate::last_known_good::entry::head::Draft;
use crate::last_known_good::entry::unix_nanos::UnixNanos;
use crate::last_known_good::entry::{Entry, Times};
use crate::last_known_good::memory::cache::Memory;
use crate::last_known_good::policy::credentials::Credentials;
use crate::last_known_good::policy::key::Key;
use crate::last_known_good::policy::rules::{self, Role, Rules};
use crate::last_known_good::policy::vary::RequestHeaders;
use crate::last_known_good::record::capture::BodyCapture;
use crate::last_known_good::refresh::Refreshes;
use crate::last_known_good::tier::bounded_store::BoundedStore;
use crate::stale::Cause;

/// The settings of a cache, and what it keeps: all that its handles share.
pub(crate) struct Shared {
    pub(super) name: Option<Arc<str>>,
    pub(super) settings: SharedSettings<Settings>,
    pub(super) credentials: Credentials,
    pub(super) clock: WallClock,
    pub(super) hasher: SeededHasher,
    pub(super) memory: Memory,
    pub(super) refreshes: Refreshes,
    pub(super) store: Option<BoundedStore>,
}

/// What can be set of a cache while it is used.
pub(crate) struct Settings {
    pub(super) rules: Rules,
    pub(super) max_entry_bytes: usize,
    /// `None` is on all of them.
    pub(super) falls_back_on: Option<FallsBackOn>,
    /// How often a response that is the same is kept anew, told to the store, or asked for there.
    pub(super) renew_after: Duration,
    /// After how long a stale response is served in place of an answer.
    pub(super) soft_limit: Option<Duration>,
    /// How many calls go on after that at a time.
    pub(super) max_refreshes: usize,
}

pub(super) type FallsBackOn = Arc<dyn Fn(Cause) -> bool + Send + Sync>;

impl Shared {
    pub(super) fn rules(&self) -> Rules {
        self.settings.read(|settings| settings.rules)
    }

    pub(super) fn max_entry_bytes(&self) -> usize {
        self.settings.read(|settings| settings.max_entry_bytes)
    }

    pub(super) fn renew_after(&self) -> Duration {
        self.settings.read(|settings| settings.renew_after)
    }

    pub(super) fn max_refreshes(&self) -> usize {
        self.settings.read(|settings| settings.max_refreshes)
    }

    /// After how long a stale response is served in place of an answer, if it may be.
    pub(super) fn soft_limit(&self) -> Option<Duration> {
        self.settings.read(|settings| settings.soft_limit.filter(|_| settings.falls_back_on(Cause::Slow)))
    }

    pub(super) fn now(&self) -> UnixNanos {
        UnixNanos::new(self.clock.now())
    }

    /// What a request is known by here.
    pub(super) fn key(&self, request: &impl HttpRequest) -> Key {
        Key::new(request, self.credentials.of(request), &self.hasher)
    }

    /// What an answer to a request may vary on.
    pub(super) fn headers(&self, request: &impl HttpRequest, key: &Key) -> RequestHeaders {
        RequestHeaders::new(request.headers(), key.partition().map(|_| &self.credentials))
    }

    /// Whether an answer of these times need not be kept for the sake of its headers alone.
    pub(super) fn is_new_enough(&self, entry: &Entry, times: Times) -> bool {
        times.given.since(entry.times().given) < self.renew_after()
    }

    pub(super) fn falls_back_on(&self, cause: Cause) -> bool {
        self.settings.read(|settings| settings.falls_back_on(cause))
    }

    /// Keeps a response that was not asked for.
    pub(super) fn insert(
        &self,
        request: &impl HttpRequest,
        response: &Response<Bytes>,
    ) -> Result<(Key, Arc<Entry>), InsertError> {
        let Role::Answer { keep: true, .. } = rules::role(request) else { return Err(InsertError::Request) };
        let (bytes, allowed) = (response.body().len(), self.max_entry_bytes());
        if bytes > allowed {
            return Err(InsertError::TooLarge { bytes, allowed });
        }
        let (key, now) = (self.key(request), self.now());
        let headers = self.headers(request, &key);
        let draft = Draft::new(response, &headers, &self.rules(), key.partition().is_some());
        let head = draft.ok_or(InsertError::Response)?.into_head();
        self.memory.outdate(&key);
        let (version, found) = (self.memory.version(&key), self.memory.find(&key, |_| false));
        let times = Times::of(response.headers(), now, now);
        let body = BodyCapture::whole(response.body());
        let entry = Arc::new(Entry::new(Arc::new(head), body, times));
        let kept = self.memory.keep(&key, version, &found, &entry, times);
        kept.then_some((key, entry)).ok_or(InsertError::Outdated)
    }
}

impl Settings {
    fn falls_back_on(&self, cause: Cause) -> bool {
        self.falls_back_on.as_ref().is_none_or(|falls| falls(cause))
    }
}

/// Hashes by a seed of its own: where two URIs share a count of removals is chance, and can be replayed.
pub(crate) struct SeededHasher(pub(super) u64);

impl BuildHasher for SeededHasher {
    type Hasher = DefaultHasher;

    fn build_hasher(&self) -> DefaultHasher {
        let mut hasher = DefaultHasher::new();
        hasher.write_u64(self.0);
        hasher
    }
}
