//! The [`Store`] trait: a backend for entries behind the memory of a cache.

use std::future::Future;
use std::time::Duration;

use bytes::Bytes;

use crate::BoxError;

/// A backend behind the memory of a [`LastKnownGood`](crate::last_known_good::LastKnownGood) cache. A store may
/// outlive the process or be shared by several caches.
///
/// A store holds bytes under keys. Only the cache knows what the bytes mean, whether they are intact, and whether an
/// entry may be served. A key is text with spaces, such as `GET - http://sku.internal:80/v1/items?id=42` for an entry
/// or `GONE * …` for a tombstone. A key contains the URI with its query, so it may be confidential. The length of a
/// key is not bounded. If a store swaps or garbles values, the cache ignores these values, as if they were lost.
///
/// A store may lose any value at any time. If an entry is lost, a call may get an error instead of a stale response.
/// If a tombstone, the record of an invalidation, is lost before the invalidated entry, the entry can come back.
///
/// A store needs no timeout of its own. The cache waits at most for
/// [`store_timeout`](crate::last_known_good::LastKnownGoodBuilder::store_timeout), and never beyond the deadline of
/// the call. No call fails because a store fails.
///
/// ```
/// use std::collections::HashMap;
/// use std::sync::Mutex;
/// use std::time::Duration;
/// use bytes::Bytes;
/// use steadfast::BoxError;
/// use steadfast::last_known_good::{LastKnownGood, Store};
///
/// /// A store that never drops a value: for tests.
/// #[derive(Default)]
/// struct Everything(Mutex<HashMap<String, Bytes>>);
///
/// impl Store for Everything {
///     async fn get(&self, key: &str) -> Result<Option<Bytes>, BoxError> {
///         Ok(self.0.lock().unwrap().get(key).cloned())
///     }
///     async fn put(&self, key: &str, value: Bytes, _keep_for: Duration) -> Result<(), BoxError> {
///         self.0.lock().unwrap().insert(key.to_owned(), value);
///         Ok(())
///     }
/// }
///
/// let cache = LastKnownGood::builder().store(Everything::default()).build()?;
/// # Ok::<(), steadfast::ConfigError>(())
/// ```
///
/// # Cancel safety
///
/// The cache drops the future of an operation that takes too long. A dropped `put` must leave either the old value or
/// the new one.
pub trait Store: Send + Sync + 'static {
    /// Returns the value last put under `key`, or `None` if the value has expired or is absent.
    ///
    /// # Errors
    ///
    /// Fails if the store cannot be read.
    fn get(&self, key: &str) -> impl Future<Output = Result<Option<Bytes>, BoxError>> + Send;

    /// Stores `value` under `key` for at most `keep_for`, and replaces an earlier value.
    ///
    /// # Errors
    ///
    /// Fails if the value cannot be stored.
    fn put(
        &self,
        key: &str,
        value: Bytes,
        keep_for: Duration,
    ) -> impl Future<Output = Result<(), BoxError>> + Send;
}
