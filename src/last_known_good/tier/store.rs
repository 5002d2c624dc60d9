//! Where responses are kept beyond the memory of a process.

use std::future::Future;
use std::time::Duration;

use bytes::Bytes;

use crate::BoxError;

/// A place behind the memory of a [`LastKnownGood`](crate::last_known_good::LastKnownGood), which outlives the process or is shared with others.
///
/// It keeps bytes under names, no more: what they mean, whether they are whole and whether they may be served is the
/// fallback's to know, so a store that loses, mixes up or garbles what it was given costs an answer, and never makes a
/// wrong one. It may forget whatever it likes whenever it likes; but what is noted as gone can come back if it forgets the
/// note first.
///
/// A store need not bound its own time: the fallback waits for it no longer than its
/// [`store_timeout`](crate::last_known_good::LastKnownGoodBuilder::store_timeout), within the total time of the call, and then drops the future,
/// which leaves the store as it was or as it was to be. Nor does a call fail because a store does.
///
/// ```
/// use std::collections::HashMap;
/// use std::sync::Mutex;
/// use std::time::Duration;
/// use bytes::Bytes;
/// use steadfast::BoxError;
/// use steadfast::last_known_good::{LastKnownGood, Store};
///
/// /// A store that forgets nothing: for a test.
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
/// let fallback = LastKnownGood::builder().store(Everything::default()).build()?;
/// # Ok::<(), steadfast::ConfigError>(())
/// ```
pub trait Store: Send + Sync + 'static {
    /// What was last put under `key`, unless it has been kept for its time or was forgotten.
    ///
    /// # Errors
    ///
    /// If it could not be found out.
    fn get(&self, key: &str) -> impl Future<Output = Result<Option<Bytes>, BoxError>> + Send;

    /// Keeps `value` under `key`, in place of what is there, for as long as `keep_for`.
    ///
    /// # Errors
    ///
    /// If it could not be kept.
    fn put(
        &self,
        key: &str,
        value: Bytes,
        keep_for: Duration,
    ) -> impl Future<Output = Result<(), BoxError>> + Send;
}
