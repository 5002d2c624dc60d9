//! Calls that go on after their callers were answered with a stale response, so that the next caller has a fresh one.

use std::collections::HashSet;
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::Response;
use http_body::Body;
use http_body_util::BodyExt as _;
use pin_project::pin_project;
use tokio::time::{Instant, timeout_at};
use tracing::Instrument as _;

use super::{ResponseBody, ResponseFuture};
use crate::last_known_good::plan::{Answering, Plan};
use crate::last_known_good::policy::key::Key;
use crate::{BoxError, Error, Judge};

/// A call that can leave its caller, if it may outlive it.
#[pin_project(project = CallProj)]
#[derive(Debug)]
pub(super) enum Call<F> {
    /// The call is its caller's.
    Inline(#[pin] F),
    /// `None` once it has left.
    Boxed(Option<Pin<Box<F>>>),
}

impl<F> Call<F> {
    /// `may_go_on` if the caller may be answered before the call has ended.
    pub(super) fn new(call: F, may_go_on: bool) -> Self {
        if may_go_on { Self::Boxed(Some(Box::pin(call))) } else { Self::Inline(call) }
    }

    pub(super) fn take(self: Pin<&mut Self>) -> Option<Pin<Box<F>>> {
        match self.project() {
            CallProj::Inline(_) => None,
            CallProj::Boxed(call) => call.take(),
        }
    }
}

impl<F: Future> Future for Call<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        match self.project() {
            CallProj::Inline(call) => call.poll(cx),
            CallProj::Boxed(Some(call)) => call.as_mut().poll(cx),
            CallProj::Boxed(None) => Poll::Pending,
        }
    }
}

/// Lets a call go on in a task of its own, for the cache alone. It is dropped if nothing can come of it, if another call for
/// its key goes on already, or if too many do.
pub(super) fn go_on<F, J, B, E>(call: Pin<Box<F>>, answering: Answering, judge: J)
where
    F: Future<Output = Result<Response<B>, Error<E>>> + Send + 'static,
    J: Judge<Response<B>, E> + Send + 'static,
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
    E: 'static,
{
    /// How long a call that nobody waits for may take, where it has no end of its own.
    const LONGEST: Duration = Duration::from_secs(60);
    if !answering.keeps() {
        return;
    }
    let shared = answering.shared();
    let Some(slot) = shared.refreshes.begin(answering.key(), shared.max_refreshes()) else { return };
    let end = answering.until().unwrap_or_else(|| Instant::now() + LONGEST);
    let plan = Plan::Answer(answering).unserved();
    let call = ResponseFuture::of_begun(Call::Boxed(Some(call)), plan, judge);
    let goes_on = async move {
        let _over = timeout_at(end, read(call)).await;
        drop(slot);
    };
    // The events of the refresh belong to the span of the call that began it.
    tokio::spawn(goes_on.in_current_span());
}

/// Reads a response for as long as something of it may be kept.
async fn read<F, B, E>(call: F)
where
    F: Future<Output = Result<Response<ResponseBody<B>>, Error<E>>>,
    B: Body<Data = Bytes>,
    B::Error: Into<BoxError>,
{
    let Ok(response) = call.await else { return };
    let mut body = pin!(response.into_body());
    while body.is_kept() && matches!(body.frame().await, Some(Ok(_))) {}
}

/// The keys whose calls go on.
#[derive(Debug, Clone, Default)]
pub(super) struct Refreshes(Arc<Mutex<HashSet<Key>>>);

/// The place of one of them, until it is dropped.
struct RefreshSlot {
    refreshes: Refreshes,
    key: Key,
}

impl Refreshes {
    /// A place for a key that has none, while there are fewer than `max`.
    fn begin(&self, key: &Key, max: usize) -> Option<RefreshSlot> {
        let mut keys = self.keys();
        (keys.len() < max && keys.insert(key.clone()))
            .then(|| RefreshSlot { refreshes: self.clone(), key: key.clone() })
    }

    fn keys(&self) -> MutexGuard<'_, HashSet<Key>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for RefreshSlot {
    fn drop(&mut self) {
        self.refreshes.keys().remove(&self.key);
    }
}
