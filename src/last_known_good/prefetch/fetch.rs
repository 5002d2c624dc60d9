//! The task that fetches one URI periodically.

use std::pin::pin;
use std::sync::{Arc, Weak};
use std::time::Duration;

use bytes::Buf;
use http::{Response, StatusCode};
use http_body::Body;
use http_body_util::BodyExt as _;
use tokio::runtime::Handle;
use tokio::time::{Instant, sleep, timeout_at};
use tower::{Service, ServiceExt as _};

use super::registry::Registry;
use crate::http::HttpRequest;
use crate::internal::clock;
use crate::last_known_good::LastKnownGood;
use crate::last_known_good::entry::unix_nanos::UnixNanos;
use crate::last_known_good::policy::key::Key;
use crate::last_known_good::policy::rules::{self, Role};
use crate::last_known_good::tier::state::CacheState;
use crate::{BoxError, Error, HasCallOptions, RetryableRequest};

/// Registers a request for periodic fetches, if its response may be stored for all callers.
pub(super) fn register<S, Req, B, E>(registry: Option<&Arc<Registry>>, inner: &S, request: &Req)
where
    Req: HttpRequest + HasCallOptions + RetryableRequest + Send + Sync + 'static,
    S: Service<Req, Response = Response<B>, Error = Error<E>, Future: Send> + Clone + Send + Sync + 'static,
    B: Body + Send + 'static,
    B::Error: Into<BoxError>,
    E: 'static,
{
    let Some(registry) = registry else { return };
    if !registry.has_room() || !matches!(rules::role(request), Role::Cacheable { may_store: true, .. }) {
        return;
    }
    let key = registry.last_known_good().0.key(request);
    if key.partition().is_some() || registry.contains(&key) {
        return;
    }
    let (Some(copy), Ok(runtime)) = (request.try_clone(), Handle::try_current()) else { return };
    let deadline = request.options().get_deadline();
    let fetcher = Fetcher {
        inner: inner.clone(),
        request: copy,
        key: key.clone(),
        last_known_good: registry.last_known_good().clone(),
        time: deadline.map(|deadline| deadline.saturating_duration_since(Instant::now())),
    };
    let (weak, every) = (Arc::downgrade(registry), registry.every());
    registry.register(key, || runtime.spawn(fetcher.fetch_every(every, weak)).abort_handle());
}

/// The periodic fetch of one URI.
struct Fetcher<S, Req> {
    inner: S,
    request: Req,
    key: Key,
    last_known_good: LastKnownGood,
    /// The time limit of the call that registered the URI; `None` if that call had no deadline.
    time: Option<Duration>,
}

/// Unregisters the URI when its task ends, so that a later call can register the URI again.
struct Registered {
    registry: Weak<Registry>,
    key: Key,
}

impl Drop for Registered {
    fn drop(&mut self) {
        if let Some(registry) = self.registry.upgrade() {
            registry.unregister(&self.key);
        }
    }
}

/// The result of a fetch.
enum Fetched {
    Stored,
    /// The fetch has not failed, but memory has no entry: further fetches are pointless.
    NothingToStore,
    Failed,
}

impl<S, Req, B, E> Fetcher<S, Req>
where
    Req: HttpRequest + HasCallOptions + RetryableRequest + Send + Sync + 'static,
    S: Service<Req, Response = Response<B>, Error = Error<E>, Future: Send> + Clone + Send + Sync + 'static,
    B: Body + Send + 'static,
    B::Error: Into<BoxError>,
    E: 'static,
{
    async fn fetch_every(self, every: Duration, registry: Weak<Registry>) {
        const MAX_FACTOR: u32 = 16;
        let _registered = Registered { registry: Weak::clone(&registry), key: self.key.clone() };
        let mut factor = 1;
        loop {
            let Some(wait) = registry.upgrade().map(|registry| registry.jittered(every * factor)) else {
                return;
            };
            sleep(wait).await;
            if factor == 1 && self.is_younger_than(every / 2) {
                continue;
            }
            factor = match self.fetch().await {
                Fetched::Stored => 1,
                Fetched::Failed => (factor * 2).min(MAX_FACTOR),
                Fetched::NothingToStore => return,
            };
        }
    }

    async fn fetch(&self) -> Fetched {
        /// The time limit of a fetch if the call that registered the URI had no deadline.
        const MAX_TIME: Duration = Duration::from_secs(60);
        let Some(mut request) = self.request.try_clone() else { return Fetched::NothingToStore };
        let now = Instant::now();
        // An end beyond the range of the clock counts as none.
        let end = self.time.and_then(|time| clock::after(now, time));
        let mut options = request.options().without_last_known_good();
        if let Some(end) = end {
            options = options.deadline(end);
        }
        request.set_options(options);
        let status = timeout_at(end.unwrap_or(now + MAX_TIME), self.read(request)).await.ok().flatten();
        // A 304 is good: the repeated request may be conditional.
        let is_good =
            |it: StatusCode| it.is_success() || it == StatusCode::NOT_MODIFIED || rules::revokes(it);
        match self.received() {
            _ if !status.is_some_and(is_good) => Fetched::Failed,
            Some(_) => Fetched::Stored,
            None => Fetched::NothingToStore,
        }
    }

    /// Sends the request, reads up to `max_entry_bytes` of the response body, and returns the status; `None` on an
    /// error.
    async fn read(&self, request: Req) -> Option<StatusCode> {
        let response = self.inner.clone().oneshot(request).await.ok()?;
        let status = response.status();
        let mut left = self.state().max_entry_bytes();
        let mut body = pin!(response.into_body());
        loop {
            tokio::task::consume_budget().await; // A body of empty frames must not hold the thread.
            let Some(frame) = body.frame().await else { break };
            let length = frame.ok()?.data_ref().map_or(0, Buf::remaining);
            let Some(rest) = left.checked_sub(length) else { break };
            left = rest;
        }
        Some(status)
    }

    /// True if the newest entry was received less than `age` ago.
    fn is_younger_than(&self, age: Duration) -> bool {
        self.received().is_some_and(|received| self.state().now().since(received) < age)
    }

    /// Returns the time at which the newest entry was received.
    fn received(&self) -> Option<UnixNanos> {
        let variants = self.state().memory.find(&self.key, |_| false).variants?;
        variants.iter().map(|entry| entry.times().received).max()
    }

    fn state(&self) -> &CacheState {
        &self.last_known_good.0
    }
}
