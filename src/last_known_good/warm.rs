//! URIs that are fetched again from time to time, so that there is something to fall back on when they are needed.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, RwLock, RwLockReadGuard, RwLockWriteGuard, Weak};
use std::time::Duration;

use bytes::Bytes;
use http::{Response, StatusCode};
use http_body::Body;
use rand::RngExt as _;
use tokio::runtime::Handle;
use tokio::task::AbortHandle;
use tokio::time::sleep;
use tower::{Service, ServiceExt as _};

use super::Fallback;
use super::ResponseFuture;
use super::key::Key;
use super::layer::Config;
use super::mode::{Background, Foreground, renew};
use super::moment::Moment;
use super::plan::Plan;
use super::rules::takes_back;
use super::shared::Shared;
use crate::error::MAX_DURATION;
use crate::http::HttpRequest;
use crate::message::sealed::Sealed;
use crate::rng::SharedRng;
use crate::{BoxError, Classify, ConfigError, Error, HasOptions, Options, Resendable};

/// Fetches URIs again from time to time, in the background, while the upstream is well.
///
/// A URI is registered when it is first called, if its response may be kept and the call has no credentials, and is
/// fetched again with the headers of that call. A fetch that fails doubles the wait for the next, up to 16 times, so that
/// an upstream that is down is asked next to nothing; one that a caller has made unnecessary is left out.
///
/// **This spawns** a tokio task for each URI. They all end when the last clone of the handle is dropped.
///
/// ```
/// use std::time::Duration;
/// use steadfast::Client;
/// use steadfast::last_known_good::{Fallback, KeepWarm, LastKnownGoodLayer};
///
/// let warm = KeepWarm::builder().every(Duration::from_secs(30)).max_uris(20).build()?;
/// let layer = LastKnownGoodLayer::new(Fallback::default()).keep_warm(&warm);
/// let client = Client::builder().last_known_good(layer).build()?;
/// assert_eq!(warm.uris().len(), 0); // nothing has been called yet
/// # Ok::<(), steadfast::ConfigError>(())
/// ```
#[derive(Clone)]
pub struct KeepWarm(Arc<Registry>);

struct Registry {
    every: Duration,
    max_uris: usize,
    rng: SharedRng,
    tasks: RwLock<HashMap<Key, Task>>,
}

/// Ends with the handle.
struct Task(AbortHandle);

impl Drop for Task {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl KeepWarm {
    /// A builder that starts from the defaults.
    pub const fn builder() -> KeepWarmBuilder {
        KeepWarmBuilder { every: Duration::from_secs(60), max_uris: 100, seed: None }
    }

    /// The URIs that are kept warm, in no particular order.
    pub fn uris(&self) -> Vec<String> {
        self.0.read().keys().map(|key| key.uri().to_owned()).collect()
    }

    pub(super) fn downgrade(&self) -> Warmed {
        Warmed(Arc::downgrade(&self.0))
    }
}

impl Registry {
    fn read(&self) -> RwLockReadGuard<'_, HashMap<Key, Task>> {
        self.tasks.read().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, HashMap<Key, Task>> {
        self.tasks.write().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    fn is_full_or_has(&self, key: &Key) -> bool {
        let tasks = self.read();
        tasks.len() >= self.max_uris || tasks.contains_key(key)
    }

    /// The next wait: a fifth more or less, so that what was registered together is not fetched together.
    fn jittered(&self, wait: Duration) -> Duration {
        wait.mul_f64(self.rng.with(|rng| rng.random_range(0.8..1.2)))
    }
}

impl fmt::Debug for KeepWarm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeepWarm")
            .field("every", &self.0.every)
            .field("max_uris", &self.0.max_uris)
            .field("uris", &self.0.read().len())
            .finish()
    }
}

/// URIs are kept warm, as long as there is a handle.
#[derive(Debug, Clone, Default)]
pub struct Warmed(Weak<Registry>);

impl fmt::Debug for Registry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Registry")
    }
}

/// Configures a [`KeepWarm`].
#[derive(Debug, Clone, Copy)]
#[must_use = "nothing is kept warm before `build`"]
pub struct KeepWarmBuilder {
    every: Duration,
    max_uris: usize,
    seed: Option<u64>,
}

impl KeepWarmBuilder {
    /// How often a URI is fetched again, a fifth more or less: 1 s to a year. Default: a minute.
    pub const fn every(mut self, time: Duration) -> Self {
        self.every = time;
        self
    }

    /// How many URIs are kept warm at most, 1 to 10,000: those that are called first. Default 100.
    pub const fn max_uris(mut self, uris: usize) -> Self {
        self.max_uris = uris;
        self
    }

    /// Draws the jitter from this seed, so that a test can be replayed.
    pub const fn seed(mut self, seed: u64) -> Self {
        self.seed = Some(seed);
        self
    }

    /// The handle, to be given to [layers](super::LastKnownGoodLayer::keep_warm).
    pub fn build(self) -> Result<KeepWarm, ConfigError> {
        let every = ConfigError::check("keep_warm.every", self.every, Duration::from_secs(1)..=MAX_DURATION)?;
        let max_uris = ConfigError::check("keep_warm.max_uris", self.max_uris, 1..=10_000)?;
        let rng = SharedRng::new(self.seed);
        Ok(KeepWarm(Arc::new(Registry { every, max_uris, rng, tasks: RwLock::default() })))
    }
}

// ===== Registration =====

