//! What is to be done with a call's answer: decided when the call begins, and done when it has ended.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Response, StatusCode};
use http_body::Body;
use tokio::time::Instant;

use crate::http::HttpRequest;
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
use crate::last_known_good::tier::bounded_store::{BoxFuture, Deadline};
use crate::last_known_good::tier::state::CacheState;
use crate::stale::Cause;
use crate::stop_reason::Attempts;
use crate::{Error, HasCallOptions, Judge, Outcome};

/// What is to be done when the call has ended.
pub(super) enum Plan {
    Nothing,
    /// The end of the call is that of the wait for a store, too.
    Invalidate(Arc<CacheState>, Key, Deadline),
    Cacheable(CacheableCall),
}

/// A call that may be answered with a storable response, and whose own may be storable.
pub(super) struct CacheableCall {
    state: Arc<CacheState>,
    key: Key,
    /// That of the key when the call began.
    version: u64,
    began: Instant,
    headers: RequestHeaders,
    /// Boxed, since hardly any request has some.
    limits: Option<Box<Limits>>,
    may_store: bool,
    may_serve_stale: bool,
    /// After how long a stale response is served in place of an answer.
    soft_limit: Option<Duration>,
    /// The end of the call.
    deadline: Deadline,
    is_checked_below: bool,
}

