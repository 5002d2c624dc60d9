//! The plan for the result of a call is made from the request when the call begins, and carried out when the call has
//! ended.
//!
//! A plan remembers the version of the cache key, and every invalidation changes the version. A response is stored
//! only if the version has not changed since the call began, so no response from before an invalidation is stored
//! after it.
//!
//! # Equal responses
//!
//! A response usually equals the entry. In this case, only the times of the entry advance. The head is compared when
//! it arrives, and each piece of the body when it is read. A response is equal if its status, HTTP version, body and
//! all end-to-end headers but `Age` and `Date` are equal. `Date` counts only if the response has `Expires`. An equal
//! response is not copied, and the entry is inserted again only if the memory has changed since the head arrived. If
//! only the head or only the body is equal, the new entry shares that part with the earlier entry.
//!
//! Some headers, such as a request ID, matter to no caching rule. A response that differs only in such headers does
//! not replace an entry that was received less than `renew_after` ago, and does not reset the entry's age.
//!
//! The bytes are compared even if the `ETag`s are equal. To compare bytes costs far less than to receive them, and
//! some upstreams send wrong `ETag`s.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Response, StatusCode};
use http_body::Body;
use tokio::time::Instant;

use crate::attempts::Attempts;
use crate::http::HttpRequest;
use crate::internal::log_events;
use crate::last_known_good::entry::head::{Draft, NextHead};
use crate::last_known_good::entry::unix_nanos::UnixNanos;
use crate::last_known_good::entry::{Entry, Times};
use crate::last_known_good::memory::cache::Found;
use crate::last_known_good::policy::key::Key;
use crate::last_known_good::policy::rules::{self, Limits, Role};
use crate::last_known_good::policy::vary::RequestHeaders;
use crate::last_known_good::record::body::ResponseBody;
use crate::last_known_good::record::capture::BodyCapture;
use crate::last_known_good::record::recorder::Recorder;
use crate::last_known_good::tier::bounded_store::{BoxFuture, WaitEnd};
use crate::last_known_good::tier::state::CacheState;
use crate::response_kind::{AttemptFacts as _, remove_marks};
use crate::stale::Cause;
use crate::{Error, HasCallOptions, Http, Judge, Outcome};

/// The action to take when the call has ended.
pub(super) enum Plan {
    Nothing,
    /// The `WaitEnd` is the deadline of the call, which also bounds the wait for the store.
    Invalidate(Arc<CacheState>, Key, WaitEnd),
    Cacheable(CacheableCall),
}

/// A call that an entry may answer, and whose response may be stored.
pub(super) struct CacheableCall {
    state: Arc<CacheState>,
    key: Key,
    /// The version of the key when the call began.
    version: u64,
    began: Instant,
    headers: RequestHeaders,
    /// The request's limits for stale responses. Boxed, because few requests have limits.
    limits: Option<Box<Limits>>,
    may_store: bool,
    may_serve_stale: bool,
    /// The time after which a slow call is answered with a stale response.
    soft_limit: Option<Duration>,
    /// The deadline of the call.
    deadline: WaitEnd,
    /// True if the call has no deadline, or if all layers below check the deadline.
    is_checked_below: bool,
}

/// The URI of the request, in the extensions of a stale response.
#[derive(Debug, Clone)]
#[cfg_attr(not(feature = "reqwest"), allow(dead_code))]
pub(crate) struct RequestUri(pub(crate) Arc<str>);

impl Plan {
    pub(super) fn new(request: &(impl HttpRequest + HasCallOptions), state: &Arc<CacheState>) -> Self {
        match rules::role(request) {
            Role::Nothing => Self::Nothing,
            Role::Invalidate => {
                let deadline = request.options().get_deadline();
                Self::Invalidate(Arc::clone(state), state.key(request), deadline)
            }
            Role::Cacheable { may_store, limits } => {
                let (key, options) = (state.key(request), request.options());
                Self::Cacheable(CacheableCall {
                    state: Arc::clone(state),
                    version: state.memory.version(&key),
                    headers: state.headers(request, &key),
                    key,
                    began: Instant::now(),
                    limits: (limits != Limits::default()).then(|| Box::new(limits)),
                    may_store,
                    may_serve_stale: options.allows_last_known_good(),
                    soft_limit: state.soft_limit(),
                    deadline: options.get_deadline(),
                    is_checked_below: options.unchecked_deadline().is_none(),
                })
            }
        }
    }

