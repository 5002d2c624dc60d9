//! The handle of a fallback.

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
/// use steadfast::last_known_good::{LastKnownGood, LastKnownGoodLayer};
///
/// let fallback = LastKnownGood::builder()
///     .max_age(Duration::from_secs(600))
///     .max_bytes(16 * 1024 * 1024)
///     .build()?;
/// let layer = LastKnownGoodLayer::new(fallback.clone());
/// assert!(fallback.is_empty());
/// # Ok::<(), steadfast::ConfigError>(())
/// ```
#[doc(alias = "stale-if-error")]
#[doc(alias = "fallback")]
#[derive(Clone)]
pub struct LastKnownGood(pub(super) Arc<CacheState>);

/// A kept response, as [`LastKnownGood::entries`] lists it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct EntryInfo {
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

/// Why a response that was [inserted](LastKnownGood::insert) is not kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InsertError {
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

impl LastKnownGood {
    /// A builder that starts from the defaults.
    pub fn builder() -> LastKnownGoodBuilder {
        LastKnownGoodBuilder::new()
    }

    /// What the cache is called.
    pub fn name(&self) -> Option<&str> {
        self.0.name.as_deref()
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
        self.0.store.as_ref().map_or(0, BoundedStore::failures)
    }

    /// What there is in memory, in no particular order. It takes as long as there is much.
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

    /// Keeps a response to a request as if the upstream had just given it: for a service that learns of changes from
    /// elsewhere. The same rules apply, and what is being asked for meanwhile is not kept in its place. A `Uri` stands for a GET
    /// without headers.
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
    /// use steadfast::last_known_good::LastKnownGood;
    ///
    /// let fallback = LastKnownGood::default();
    /// let uri: http::Uri = "http://sku.internal/v1/items/42".parse()?;
    /// fallback.insert(&uri, http::Response::new(r#"{"price": 999}"#.into())).await?;
    /// assert_eq!(fallback.len(), 1);
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

    /// Forgets what is kept for the URI of a request, whichever method it was asked for with and whoever asked. What is
    /// being asked for meanwhile is not kept either.
    ///
    /// # Cancel safety
    ///
    /// Dropped, it may have told the memory and not the store behind.
    ///
    /// ```
    /// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
    /// # let fallback = steadfast::last_known_good::LastKnownGood::default();
    /// let uri: http::Uri = "http://sku.internal/v1/items/42".parse()?;
    /// fallback.invalidate(&uri).await;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn invalidate(&self, request: &impl HttpRequest) {
        let key = self.0.key(request);
        if let Some(written) = self.0.invalidate_uris([key], None) {
            written.await;
        }
    }

    /// Keeps a response that was not asked for.
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
        let kept = state.memory.insert(&key, version, &found, &entry, times);
        kept.then_some((key, entry)).ok_or(InsertError::Outdated)
    }
}

impl LastKnownGoodBuilder {
    /// The cache, empty.
    ///
    /// # Errors
    ///
    /// If a setting is out of its range.
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