/// Whether what is called is called again, in the background. Implemented by [`Foreground`] and [`Background`] only.
pub trait Warming<S, Req, C>: Sealed + Sized {
    /// A call is about to be made.
    #[doc(hidden)]
    fn register(&self, inner: &S, request: &Req, planned: Planned<'_, C, Self>);
}

/// What is to be done with the call.
#[doc(hidden)]
#[allow(missing_debug_implementations)]
pub struct Planned<'a, C, M> {
    pub(super) plan: &'a Plan,
    pub(super) config: &'a Arc<Config<C, M>>,
}

impl<S, Req, C> Warming<S, Req, C> for Foreground {
    #[inline]
    fn register(&self, _inner: &S, _request: &Req, _planned: Planned<'_, C, Self>) {}
}

impl<S, Req, C> Warming<S, Req, C> for Background {
    #[inline]
    fn register(&self, _inner: &S, _request: &Req, _planned: Planned<'_, C, Self>) {}
}

impl<S, Req, C, B, E> Warming<S, Req, C> for Background<Warmed>
where
    S: Service<Req, Response = Response<B>, Error = Error<E>> + Clone + Send + Sync + 'static,
    S::Future: Send + 'static,
    Req: HttpRequest + HasOptions + Resendable + Send + Sync + 'static,
    C: Classify<Response<B>, E> + Send + Sync + 'static,
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
    E: Send + 'static,
{
    fn register(&self, inner: &S, request: &Req, planned: Planned<'_, C, Self>) {
        let Some(warm) = self.warm().0.upgrade() else { return };
        let (Some(key), Some(fallback)) = (planned.plan.is_for_everybody(), &planned.config.fallback) else {
            return;
        };
        if warm.is_full_or_has(key) {
            return;
        }
        let (Some(request), Ok(runtime)) = (request.try_clone(), Handle::try_current()) else { return };
        let fetcher = Fetcher {
            inner: inner.clone(),
            request,
            key: key.clone(),
            fallback: fallback.clone(),
            config: Arc::clone(planned.config),
        };
        let mut tasks = warm.write();
        if tasks.len() < warm.max_uris && !tasks.contains_key(key) {
            let task = runtime.spawn(fetcher.keep_warm(Arc::downgrade(&warm), warm.every));
            tasks.insert(key.clone(), Task(task.abort_handle()));
        }
    }
}

/// Fetches one URI again and again.
struct Fetcher<S, Req, C> {
    inner: S,
    request: Req,
    key: Key,
    fallback: Fallback,
    config: Arc<Config<C, Background<Warmed>>>,
}

/// The place of a URI, until its task ends: whoever calls it next registers it anew.
struct Registered {
    warm: Weak<Registry>,
    key: Key,
}

impl Drop for Registered {
    fn drop(&mut self) {
        if let Some(warm) = self.warm.upgrade() {
            let task = warm.write().remove(&self.key);
            drop(task);
        }
    }
}

/// What came of a fetch.
enum Fetched {
    Kept,
    /// It is good, or taken back, and nothing is kept of it: there is nothing to keep warm.
    NothingToKeep,
    Failed,
}

impl<S, Req, C, B, E> Fetcher<S, Req, C>
where
    S: Service<Req, Response = Response<B>, Error = Error<E>> + Clone + Send + Sync + 'static,
    S::Future: Send + 'static,
    Req: HttpRequest + HasOptions + Resendable + Send + Sync + 'static,
    C: Classify<Response<B>, E> + Send + Sync + 'static,
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
    E: Send + 'static,
{
    async fn keep_warm(self, warm: Weak<Registry>, every: Duration) {
        const LONGEST: u32 = 16;
        let _registered = Registered { warm: Weak::clone(&warm), key: self.key.clone() };
        let mut factor = 1;
        loop {
            let Some(wait) = warm.upgrade().map(|warm| warm.jittered(every * factor)) else { return };
            sleep(wait).await;
            if factor == 1 && self.is_younger_than(every / 2) {
                continue;
            }
            factor = match self.fetch().await {
                Fetched::Kept => 1,
                Fetched::Failed => (factor * 2).min(LONGEST),
                Fetched::NothingToKeep => return,
            };
        }
    }

    async fn fetch(&self) -> Fetched {
        let Some(mut request) = self.request.try_clone() else { return Fetched::NothingToKeep };
        request.set_options(again(request.options()));
        let plan = Plan::new(&request, &self.fallback).unserved();
        let call = self.inner.clone().oneshot(request);
        let call = ResponseFuture::new(call, plan, Arc::clone(&self.config));
        let status = renew(call, None).await;
        // The first caller may have had an answer already, and asked whether there is another.
        let is_good = |it: StatusCode| it.is_success() || it == StatusCode::NOT_MODIFIED || takes_back(it);
        match self.given() {
            _ if !status.is_some_and(is_good) => Fetched::Failed,
            Some(_) => Fetched::Kept,
            None => Fetched::NothingToKeep,
        }
    }

    /// Whether a caller has had an answer not long ago.
    fn is_younger_than(&self, age: Duration) -> bool {
        self.given().is_some_and(|given| self.shared().now().since(given) < age)
    }

    /// When what is kept was last given.
    fn given(&self) -> Option<Moment> {
        let variants = self.shared().memory.find(&self.key, |_| false).variants?;
        variants.iter().map(|entry| entry.times().given).max()
    }

    fn shared(&self) -> &Shared {
        &self.fallback.0
    }
}

/// The options of a call that is made again: its deadline is long over, and nobody waits for it.
fn again(options: Options) -> Options {
    let mut again = Options::new().without_fallback();
    if let Some(timeout) = options.get_timeout() {
        again = again.timeout(timeout);
    }
    match options.get_resend() {
        Some(resend) => again.resend(resend),
        None => again,
    }
}
