//! What is to be done with a call's answer: decided when the call begins, and done when it has ended.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Response, StatusCode};
use http_body::Body;
use tokio::time::Instant;

use super::{LastKnownGood, ResponseBody};
use crate::http::HttpRequest;
use crate::last_known_good::entry::head::{Draft, NextHead};
use crate::last_known_good::entry::unix_nanos::UnixNanos;
use crate::last_known_good::entry::{Entry, Times};
use crate::last_known_good::memory::cache::Found;
use crate::last_known_good::policy::key::Key;
use crate::last_known_good::policy::rules::{self, Limits, Role};
use crate::last_known_good::policy::vary::RequestHeaders;
use crate::last_known_good::record::capture::BodyCapture;
use crate::last_known_good::record::recorder::Recorder;
use crate::last_known_good::shared::Shared;
use crate::last_known_good::tier::bounded_store::{BoxFuture, Until};
use crate::stale::Cause;
use crate::stop_reason::Attempts;
use crate::{Error, HasCallOptions, Judge, Outcome};

/// What is to be done when the call has ended.
pub(super) enum Plan {
    Nothing,
    /// The end of the call is that of the wait for a store, too.
    Invalidate(Arc<Shared>, Key, Until),
    Answer(Answering),
}

/// A call that may be answered with a kept response, and whose own may be kept.
pub(super) struct Answering {
    shared: Arc<Shared>,
    key: Key,
    /// That of the key when the call began.
    version: u64,
    began: Instant,
    headers: RequestHeaders,
    /// Boxed, since hardly any request has some.
    limits: Option<Box<Limits>>,
    keeps: bool,
    serves: bool,
    /// After how long a stale response is served in place of an answer.
    soft_limit: Option<Duration>,
    /// The end of the call.
    until: Until,
    is_checked_below: bool,
}

/// The URI that a kept response was asked for by, in its extensions.
#[derive(Debug, Clone)]
#[cfg_attr(not(feature = "reqwest"), allow(dead_code))]
pub(crate) struct RequestUri(pub(crate) Arc<str>);

impl Plan {
    pub(super) fn new(
        request: &(impl HttpRequest + HasCallOptions),
        last_known_good: &LastKnownGood,
    ) -> Self {
        let LastKnownGood(shared) = last_known_good;
        match rules::role(request) {
            Role::Nothing => Self::Nothing,
            Role::Invalidate => {
                let until = request.options().get_deadline();
                Self::Invalidate(Arc::clone(shared), shared.key(request), until)
            }
            Role::Answer { keep, limits } => {
                let (key, options) = (shared.key(request), request.options());
                Self::Answer(Answering {
                    shared: Arc::clone(shared),
                    version: shared.memory.version(&key),
                    headers: shared.headers(request, &key),
                    key,
                    began: Instant::now(),
                    limits: (limits != Limits::default()).then(|| Box::new(limits)),
                    keeps: keep,
                    serves: options.allows_last_known_good(),
                    soft_limit: shared.soft_limit(),
                    until: options.get_deadline(),
                    is_checked_below: options.unchecked_deadline().is_none(),
                })
            }
        }
    }

    /// Whether the call may go on after its caller was answered.
    pub(super) const fn may_go_on(&self) -> bool {
        matches!(self, Self::Answer(Answering { serves: true, soft_limit: Some(_), .. }))
    }

    /// The same call, for the cache alone.
    pub(super) fn unserved(self) -> Self {
        match self {
            Self::Answer(answering) => Self::Answer(Answering { serves: false, ..answering }),
            other => other,
        }
    }

    pub(super) fn take(&mut self) -> Self {
        std::mem::replace(self, Self::Nothing)
    }
}

impl Answering {
    pub(super) const fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    pub(super) const fn key(&self) -> &Key {
        &self.key
    }

    pub(super) const fn began(&self) -> Instant {
        self.began
    }