    /// True if the call may continue after its caller was answered.
    pub(super) const fn may_detach(&self) -> bool {
        matches!(self, Self::Cacheable(CacheableCall { may_serve_stale: true, soft_limit: Some(_), .. }))
    }

    /// Returns the plan of a refresh, which stores the response and never serves an entry.
    pub(super) fn for_refresh(self) -> Self {
        match self {
            Self::Cacheable(cacheable) => {
                Self::Cacheable(CacheableCall { may_serve_stale: false, ..cacheable })
            }
            other => other,
        }
    }

    pub(super) fn take(&mut self) -> Self {
        std::mem::replace(self, Self::Nothing)
    }
}

impl CacheableCall {
    pub(super) const fn state(&self) -> &Arc<CacheState> {
        &self.state
    }

    pub(super) const fn key(&self) -> &Key {
        &self.key
    }

    pub(super) const fn began(&self) -> Instant {
        self.began
    }

    /// True if a stale response may answer the call.
    pub(super) const fn may_serve_stale(&self) -> bool {
        self.may_serve_stale
    }

    pub(super) const fn soft_limit(&self) -> Option<Duration> {
        self.soft_limit
    }

    /// Returns the deadline of the call.
    pub(super) const fn deadline(&self) -> WaitEnd {
        self.deadline
    }

    /// Returns the deadline, unless all layers below are known to check it.
    pub(super) fn unchecked_deadline(&self) -> WaitEnd {
        self.deadline.filter(|_| !self.is_checked_below)
    }

    /// True if the response may be stored.
    pub(super) const fn may_store(&self) -> bool {
        self.may_store
    }

    /// Returns the newest entry in memory that answers the call.
    pub(super) fn find(&self) -> Option<Arc<Entry>> {
        let (now, limits) = (self.state.now(), self.limits());
        self.state.memory.find(&self.key, |entry| entry.answers(&self.headers, &limits, now)).entry
    }

    /// Reads the key's entries from the store into memory.
    pub(super) fn look_up(&self) -> BoxFuture<()> {
        self.state.look_up(self.key.clone(), self.deadline)
    }

    /// True if the store must be read, because it may hold a newer entry than `entry`.
    pub(super) fn needs_read_through(&self, entry: Option<&Arc<Entry>>) -> bool {
        self.state.needs_read_through(&self.key, entry)
    }

    fn draft<B>(&self, response: &Response<B>) -> Option<Draft> {
        Draft::new(response, &self.headers, &self.state.rules(), self.key.partition().is_some())
    }

    /// Returns `entry` as a stale response. A failed response passes on its extensions, an error its number of
    /// attempts.
    pub(super) fn serve<B: Body<Data = Bytes>, E>(
        &self,
        entry: &Entry,
        failed: Option<Result<Response<B>, Error<E>>>,
    ) -> Response<ResponseBody<B>> {
        let cause = failed.as_ref().map_or(Cause::Slow, Cause::of);
        let now = self.state.now();
        let error = failed.as_ref().and_then(|failed| failed.as_ref().err());
        let upstream = error.and_then(|error| error.upstream()).unwrap_or(self.key.upstream());
        log_events::stale_served(upstream, entry.age(now), cause);
        let mut response = entry.serve(now, cause).map(ResponseBody::stored);
        match failed {
            Some(Ok(failed)) => {
                let mut extensions = failed.into_parts().0.extensions;
                remove_marks(&mut extensions);
                let stale = std::mem::replace(response.extensions_mut(), extensions);
                response.extensions_mut().extend(stale);
            }
            Some(Err(error)) => {
                let attempts = Attempts::new(error.attempts(), error.stop_reason());
                response.extensions_mut().insert(attempts);
            }
            // The number of attempts is not known yet, because the call continues.
            None => {
                response.extensions_mut().insert(Attempts::new(0, None));
            }
        }
        response.extensions_mut().insert(RequestUri(self.key.uri().into()));
        response
    }