/// The URI that a storable response was asked for by, in its extensions.
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

    /// Whether the call may go on after its caller was answered.
    pub(super) const fn may_go_on(&self) -> bool {
        matches!(self, Self::Cacheable(CacheableCall { may_serve_stale: true, soft_limit: Some(_), .. }))
    }

    /// The same call, for the cache alone.
    pub(super) fn for_the_cache_alone(self) -> Self {
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

    /// Whether a stale response may answer the call.
    pub(super) const fn may_serve_stale(&self) -> bool {
        self.may_serve_stale
    }

    pub(super) const fn soft_limit(&self) -> Option<Duration> {
        self.soft_limit
    }

    /// The end of the call.
    pub(super) const fn deadline(&self) -> Deadline {
        self.deadline
    }

    /// The end of the call, where no layer below is known to check it.
    pub(super) fn unchecked_deadline(&self) -> Deadline {
        self.deadline.filter(|_| !self.is_checked_below)
    }

    /// Whether anything can come of the call for those after it.
    pub(super) const fn may_store(&self) -> bool {
        self.may_store
    }

    /// The newest response in memory that answers the call.
    pub(super) fn find(&self) -> Option<Arc<Entry>> {
        let (now, limits) = (self.state.now(), self.limits());
        self.state.memory.find(&self.key, |entry| entry.answers(&self.headers, &limits, now)).entry
    }

    /// Brings what the store knows into memory.
    pub(super) fn look_up(&self) -> BoxFuture<()> {
        self.state.look_up(self.key.clone(), self.deadline)
    }

    /// Whether the store may know of a response that answers the call better than this one does.
    pub(super) fn needs_read_through(&self, entry: Option<&Arc<Entry>>) -> bool {
        self.state.needs_read_through(&self.key, entry)
    }

    fn draft<B>(&self, response: &Response<B>) -> Option<Draft> {
        Draft::new(response, &self.headers, &self.state.rules(), self.key.partition().is_some())
    }

    /// The stale response, with what the failed one was annotated with.
    pub(super) fn serve<B: Body<Data = Bytes>, E>(
        &self,
        entry: &Entry,
        failed: Option<Result<Response<B>, Error<E>>>,
    ) -> Response<ResponseBody<B>> {
        let cause = failed.as_ref().map_or(Cause::Slow, Cause::of);
        let now = self.state.now();
        let error = failed.as_ref().and_then(|failed| failed.as_ref().err());
        tracing::info!(
            target: "steadfast::last_known_good",
            upstream = error.and_then(|error| error.upstream()).unwrap_or(self.key.upstream()),
            age_s = entry.age(now).as_secs(),
            %cause,
            "served a stale response"
        );
        let mut response = entry.serve(now, cause).map(ResponseBody::stored);
        match failed {
            Some(Ok(failed)) => {
                let stale = std::mem::replace(response.extensions_mut(), failed.into_parts().0.extensions);
                response.extensions_mut().extend(stale);
            }
            Some(Err(error)) => {
                let attempts = Attempts::new(error.attempts(), error.stop_reason());
                response.extensions_mut().insert(attempts);
            }
            // The call goes on, and nobody knows yet how many attempts it will take.
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

/// What becomes of a call that has ended.
pub(super) enum Settled<B, E> {
    Now(Result<Response<ResponseBody<B>>, Error<E>>),
    /// The store has to be told first.
    Writing(Result<Response<B>, Error<E>>, BoxFuture<()>),
    /// It has failed, and the store may have something.
    Failed(Result<Response<B>, Error<E>>, CacheableCall),
}

/// The result as it is, with a body that is not storable.
pub(super) fn pass_through<B: Body<Data = Bytes>, E>(
    result: Result<Response<B>, Error<E>>,
) -> Result<Response<ResponseBody<B>>, Error<E>> {
    result.map(|response| response.map(|body| ResponseBody::fresh(body, None)))
}

impl Plan {
    /// Keeps a good answer, forgets what is gone, or serves something in place of a bad one.
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
                    // A judge is not asked about refusals.
                    Err(error) if error.is_refusal() => Outcome::transient(),
                    result => judge.classify(result.as_ref()),
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

/// What an unsafe method that has succeeded leaves of what is storable (RFC 9111 §4.4).
fn settle_unsafe<B: Body<Data = Bytes>, E>(
    state: &Arc<CacheState>,
    key: &Key,
    result: Result<Response<B>, Error<E>>,
    deadline: Deadline,
) -> Settled<B, E> {
    let write =
        result.as_ref().ok().filter(|it| rules::has_changed_something(it.status())).and_then(|response| {
            let referred = rules::refers_to(response.headers()).filter_map(|it| key.refer(it, &state.hasher));
            let keys: Vec<Key> = referred.chain([key.clone()]).collect();
            state.invalidate_uris(keys, deadline)
        });
    after_write(write, result)
}

/// The result, when whoever has to be told was.
fn after_write<B: Body<Data = Bytes>, E>(
    write: Option<BoxFuture<()>>,
    result: Result<Response<B>, Error<E>>,
) -> Settled<B, E> {
    match write {
        Some(write) => Settled::Writing(result, write),
        None => Settled::Now(pass_through(result)),
    }
}

/// What the answer is to those who will ask after it.
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
    let is_good = outcome == Outcome::Success && cacheable.may_store;
    if is_good && response.status() == StatusCode::NOT_MODIFIED {
        return after_write(freshen(&cacheable, &response, deadline), Ok(response));
    }
    let storable = is_good.then(|| storable_head(&cacheable, &response)).flatten();
    // It is taken back, or its new state may not be storable: then the old one is not good any more.
    let is_replaced = is_good && response.status().is_success() && storable.is_none();
    if is_replaced || rules::revokes(response.status()) {
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
        // Nobody needs to read a body that is not there.
        return after_write(recorder.and_then(Recorder::store), Ok(response));
    }
    Settled::Now(Ok(response.map(|body| ResponseBody::fresh(body, recorder))))
}

/// What there is for a good response, and the head that is to be storable of it. `None` if it may not be storable.
fn storable_head<B>(cacheable: &CacheableCall, response: &Response<B>) -> Option<(Found, NextHead)> {
    let headers = &cacheable.headers;
    let found = cacheable.state.memory.find(&cacheable.key, |entry| entry.head().vary.matches(headers));
    let head = match found.entry.as_ref().map(|entry| entry.head()).filter(|it| it.is_of(response, headers)) {
        Some(same) => NextHead::Same(Arc::clone(same)),
        None => NextHead::New(Box::new(cacheable.draft(response)?)),
    };
    Some((found, head))
}

/// A 304 says that the response which it is about is still good (RFC 9111 §4.3.4), with what it says anew.
fn freshen<B>(
    cacheable: &CacheableCall,
    not_modified: &Response<B>,
    deadline: Deadline,
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