    /// Whether a stale response may answer the call.
    pub(super) const fn serves(&self) -> bool {
        self.serves
    }

    pub(super) const fn soft_limit(&self) -> Option<Duration> {
        self.soft_limit
    }

    /// The end of the call.
    pub(super) const fn until(&self) -> Until {
        self.until
    }

    /// The end of the call, where no layer below is known to check it.
    pub(super) fn unchecked_deadline(&self) -> Until {
        self.until.filter(|_| !self.is_checked_below)
    }

    /// Whether anything can come of the call for those after it.
    pub(super) const fn keeps(&self) -> bool {
        self.keeps
    }

    /// The newest response in memory that answers the call.
    pub(super) fn find(&self) -> Option<Arc<Entry>> {
        let (now, limits) = (self.shared.now(), self.limits());
        self.shared.memory.find(&self.key, |entry| entry.answers(&self.headers, &limits, now)).entry
    }

    /// Brings what the store knows into memory.
    pub(super) fn look_up(&self) -> BoxFuture<()> {
        self.shared.look_up(self.key.clone(), self.until)
    }

    /// Whether the store may know of a response that answers the call better than this one does.
    pub(super) fn may_learn(&self, entry: Option<&Arc<Entry>>) -> bool {
        self.shared.may_learn(&self.key, entry)
    }

    fn draft<B>(&self, response: &Response<B>) -> Option<Draft> {
        Draft::new(response, &self.headers, &self.shared.rules(), self.key.partition().is_some())
    }

    /// The stale response, with what the failed one was annotated with.
    pub(super) fn serve<B: Body<Data = Bytes>, E>(
        &self,
        entry: &Entry,
        failed: Option<Result<Response<B>, Error<E>>>,
    ) -> Response<ResponseBody<B>> {
        let cause = failed.as_ref().map_or(Cause::Slow, Cause::of);
        let now = self.shared.now();
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
        let asked = UnixNanos::new(self.shared.clock.at(self.began));
        Times::of(response.headers(), asked, self.shared.now())
    }
}

/// What becomes of a call that has ended.
pub(super) enum Settled<B, E> {
    Now(Result<Response<ResponseBody<B>>, Error<E>>),
    /// The store has to be told first.
    Telling(Result<Response<B>, Error<E>>, BoxFuture<()>),
    /// It has failed, and the store may have something.
    Failed(Result<Response<B>, Error<E>>, Answering),
}

/// The result as it is, with a body that is not kept.
pub(super) fn hand_on<B: Body<Data = Bytes>, E>(
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
            Self::Nothing => Settled::Now(hand_on(result)),
            Self::Invalidate(shared, key, until) => invalidate(&shared, &key, result, until),
            Self::Answer(answering) => {
                let outcome = match &result {
                    // A judge is not asked about refusals.
                    Err(error) if error.is_refusal() => Outcome::transient(),
                    result => judge.classify(result.as_ref()),
                };
                let is_unanswered = outcome.is_fault() || outcome == Outcome::NotProcessed;
                let falls_back = || answering.shared.falls_back_on(Cause::of(&result));
                if is_unanswered && answering.serves && falls_back() {
                    let entry = answering.find();
                    if answering.may_learn(entry.as_ref()) {
                        return Settled::Failed(result, answering);
                    }
                    if let Some(entry) = entry {
                        return Settled::Now(Ok(answering.serve(&entry, Some(result))));
                    }
                }
                conclude(answering, outcome, result)
            }
        }
    }
}

/// What an unsafe method that has succeeded leaves of what is kept (RFC 9111 §4.4).
fn invalidate<B: Body<Data = Bytes>, E>(
    shared: &Arc<Shared>,
    key: &Key,
    result: Result<Response<B>, Error<E>>,
    until: Until,
) -> Settled<B, E> {
    let telling =
        result.as_ref().ok().filter(|it| rules::has_changed_something(it.status())).and_then(|response| {
            let referred =
                rules::refers_to(response.headers()).filter_map(|it| key.refer(it, &shared.hasher));
            let keys: Vec<Key> = referred.chain([key.clone()]).collect();
            shared.forget_uris(keys, until)
        });
    after(telling, result)
}