    fn limits(&self) -> Limits {
        self.limits.as_deref().copied().unwrap_or_default()
    }

    fn times<B>(&self, response: &Response<B>) -> Times {
        let requested = UnixNanos::new(self.state.clock.at(self.began));
        Times::of(response.headers(), requested, self.state.now())
    }
}

/// The next step for a call that has ended.
pub(super) enum Settled<B, E> {
    Now(Result<Response<ResponseBody<B>>, Error<E>>),
    /// The result waits for a write to the store.
    Writing(Result<Response<B>, Error<E>>, BoxFuture<()>),
    /// The call has failed, and the store may hold an entry.
    Failed(Result<Response<B>, Error<E>>, CacheableCall),
}

/// Passes a result on, with a body that is not recorded.
pub(super) fn pass_through<B: Body<Data = Bytes>, E>(
    result: Result<Response<B>, Error<E>>,
) -> Result<Response<ResponseBody<B>>, Error<E>> {
    result.map(|response| response.map(|body| ResponseBody::fresh(body, None)))
}

impl Plan {
    /// Stores a good response, invalidates entries, or serves an entry in place of a failure.
    pub(super) fn settle<B, E>(
        self,
        judge: &impl Judge<Response<B>, E>,
        result: Result<Response<B>, Error<E>>,
    ) -> Settled<B, E>
    where
        B: Body<Data = Bytes>,
    {
        match self {
            Self::Nothing => Settled::Now(pass_through(result)),
            Self::Invalidate(state, key, deadline) => settle_unsafe(&state, &key, result, deadline),
            Self::Cacheable(cacheable) => {
                let outcome = match &result {
                    // A judge never sees a refusal. A refusal counts as transient here, so that an entry may be
                    // served.
                    Err(error) if error.is_refusal() => Outcome::transient(),
                    result => Http.judge(judge, result.as_ref()),
                };
                let is_unanswered = outcome.is_fault() || outcome == Outcome::NotProcessed;
                let serves_stale = || cacheable.state.serves_stale_on(Cause::of(&result));
                if is_unanswered && cacheable.may_serve_stale && serves_stale() {
                    let entry = cacheable.find();
                    if cacheable.needs_read_through(entry.as_ref()) {
                        return Settled::Failed(result, cacheable);
                    }
                    if let Some(entry) = entry {
                        return Settled::Now(Ok(cacheable.serve(&entry, Some(result))));
                    }
                }
                settle_cacheable(cacheable, outcome, result)
            }
        }
    }
}

/// If a request with an unsafe method has succeeded, invalidates the entries of its URI, and of the URIs in
/// `Location` and `Content-Location` (RFC 9111 §4.4).
fn settle_unsafe<B: Body<Data = Bytes>, E>(
    state: &Arc<CacheState>,
    key: &Key,
    result: Result<Response<B>, Error<E>>,
    deadline: WaitEnd,
) -> Settled<B, E> {
    let write = result.as_ref().ok().filter(|it| rules::invalidates(it.status())).and_then(|response| {
        let referred =
            rules::referenced_uris(response.headers()).filter_map(|it| key.resolve(it, &state.hasher));
        let keys: Vec<Key> = referred.chain([key.clone()]).collect();
        state.invalidate_uris(keys, deadline)
    });
    after_write(write, result)
}

/// Makes the result wait for the write to the store, if there is a write.
fn after_write<B: Body<Data = Bytes>, E>(
    write: Option<BoxFuture<()>>,
    result: Result<Response<B>, Error<E>>,
) -> Settled<B, E> {
    match write {
        Some(write) => Settled::Writing(result, write),
        None => Settled::Now(pass_through(result)),
    }
}

