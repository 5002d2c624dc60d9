//! The handle: the rules of a fallback, and what it keeps.

use std::fmt;
use std::hash::{BuildHasher, DefaultHasher, Hasher};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Response, StatusCode};

use super::FallbackBuilder;
use super::behind::{Behind, BoxFuture, Until};
use super::credentials::Credentials;
use super::entry::{Entry, Times};
use super::head::Draft;
use super::key::Key;
use super::memory::Memory;
use super::moment::Moment;
use super::received::Received;
use super::rules::{self, Limits, Role, Rules};
use super::stale::Cause;
use super::vary::RequestHeaders;
use super::wire;
use crate::http::HttpRequest;
use crate::wall::WallClock;

/// The last good responses, and the rules by which they are kept and served.
///
/// A clone is another handle to the same. Share one only between clients that send the same to the same: what reqwest
/// adds to a request by itself, by `default_headers` or from a cookie jar, is not seen here, and whoever shares a fallback
/// shares the answers.
///
/// Responses are kept in memory, and, if there is one, in a [`Store`](super::Store) behind it, which outlives the process or
/// is shared with others.
///
/// ```
/// use std::time::Duration;
/// use steadfast::last_known_good::{Fallback, LastKnownGoodLayer};
///
/// let fallback = Fallback::builder()
///     .max_age(Duration::from_secs(600))
///     .max_bytes(16 * 1024 * 1024)
///     .build()?;
/// let layer = LastKnownGoodLayer::new(fallback.clone());
/// assert!(fallback.is_empty());
/// # Ok::<(), steadfast::ConfigError>(())
/// ```
#[derive(Clone)]
pub struct Fallback(pub(super) Arc<Shared>);

pub(super) struct Shared {
    pub(super) rules: Rules,
    pub(super) max_entry_bytes: usize,
    /// `None` is on all of them.
    pub(super) falls_back_on: Option<FallsBackOn>,
    pub(super) credentials: Credentials,
    pub(super) clock: WallClock,
    pub(super) hasher: SeededHasher,
    pub(super) memory: Memory,
    /// How often a response that is the same is kept anew, told to the store, or asked for there.
    pub(super) renew_after: Duration,
    pub(super) store: Option<StoreBehind>,
}

pub(super) type FallsBackOn = Arc<dyn Fn(Cause) -> bool + Send + Sync>;

pub(super) struct StoreBehind {
    pub(super) behind: Behind,
    /// Whether others can find what is kept for somebody: they have the same key to digest credentials with.
    pub(super) is_shared_with_somebodys: bool,
}

/// A kept response, as [`Fallback::entries`] lists it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Kept {
    /// GET or HEAD.
    pub method: Method,
    /// The URI that it was asked for by.
    pub uri: String,
    /// Whether it is kept for one caller, who has credentials.
    pub has_credentials: bool,
    /// Its status.
    pub status: StatusCode,
    /// How long ago the upstream gave it.
    pub age: Duration,
    /// For how long it may still be served.
    pub left: Duration,
    /// The length of its body.
    pub bytes: usize,
}

/// Why a response that was [inserted](Fallback::insert) is not kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NotKept {
    /// The answers to such a request never are.
    #[error(
        "answers to such a request are not kept: it must be a GET or a HEAD for a whole response, without a body"
    )]
    Request,
    /// The response is not good, is not whole, or its headers forbid it.
    #[error("the response may not be kept: its status, or one of its headers, forbids it")]
    Response,
    /// The body is larger than what is kept.
    #[error("the body has {bytes} bytes: it must have at most {allowed}")]
    TooLarge {
        /// What it has.
        bytes: usize,
        /// The configured bound.
        allowed: usize,
    },
    /// The URI was invalidated, or a newer response came, meanwhile.
    #[error("a newer state of the same URI is known already")]
    Outdated,
}

impl Fallback {
    /// A builder that starts from the defaults.
    pub fn builder() -> FallbackBuilder {
        FallbackBuilder::new()
    }