/// The result, when whoever has to be told was.
fn after<B: Body<Data = Bytes>, E>(
    telling: Option<BoxFuture<()>>,
    result: Result<Response<B>, Error<E>>,
) -> Settled<B, E> {
    match telling {
        Some(telling) => Settled::Telling(result, telling),
        None => Settled::Now(hand_on(result)),
    }
}

/// What the answer is to those who will ask after it.
fn conclude<B: Body<Data = Bytes>, E>(
    answering: Answering,
    outcome: Outcome,
    result: Result<Response<B>, Error<E>>,
) -> Settled<B, E> {
    let until = answering.until;
    let response = match result {
        Ok(response) => response,
        Err(error) => return Settled::Now(Err(error)),
    };
    let is_good = outcome == Outcome::Success && answering.keeps;
    if is_good && response.status() == StatusCode::NOT_MODIFIED {
        return after(freshen(&answering, &response, until), Ok(response));
    }
    let kept = is_good.then(|| judge(&answering, &response)).flatten();
    // It is taken back, or its new state may not be kept: then the old one is not good any more.
    let is_replaced = is_good && response.status().is_success() && kept.is_none();
    if is_replaced || rules::takes_back(response.status()) {
        return after(answering.shared.forget(&answering.key, until), Ok(response));
    }
    let has_length = response.body().size_hint().exact().is_some();
    if rules::ends_with_connection(response.version(), response.headers(), has_length) {
        return Settled::Now(hand_on(Ok(response)));
    }
    let recorder = kept.map(|(found, head)| {
        let times = answering.times(&response);
        let Answering { shared, key, version, .. } = answering;
        Recorder { shared, key, version, found, head, times, capture: BodyCapture::default(), until }
    });
    if response.body().is_end_stream() {
        // Nobody needs to read a body that is not there.
        return after(recorder.and_then(Recorder::keep), Ok(response));
    }
    Settled::Now(Ok(response.map(|body| ResponseBody::fresh(body, recorder))))
}

/// What there is for a good response, and the head that is to be kept of it. `None` if it may not be kept.
fn judge<B>(answering: &Answering, response: &Response<B>) -> Option<(Found, NextHead)> {
    let headers = &answering.headers;
    let found = answering.shared.memory.find(&answering.key, |entry| entry.head().vary.matches(headers));
    let head = match found.entry.as_ref().map(|entry| entry.head()).filter(|it| it.is_of(response, headers)) {
        Some(same) => NextHead::Same(Arc::clone(same)),
        None => NextHead::New(Box::new(answering.draft(response)?)),
    };
    Some((found, head))
}

/// A 304 says that the response which it is about is still good (RFC 9111 §4.3.4), with what it says anew.
fn freshen<B>(answering: &Answering, not_modified: &Response<B>, until: Until) -> Option<BoxFuture<()>> {
    let Answering { shared, key, version, headers, .. } = answering;
    let found = shared.memory.find(key, |entry| {
        entry.head().vary.matches(headers)
            && rules::revalidates(not_modified.headers(), &entry.head().headers)
    });
    let before = found.entry.as_ref()?;
    let times = answering.times(not_modified);
    let updated = before.head().updated(not_modified.headers());
    let entry = if before.head().is_of(&updated, headers) {
        Arc::clone(before)
    } else {
        match answering.draft(&updated) {
            Some(draft) => Arc::new(before.with_head(draft.into_head(), times)),
            None => return shared.forget(key, until),
        }
    };
    let kept = shared.memory.keep(key, *version, &found, &entry, times);
    kept.then(|| shared.tell_store(key, &entry, until)).flatten()
}
