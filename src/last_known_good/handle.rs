//! The handle of a last-known-good cache, for inspecting, inserting and invalidating entries.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Response, StatusCode};

use super::config::LastKnownGoodBuilder;
use crate::ConfigError;
use crate::http::HttpRequest;
use crate::last_known_good::entry::head::Draft;
use crate::last_known_good::entry::{Entry, Times};
use crate::last_known_good::policy::key::Key;
use crate::last_known_good::policy::rules::{self, Role};
use crate::last_known_good::record::capture::BodyCapture;
use crate::last_known_good::tier::bounded_store::BoundedStore;
use crate::last_known_good::tier::state::CacheState;

/// A last-known-good cache, with its entries and the rules for storing and serving them.
///
/// Clones are handles to the same cache. Share a cache only between clients that send the same headers to the same
/// upstreams. The cache does not see the default headers and cookies of a handed-in reqwest client, or those that the
/// function of `reqwest_builder` sets. Clients that differ in these headers would get each other's responses.
///
/// Entries are kept in memory and, optionally, in a [`Store`](super::Store) behind the memory. A store may outlive
/// the process or be shared with other processes.
///
/// ```
/// use std::time::Duration;
/// use steadfast::last_known_good::{LastKnownGood, LastKnownGoodLayer};
///
/// let cache = LastKnownGood::builder()
///     .max_age(Duration::from_secs(600))
///     .max_bytes(16 * 1024 * 1024)
///     .build()?;
/// let layer = LastKnownGoodLayer::new(cache.clone());
/// assert!(cache.is_empty());
/// # Ok::<(), steadfast::ConfigError>(())
/// ```
#[doc(alias = "cache")]
#[doc(alias = "serve stale")]
#[doc(alias = "stale-if-error")]
#[doc(alias = "fallback")]
#[derive(Clone)]
pub struct LastKnownGood(pub(super) Arc<CacheState>);

/// An entry, as listed by [`LastKnownGood::entries`].
#[doc(alias = "Kept")]
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct EntryInfo {
    /// The method of the request: GET or HEAD.
    pub method: Method,
    /// The URI of the request.
    pub uri: String,
    /// True if the entry belongs to a single caller, identified by credentials.
    pub has_credentials: bool,
    /// The status of the response.
    pub status: StatusCode,
    /// The time since the origin server generated the response, computed from the `Age` header and the local clock.
    pub age: Duration,
    /// The remaining time for which the entry may be served.
    pub left: Duration,
    /// The length of the body, in bytes.
    pub bytes: usize,
}

/// The reason why [`LastKnownGood::insert`] did not store a response.
#[doc(alias = "NotKept")]
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InsertError {
    /// Responses to this request are never stored.
    #[error("not stored: the request must be a GET or HEAD for a whole response, without a body")]
    Request,
    /// The status is not 2xx, the response is partial (206 or 226), or a header forbids storing.
    #[error("not stored: the status or a header of the response forbids it")]
    Response,
    /// The body is larger than [`max_entry_bytes`](LastKnownGoodBuilder::max_entry_bytes).
    #[error("not stored: the body has {bytes} bytes, more than the maximum of {allowed}")]
    TooLarge {
        /// The length of the body, in bytes.
        bytes: usize,
        /// The configured bound, in bytes.
        allowed: usize,
    },
    /// During the insertion, the URI was invalidated or a newer response was stored.
    #[error("not stored: meanwhile, the URI was invalidated or a newer response was stored")]
    Outdated,
}

impl LastKnownGood {
    /// Returns a builder with the defaults.
    pub fn builder() -> LastKnownGoodBuilder {
        LastKnownGoodBuilder::new()
    }

    /// Returns the name of the cache.
    pub fn name(&self) -> Option<&str> {
        self.0.name.as_deref()
    }

    /// Returns the number of entries in memory. The variants of a response (`Vary`) count as one entry.
    pub fn len(&self) -> u64 {
        self.0.memory.len()
    }

    /// True if there is no entry in memory.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Returns the approximate size of all entries in memory, in bytes.
    pub fn bytes(&self) -> u64 {
        self.0.memory.bytes()
    }

    /// Returns the number of store operations that failed or did not end in time.
    pub fn store_failures(&self) -> u64 {
        self.0.store.as_ref().map_or(0, BoundedStore::failures)
    }