    /// How many requests there is a response for in memory.
    pub fn len(&self) -> u64 {
        self.0.memory.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many bytes they take, near enough.
    pub fn bytes(&self) -> u64 {
        self.0.memory.bytes()
    }

    /// How often the store behind has failed, or has not answered in time.
    pub fn store_failures(&self) -> u64 {
        self.0.store.as_ref().map_or(0, |store| store.behind.failures())
    }

    /// What there is in memory, in no particular order. It takes as long as there is much.
    pub fn entries(&self) -> Vec<Kept> {
        let now = self.0.now();
        let kept = |key: &Key, entry: &Entry| Kept {
            method: key.method(),
            uri: key.uri().to_owned(),
            has_credentials: key.partition().is_some(),
            status: entry.head().status,
            age: entry.age(now),
            left: entry.left(now),
            bytes: entry.body().len(),
        };
        let all = self.0.memory.all();
        all.flat_map(|(key, variants)| variants.iter().map(|entry| kept(&key, entry)).collect::<Vec<_>>())
            .collect()
    }

    /// Keeps a response to a request as if the upstream had just given it: for a service that learns of changes from
    /// elsewhere. The same rules apply. A `Uri` stands for a GET without headers.
    ///
    /// # Errors
    ///
    /// If it may not be kept. What was kept before stays. A store that cannot be told is no error.
    ///
    /// # Cancel safety
    ///
    /// Dropped, it may have kept the response in memory and not in the store behind.
    ///
    /// ```
    /// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
    /// use steadfast::last_known_good::Fallback;
    ///
    /// let fallback = Fallback::default();
    /// let uri: http::Uri = "http://sku.internal/v1/items/42".parse()?;
    /// fallback.insert(&uri, http::Response::new(r#"{"price": 999}"#.into())).await?;
    /// assert_eq!(fallback.len(), 1);
    /// # Ok(())
    /// # }
    /// ```
    pub async fn insert(&self, request: &impl HttpRequest, response: Response<Bytes>) -> Result<(), NotKept> {
        let (key, entry) = self.0.insert(request, &response)?;
        if let Some(telling) = self.0.tell_store(&key, &entry, None) {
            telling.await;
        }
        Ok(())
    }

    /// Forgets what is kept for the URI of a request, whichever method it was asked for with and whoever asked. What is
    /// being asked for meanwhile is not kept either.
    ///
    /// # Cancel safety
    ///
    /// Dropped, it may have told the memory and not the store behind.
    ///
    /// ```
    /// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
    /// # let fallback = steadfast::last_known_good::Fallback::default();
    /// let uri: http::Uri = "http://sku.internal/v1/items/42".parse()?;
    /// fallback.invalidate(&uri).await;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn invalidate(&self, request: &impl HttpRequest) {
        let key = self.0.key(request);
        if let Some(telling) = self.0.forget([key], None) {
            telling.await;
        }
    }
}

impl Shared {
    pub(super) fn now(&self) -> Moment {
        Moment::new(self.clock.now())
    }

    /// What a request is known by here.
    pub(super) fn key(&self, request: &impl HttpRequest) -> Key {
        Key::new(request, self.credentials.of(request), &self.hasher)
    }

    /// Whether an answer of these times need not be kept for the sake of its headers alone.
    pub(super) fn is_new_enough(&self, entry: &Entry, times: Times) -> bool {
        times.given.since(entry.times().given) < self.renew_after
    }

    pub(super) fn falls_back_on(&self, cause: Cause) -> bool {
        self.falls_back_on.as_ref().is_none_or(|falls| falls(cause))
    }

    fn insert(
        &self,
        request: &impl HttpRequest,
        response: &Response<Bytes>,
    ) -> Result<(Key, Arc<Entry>), NotKept> {
        let Role::Answer { keep: true, .. } = rules::role(request) else { return Err(NotKept::Request) };
        let (bytes, allowed) = (response.body().len(), self.max_entry_bytes);
        if bytes > allowed {
            return Err(NotKept::TooLarge { bytes, allowed });
        }
        let (key, now) = (self.key(request), self.now());
        let headers = RequestHeaders::new(request.headers(), &self.credentials);
        let draft = Draft::new(response, &headers, &self.rules, key.partition().is_some());
        let head = draft.ok_or(NotKept::Response)?.into_head();
        let (version, found) = (self.memory.version(&key), self.memory.find(&key, |_| false));
        let times = Times::of(response.headers(), now, now);
        let body = Received::whole(response.body());
        let entry = Arc::new(Entry::new(Arc::new(head), body, times));
        let kept = self.memory.keep(&key, version, &found, &entry, times);
        kept.then_some((key, entry)).ok_or(NotKept::Outdated)
    }

    /// Forgets what is kept for these URIs; the store is still to be told.
    pub(super) fn forget(
        self: &Arc<Self>,
        keys: impl IntoIterator<Item = Key>,
        until: Until,
    ) -> Option<BoxFuture<()>> {
        let keys: Vec<Key> = keys.into_iter().inspect(|key| self.memory.remove(key)).collect();
        self.store.as_ref()?;
        let (shared, now) = (Arc::clone(self), self.now());
        Some(Box::pin(async move {
            let Some(store) = &shared.store else { return };
            let end = store.behind.end(until);
            for key in keys {
                let name = gone(&key);
                if let Some(value) = wire::encode_gone(&name, now) {
                    store.behind.put(&name, value, shared.rules.max_age, end).await;
                }
            }
        }))
    }

