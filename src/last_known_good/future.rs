use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::Response;
use http_body::Body;
use pin_project::pin_project;
use tokio::time::Instant;

use super::entry::{Cause, Entry, Head};
use super::keeper::Keeper;
use super::key::Key;
use super::policy::{self, Part, RequestHeaders};
use super::store::Found;
use super::{LastKnownGoodLayer, MemoryStore, ResponseBody};
use crate::attempts::Attempts;
use crate::http::HttpRequest;
use crate::poll::listen_attempts;
use crate::{BoxError, Classify, Error, HasOptions, Outcome};

/// The future of [`LastKnownGood`](super::LastKnownGood).
///
/// Cancel safe: it holds nothing but the call itself.
#[pin_project]
pub struct ResponseFuture<F, C> {
    #[pin]
    future: F,
    plan: Plan,
    shared: Arc<LastKnownGoodLayer<C>>,
}

/// What is to be done when the call has ended.
pub(super) enum Plan {
    Nothing,
    Invalidate(Key),
    Fallback(Fallback),
}

pub(super) struct Fallback {
    key: Key,
    /// That of the key in the store when the call began.
    version: u64,
    headers: RequestHeaders,
    keep: bool,
    serve: bool,
}

/// The URI that a stored response was asked for by, in its extensions.
#[derive(Debug, Clone)]
#[cfg_attr(not(feature = "reqwest"), allow(dead_code))]
pub(crate) struct RequestUri(pub(crate) Arc<str>);

impl Plan {
    pub(super) fn new(request: &(impl HttpRequest + HasOptions), store: &MemoryStore) -> Self {
        let part = policy::part(request.method(), request.headers(), request.has_body());
        match part {
            Part::Nothing => Self::Nothing,
            Part::Invalidate => Self::Invalidate(store.key(request)),
            Part::Full | Part::ServeOnly => {
                let key = store.key(request);
                Self::Fallback(Fallback {
                    version: store.version(&key),
                    key,
                    headers: RequestHeaders::new(request.headers()),
                    keep: part == Part::Full,
                    serve: request.options().allows_fallback(),
                })
            }
        }
    }
}

impl<F, C> ResponseFuture<F, C> {
    pub(super) fn new(future: F, plan: Plan, shared: Arc<LastKnownGoodLayer<C>>) -> Self {
        Self { future, plan, shared }
    }
}

impl<F, C, B, E> Future for ResponseFuture<F, C>
where
    F: Future<Output = Result<Response<B>, Error<E>>>,
    C: Classify<Response<B>, E>,
    B: Body<Data = Bytes>,
    B::Error: Into<BoxError>,
{
    type Output = Result<Response<ResponseBody<B>>, Error<E>>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let listening = listen_attempts();
        let result = ready!(this.future.poll(cx));
        let attempts = listening.heard();
        Poll::Ready(match std::mem::replace(this.plan, Plan::Nothing) {
            Plan::Nothing => hand_on(result),
            Plan::Invalidate(key) => {
                if result.as_ref().is_ok_and(|it| it.status().is_success() || it.status().is_redirection()) {
                    this.shared.forget(&key);
                }
                hand_on(result)
            }
            Plan::Fallback(fallback) => this.shared.settle(fallback, result, attempts),
        })
    }
}

/// The result as it is, with a body that is not kept.
fn hand_on<B: Body<Data = Bytes>, E>(
    result: Result<Response<B>, Error<E>>,
) -> Result<Response<ResponseBody<B>>, Error<E>> {
    result.map(|response| response.map(|body| ResponseBody::fresh(body, None)))
}

impl<C> LastKnownGoodLayer<C> {
    /// Keeps a good answer, forgets one that is gone, or replaces a bad one.
    fn settle<B, E>(
        &self,
        fallback: Fallback,
        result: Result<Response<B>, Error<E>>,
        attempts: Option<Attempts>,
    ) -> Result<Response<ResponseBody<B>>, Error<E>>
    where
        C: Classify<Response<B>, E>,
        B: Body<Data = Bytes>,
    {
        let outcome = match &result {
            // The classifier is not asked about refusals.
            Err(error) if error.is_refusal() => Outcome::transient(),
            result => self.classifier.classify(result.as_ref()),
        };
        if outcome.is_fault() && fallback.serve {
            let now = Instant::now();
            if let Some(entry) = self.find(&fallback, now) {
                return Ok(serve(&fallback.key, &entry, now, result, attempts));
            }
        }
        result.map(|response| {
            let good = outcome == Outcome::Success;
            let kept = (good && fallback.keep).then(|| self.judge(&fallback, &response)).flatten();
            // The thing is gone, or its new state may not be kept: then the old one is not good any more.
            let replaced = good && response.status().is_success() && fallback.keep && kept.is_none();
            if replaced || policy::is_gone(response.status()) {
                self.forget(&fallback.key);
            }
            let keeper = kept.zip(self.store.clone()).map(|((found, head), store)| {
                Keeper::new(store, fallback.key, fallback.version, found, head, self.max_entry_bytes)
            });
            response.map(|body| ResponseBody::fresh(body, keeper))
        })
    }

    /// What there is for a good response, and the head that is to be kept of it: the same one, if it is the same.
    /// `None` if it may not be kept.
    fn judge<B>(&self, fallback: &Fallback, response: &Response<B>) -> Option<(Found, Arc<Head>)> {
        let found = self.store.as_ref()?.find(&fallback.key);
        let same = |entry: &&Arc<Entry>| entry.has_head_of(response, &fallback.headers, self.max_age);
        let head = match found.entry.as_ref().filter(same) {
            Some(same) => Arc::clone(same.head()),
            None => Arc::new(Head::new(response, &fallback.headers, self.max_age)?),
        };
        Some((found, head))
    }

    /// The entry that answers the request, if it is young enough.
    fn find(&self, fallback: &Fallback, now: Instant) -> Option<Arc<Entry>> {
        let found = self.store.as_ref()?.find(&fallback.key);
        found.entry.filter(|entry| !entry.is_too_old(now) && entry.answers(&fallback.headers))
    }

    /// Forgets what is kept for a URI.
    fn forget(&self, key: &Key) {
        if let Some(store) = &self.store {
            store.remove(key);
        }
    }
}

/// The stored response, with what the failed one was annotated with.
fn serve<B: Body<Data = Bytes>, E>(
    key: &Key,
    entry: &Entry,
    now: Instant,
    failed: Result<Response<B>, Error<E>>,
    attempts: Option<Attempts>,
) -> Response<ResponseBody<B>> {
    let cause = Cause::of(&failed);
    tracing::info!(
        target: "steadfast::last_known_good",
        age_s = entry.age(now).as_secs(),
        %cause,
        "served a stored response"
    );
    let mut response = entry.serve(now, cause).map(ResponseBody::stored);
    if let Ok(failed) = failed {
        let stale = std::mem::replace(response.extensions_mut(), failed.into_parts().0.extensions);
        response.extensions_mut().extend(stale);
    }
    if let Some(attempts) = attempts {
        response.extensions_mut().insert(attempts);
    }
    response.extensions_mut().insert(RequestUri(key.uri().into()));
    response
}

impl<F, C> fmt::Debug for ResponseFuture<F, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("last_known_good::ResponseFuture").finish_non_exhaustive()
    }
}