    /// Returns the entries in memory, in no particular order. O(n) in the number of entries.
    pub fn entries(&self) -> Vec<EntryInfo> {
        let now = self.0.now();
        let info = |key: &Key, entry: &Entry| EntryInfo {
            method: key.method(),
            uri: key.uri().to_owned(),
            has_credentials: key.partition().is_some(),
            status: entry.head().status,
            age: entry.age(now),
            left: entry.left(now),
            bytes: entry.body().len(),
        };
        let all = self.0.memory.all();
        all.flat_map(|(key, variants)| variants.iter().map(|entry| info(&key, entry)).collect::<Vec<_>>())
            .collect()
    }

    /// Stores `response` by the same rules as if the upstream had just sent it in answer to `request`. Use this
    /// method if the service learns of changes in another way, such as by events. If a call of the same caller for
    /// this URI is in flight now, its response does not replace the entry. As a `request`, a `Uri` stands for a GET
    /// without headers.
    ///
    /// # Errors
    ///
    /// Fails if the response is not stored; [`InsertError`] gives the reasons. An earlier entry then stays. A failure
    /// of the store causes no error.
    ///
    /// # Cancel safety
    ///
    /// A dropped future may leave the response in memory and not in the store.
    ///
    /// ```
    /// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
    /// use steadfast::last_known_good::LastKnownGood;
    ///
    /// let cache = LastKnownGood::default();
    /// let uri: http::Uri = "http://sku.internal/v1/items/42".parse()?;
    /// cache.insert(&uri, http::Response::new(r#"{"price": 999}"#.into())).await?;
    /// assert_eq!(cache.len(), 1);
    /// # Ok(())
    /// # }
    /// ```
    pub async fn insert(
        &self,
        request: &impl HttpRequest,
        response: Response<Bytes>,
    ) -> Result<(), InsertError> {
        let (key, entry) = self.insert_into_memory(request, &response)?;
        if let Some(written) = self.0.write_through(&key, &entry, None) {
            written.await;
        }
        Ok(())
    }

    /// Invalidates the entries for the URI of a request, for all methods and callers. If a call for this URI is in
    /// flight now, its response is not stored.
    ///
    /// # Cancel safety
    ///
    /// A dropped future may leave the entries invalidated in memory and not in the store.
    ///
    /// ```
    /// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
    /// # let cache = steadfast::last_known_good::LastKnownGood::default();
    /// let uri: http::Uri = "http://sku.internal/v1/items/42".parse()?;
    /// cache.invalidate(&uri).await;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn invalidate(&self, request: &impl HttpRequest) {
        let key = self.0.key(request);
        if let Some(written) = self.0.invalidate_uris([key], None) {
            written.await;
        }
    }

    /// Stores an inserted response in memory.
    fn insert_into_memory(
        &self,
        request: &impl HttpRequest,
        response: &Response<Bytes>,
    ) -> Result<(Key, Arc<Entry>), InsertError> {
        let state = &*self.0;
        let Role::Cacheable { may_store: true, .. } = rules::role(request) else {
            return Err(InsertError::Request);
        };
        let (bytes, allowed) = (response.body().len(), state.max_entry_bytes());
        if bytes > allowed {
            return Err(InsertError::TooLarge { bytes, allowed });
        }
        let (key, now) = (state.key(request), state.now());
        let headers = state.headers(request, &key);
        let draft = Draft::new(response, &headers, &state.rules(), key.partition().is_some());
        let head = draft.ok_or(InsertError::Response)?.into_head();
        state.memory.bump_version(&key);
        let (version, found) = (state.memory.version(&key), state.memory.find(&key, |_| false));
        let times = Times::of(response.headers(), now, now);
        let body = BodyCapture::whole(response.body());
        let entry = Arc::new(Entry::new(Arc::new(head), body, times));
        let is_stored = state.memory.insert(&key, version, &found, &entry, times);
        is_stored.then_some((key, entry)).ok_or(InsertError::Outdated)
    }
}

impl LastKnownGoodBuilder {
    /// Builds an empty cache.
    ///
    /// # Errors
    ///
    /// Fails if a setting is out of its range, or if the operating system provides no random numbers.
    pub fn build(self) -> Result<LastKnownGood, ConfigError> {
        Ok(LastKnownGood(Arc::new(self.into_state()?)))
    }
}

impl TryFrom<LastKnownGoodBuilder> for LastKnownGood {
    type Error = ConfigError;

    fn try_from(builder: LastKnownGoodBuilder) -> Result<Self, ConfigError> {
        builder.build()
    }
}

impl Default for LastKnownGood {
    fn default() -> Self {
        Self::builder().build().expect("the defaults are valid")
    }
}

impl fmt::Debug for LastKnownGood {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LastKnownGood")
            .field("name", &self.name())
            .field("len", &self.len())
            .field("bytes", &self.bytes())
            .field("store", &self.0.store)
            .finish_non_exhaustive()
    }
}