    /// Tells the store of an entry, with the other variants, unless it knows of it, or may not.
    pub(super) fn tell_store(
        self: &Arc<Self>,
        key: &Key,
        entry: &Arc<Entry>,
        until: Until,
    ) -> Option<BoxFuture<()>> {
        let store = self.store.as_ref()?;
        let now = self.now();
        if !store.knows(key) || entry.synced() > now.before(self.renew_after) {
            return None;
        }
        // Whatever comes of it: a store that fails is not asked with each call.
        entry.set_synced(now);
        let (shared, key) = (Arc::clone(self), key.clone());
        Some(Box::pin(async move { shared.put(&key, until).await }))
    }

    async fn put(&self, key: &Key, until: Until) {
        let Some(store) = &self.store else { return };
        let (name, end) = (key.to_string(), store.behind.end(until));
        let Some(mut variants) = self.memory.find(key, |_| false).variants else { return };
        if variants.iter().any(|entry| !entry.head().vary.is_empty()) {
            // Others may know of variants that nobody asked for here.
            self.learn(key, &name, end).await;
            let Some(merged) = self.memory.find(key, |_| false).variants else { return };
            variants = merged;
        }
        let now = self.now();
        let longest = variants.iter().map(|entry| entry.left(now)).max().unwrap_or_default();
        // A note that something is gone is kept for so long, and has to outlive it.
        let keep_for = longest.min(self.rules.max_age);
        if let Some(value) = wire::encode_variants(&name, &variants) {
            store.behind.put(&name, value, keep_for, end).await;
        }
    }

    /// Whether the store may know more of what is kept than the memory does, which has this.
    pub(super) fn may_learn(&self, key: &Key, entry: Option<&Arc<Entry>>) -> bool {
        let Some(store) = &self.store else { return false };
        let since = self.now().before(self.renew_after);
        store.knows(key) && entry.is_none_or(|entry| entry.synced() <= since)
    }

    /// The newest entry that answers a request, if there is one in memory or in the store.
    pub(super) fn look_up(
        self: &Arc<Self>,
        key: Key,
        headers: RequestHeaders,
        limits: Limits,
        until: Until,
    ) -> BoxFuture<Option<Arc<Entry>>> {
        let shared = Arc::clone(self);
        Box::pin(async move {
            let Some(store) = &shared.store else { return None };
            shared.learn(&key, &key.to_string(), store.behind.end(until)).await;
            let now = shared.now();
            let entry = shared.memory.find(&key, |it| it.answers(&headers, &limits, now)).entry?;
            entry.set_synced(now);
            Some(entry)
        })
    }

    /// Brings what the store knows of a key into memory.
    async fn learn(&self, key: &Key, name: &str, end: Until) {
        /// How far ahead the clock of whoever has stored it may be.
        const SKEW: Duration = Duration::from_secs(60);
        let Some(store) = &self.store else { return };
        let version = self.memory.version(key);
        let gone = gone(key);
        let (kept, gone_at) = tokio::join!(store.behind.get(name, end), store.behind.get(&gone, end));
        let gone_at = gone_at.and_then(|value| wire::decode_gone(&gone, &value)).unwrap_or_default();
        self.memory.remove_before(key, gone_at);
        let decode =
            |value: Bytes| wire::decode_variants(name, &value, &self.rules, key.partition().is_some());
        let latest = Moment(self.now().0.saturating_add(Moment::new(SKEW).0));
        // The newest stands first, there as here.
        for entry in kept.and_then(decode).unwrap_or_default().into_iter().rev() {
            let times = entry.times();
            let found = self.memory.find(key, |it| it.head().vary == entry.head().vary);
            let is_news = found.entry.as_ref().is_none_or(|it| it.times().given < times.given);
            if is_news && times.asked >= gone_at && times.given <= latest {
                self.memory.keep(key, version, &found, &Arc::new(entry), times);
            }
        }
    }
}

impl StoreBehind {
    /// Whether it is told of what is kept for this key.
    fn knows(&self, key: &Key) -> bool {
        self.is_shared_with_somebodys || key.partition().is_none()
    }
}

/// What stands in a store for when a URI was last forgotten.
fn gone(key: &Key) -> String {
    format!("GONE {}", key.text())
}

impl Default for Fallback {
    fn default() -> Self {
        Self::builder().build().expect("the defaults are valid")
    }
}

impl fmt::Debug for Fallback {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Fallback")
            .field("len", &self.len())
            .field("bytes", &self.bytes())
            .field("store", &self.0.store.as_ref().map(|store| &store.behind))
            .finish_non_exhaustive()
    }
}

/// Hashes by a seed of its own: where two URIs share a count of removals is chance, and can be replayed.
pub(super) struct SeededHasher(pub(super) u64);

impl BuildHasher for SeededHasher {
    type Hasher = DefaultHasher;

    fn build_hasher(&self) -> DefaultHasher {
        let mut hasher = DefaultHasher::new();
        hasher.write_u64(self.0);
        hasher
    }
}