/// Stores the response, invalidates the caller's entry, or does neither. Passes the result on in all cases.
fn settle_cacheable<B: Body<Data = Bytes>, E>(
    cacheable: CacheableCall,
    outcome: Outcome,
    result: Result<Response<B>, Error<E>>,
) -> Settled<B, E> {
    let deadline = cacheable.deadline;
    let response = match result {
        Ok(response) => response,
        Err(error) => return Settled::Now(Err(error)),
    };
    // After a redirect, or with other cookies, the response does not belong to the request that the cache saw.
    let is_own = !Http.is_to_other_request(&response);
    let is_good = outcome == Outcome::Success && cacheable.may_store && is_own;
    if is_good && response.status() == StatusCode::NOT_MODIFIED {
        return after_write(freshen(&cacheable, &response, deadline), Ok(response));
    }
    let storable = is_good.then(|| storable_head(&cacheable, &response)).flatten();
    // A status such as 404, or a new response that must not be stored, shows that the entry is outdated.
    let is_replaced = is_good && response.status().is_success() && storable.is_none();
    if is_replaced || is_own && rules::revokes(response.status()) {
        return after_write(cacheable.state.invalidate_caller(&cacheable.key, deadline), Ok(response));
    }
    let has_length = response.body().size_hint().exact().is_some();
    if rules::ends_with_connection(response.version(), response.headers(), has_length) {
        return Settled::Now(pass_through(Ok(response)));
    }
    let recorder = storable.map(|(found, head)| {
        let times = cacheable.times(&response);
        let CacheableCall { state, key, version, .. } = cacheable;
        Recorder { state, key, version, found, head, times, capture: BodyCapture::default(), deadline }
    });
    if response.body().is_end_stream() {
        // An empty body is complete without being read.
        return after_write(recorder.and_then(Recorder::store), Ok(response));
    }
    Settled::Now(Ok(response.map(|body| ResponseBody::fresh(body, recorder))))
}

/// Returns the head to store and, if there is one, the entry that a good response confirms or replaces. `None` if the
/// response must not be stored.
fn storable_head<B>(cacheable: &CacheableCall, response: &Response<B>) -> Option<(Found, NextHead)> {
    let headers = &cacheable.headers;
    let found = cacheable.state.memory.find(&cacheable.key, |entry| entry.head().vary.matches(headers));
    let head = match found.entry.as_ref().map(|entry| entry.head()).filter(|it| it.is_of(response, headers)) {
        Some(same) => NextHead::Same(Arc::clone(same)),
        None => NextHead::New(Box::new(cacheable.draft(response)?)),
    };
    Some((found, head))
}

/// Freshens the entry that a 304 confirms, and updates its headers (RFC 9111 §4.3.4). The caller made the request
/// conditional; the cache makes no conditional requests.
fn freshen<B>(
    cacheable: &CacheableCall,
    not_modified: &Response<B>,
    deadline: WaitEnd,
) -> Option<BoxFuture<()>> {
    let CacheableCall { state, key, version, headers, .. } = cacheable;
    let found = state.memory.find(key, |entry| {
        entry.head().vary.matches(headers)
            && rules::revalidates(not_modified.headers(), &entry.head().headers)
    });
    let before = found.entry.as_ref()?;
    let times = cacheable.times(not_modified);
    let updated = before.head().updated(not_modified.headers());
    let entry = if before.head().is_of(&updated, headers) {
        Arc::clone(before)
    } else {
        match cacheable.draft(&updated) {
            Some(draft) => Arc::new(before.with_head(draft.into_head(), times)),
            None => return state.invalidate_caller(key, deadline),
        }
    };
    let is_stored = state.memory.insert(key, *version, &found, &entry, times);
    is_stored.then(|| state.write_through(key, &entry, deadline)).flatten()
}
