//! Whether a call that has been answered with a kept response may go on behind.

use std::collections::HashSet;
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{Response, StatusCode};
use http_body::Body;
use http_body_util::BodyExt as _;
use pin_project::pin_project;
use tokio::time::{Instant, timeout_at};
use tracing::Instrument as _;

use super::behind::Until;
use super::key::Key;
use super::layer::Config;
use super::plan::{Answering, Plan};
use super::{ResponseBody, ResponseFuture};
use crate::message::sealed::Sealed;
use crate::{BoxError, Classify, Error};

/// How a call is made, and what becomes of one that is slow. Implemented by [`Foreground`] and [`Background`] only.
pub trait Mode<F: Future, C>: Sealed + Sized {
    /// The call.
    type Call: Future<Output = F::Output>;

    /// Begins it. `may_go_on` if it may be answered, and be kept, without its caller.
    #[doc(hidden)]
    fn begin(&self, call: F, may_go_on: bool) -> Self::Call;

    /// After how long a kept response is served in its place.
    #[doc(hidden)]
    fn soft_limit(&self) -> Option<Duration>;

    /// The caller has been answered. What comes of the call is for the fallback alone.
    #[doc(hidden)]
    fn go_on(&self, call: Pin<&mut Self::Call>, behind: Behind<C, Self>);
}

/// A call that goes on behind.
#[doc(hidden)]
#[allow(missing_debug_implementations)]
pub struct Behind<C, M> {
    pub(super) answering: Answering,
    /// When it has to end.
    pub(super) until: Until,
    pub(super) config: Arc<Config<C, M>>,
}

/// Every call is its caller's: nothing is spawned. The default.
#[derive(Debug, Clone, Copy, Default)]
pub struct Foreground;

impl Sealed for Foreground {}

impl<F: Future, C> Mode<F, C> for Foreground {
    type Call = F;

    #[inline]
    fn begin(&self, call: F, _may_go_on: bool) -> F {
        call
    }

    fn soft_limit(&self) -> Option<Duration> {
        None
    }

    fn go_on(&self, _call: Pin<&mut F>, _behind: Behind<C, Self>) {}
}

/// A call may go on behind its caller's back, in a task of its own. `W` says whether URIs are kept warm, too.
#[derive(Debug, Clone)]
pub struct Background<W = Unwarmed> {
    soft_limit: Option<Duration>,
    refreshes: Refreshes,
    warm: W,
}

/// No URI is kept warm.
#[derive(Debug, Clone, Copy, Default)]
pub struct Unwarmed;

impl<W> Background<W> {
    pub(super) fn new(warm: W) -> Self {
        Self { soft_limit: None, refreshes: Refreshes::new(64), warm }
    }

    pub(super) fn soft_limit(self, limit: Duration) -> Self {
        Self { soft_limit: Some(limit), ..self }
    }

    pub(super) fn max_refreshes(self, max: usize) -> Self {
        Self { refreshes: Refreshes::new(max), ..self }
    }

    pub(super) fn warmed_by<V>(self, warm: V) -> Background<V> {
        Background { soft_limit: self.soft_limit, refreshes: self.refreshes, warm }
    }

    pub(super) const fn warm(&self) -> &W {
        &self.warm
    }
}

impl<W> Sealed for Background<W> {}

impl<F, C, W, B, E> Mode<F, C> for Background<W>
where
    W: Send + Sync + 'static,
    F: Future<Output = Result<Response<B>, Error<E>>> + Send + 'static,
    C: Classify<Response<B>, E> + Send + Sync + 'static,
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
    E: Send + 'static,
{
    type Call = Movable<F>;

    fn begin(&self, call: F, may_go_on: bool) -> Movable<F> {
        if may_go_on && self.soft_limit.is_some() {
            Movable::Apart(Some(Box::pin(call)))
        } else {
            Movable::Here(call)
        }
    }

    fn soft_limit(&self) -> Option<Duration> {
        self.soft_limit
    }

    fn go_on(&self, call: Pin<&mut Movable<F>>, behind: Behind<C, Self>) {
        let Some(call) = call.take().filter(|_| behind.answering.keeps()) else { return };
        let Some(place) = self.refreshes.begin(behind.answering.key()) else { return };
        let plan = Plan::Answer(behind.answering).unserved();
        let call = ResponseFuture::<F, C, Self>::of_begun(Movable::Apart(Some(call)), plan, behind.config);
        let goes_on = async move {
            let _over = renew(call, behind.until).await;
            drop(place);
        };
        // What it logs belongs to the call that began it.
        tokio::spawn(goes_on.in_current_span());
    }
}

/// How long a call that nobody waits for may take, where it has no end of its own.
const LONGEST: Duration = Duration::from_secs(60);

/// Makes a call that nobody waits for but the fallback, and reads its response. Its status, if it has one in time.
pub(super) async fn renew<F, B, E>(call: F, until: Until) -> Option<StatusCode>
where
    F: Future<Output = Result<Response<ResponseBody<B>>, Error<E>>>,
    B: Body<Data = Bytes>,
    B::Error: Into<BoxError>,
{
    let end = until.unwrap_or_else(|| Instant::now() + LONGEST);
    let renewed = timeout_at(end, async {
        let response = call.await.ok()?;
        let status = response.status();
        let mut body = pin!(response.into_body());
        // What would not be kept need not be read.
        while body.is_kept() && matches!(body.frame().await, Some(Ok(_))) {}
        Some(status)
    });
    renewed.await.ok().flatten()
}

/// A call that can be taken away from where it was begun.
#[pin_project(project = MovableProj)]
#[derive(Debug)]
pub enum Movable<F> {
    /// It cannot, after all.
    Here(#[pin] F),
    /// `None` once it was.
    Apart(Option<Pin<Box<F>>>),
}

impl<F> Movable<F> {
    fn take(self: Pin<&mut Self>) -> Option<Pin<Box<F>>> {
        match self.project() {
            MovableProj::Here(_) => None,
            MovableProj::Apart(call) => call.take(),
        }
    }
}

impl<F: Future> Future for Movable<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        match self.project() {
            MovableProj::Here(call) => call.poll(cx),
            MovableProj::Apart(Some(call)) => call.as_mut().poll(cx),
            MovableProj::Apart(None) => Poll::Pending,
        }
    }
}

/// The calls that go on: so many at a time, and one for each key.
#[derive(Debug, Clone)]
struct Refreshes {
    keys: Arc<Mutex<HashSet<Key>>>,
    max: usize,
}

/// The place of one of them, until it is dropped.
struct Place {
    refreshes: Refreshes,
    key: Key,
}

impl Refreshes {
    fn new(max: usize) -> Self {
        Self { keys: Arc::default(), max }
    }

    fn begin(&self, key: &Key) -> Option<Place> {
        let mut keys = self.keys();
        (keys.len() < self.max && keys.insert(key.clone()))
            .then(|| Place { refreshes: self.clone(), key: key.clone() })
    }

    fn keys(&self) -> std::sync::MutexGuard<'_, HashSet<Key>> {
        self.keys.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.refreshes.keys().remove(&self.key);
    }
}
