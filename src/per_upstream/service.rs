//! The service that passes each request to the stack of its upstream.

use std::fmt;
use std::sync::Arc;
use std::task::{Context, Poll};

use tower::{Layer, Service};

use super::future::ResponseFuture;
use super::key::{KeyExtractor, Origin, UpstreamKey};
use super::make_stack::MakeStack;
use super::map::{UpstreamMap, UpstreamSlot};
use crate::internal::when_ready::Polled;
use crate::{Error, HasCallOptions, SteadfastError};

/// The service of a [`PerUpstreamLayer`](super::PerUpstreamLayer). Clones share the upstreams.
pub struct PerUpstreamService<S, M, K = Origin>
where
    M: MakeStack,
    M::Layer: Layer<S>,
{
    inner: Arc<PerUpstreamInner<S, M, K, StackOf<S, M>>>,
}

/// The stack of one upstream: its layers around the service below.
pub(crate) type StackOf<S, M> = <<M as MakeStack>::Layer as Layer<S>>::Service;

struct PerUpstreamInner<S, M: MakeStack, K, T> {
    service: S,
    make_stack: Arc<M>,
    key: Arc<K>,
    upstreams: UpstreamMap<(T, M::Handles)>,
}

impl<S, M, K> PerUpstreamService<S, M, K>
where
    S: Clone,
    M: MakeStack,
    M::Layer: Layer<S>,
{
    pub(super) fn new(service: S, make_stack: Arc<M>, key: Arc<K>, max: usize) -> Self {
        Self {
            inner: Arc::new(PerUpstreamInner { service, make_stack, key, upstreams: UpstreamMap::new(max) }),
        }
    }

    /// Returns the handles of the request's upstream. If the upstream is unknown, makes its stack.
    pub fn handles<Req>(&self, request: &Req) -> M::Handles
    where
        K: KeyExtractor<Req>,
    {
        self.with(request, |slot, _| slot.value().1.clone())
    }

    /// Returns the known upstreams and their handles, in no particular order.
    pub fn upstreams(&self) -> Vec<(UpstreamKey, M::Handles)> {
        self.inner.upstreams.read_all(|key, (_, handles)| (key.clone(), handles.clone()))
    }

    /// Calls the stack of the request's upstream.
    #[inline]
    pub(crate) fn send<Req>(&self, request: Req) -> ResponseFuture<StackOf<S, M>, Req>
    where
        Req: HasCallOptions,
        StackOf<S, M>: Service<Req> + Clone,
        K: KeyExtractor<Req>,
    {
        let (stack, in_flight) = self.with(&request, |slot, eviction_is_near| {
            let stack = Polled::new(slot.value().0.clone());
            // A call that has to wait holds a mark as well, because the mark also names the upstream in an error.
            let is_marked = eviction_is_near || !stack.is_ready();
            (stack, is_marked.then(|| slot.in_flight()))
        });
        ResponseFuture::new(stack, request, in_flight)
    }

    #[inline]
    fn with<Req, T>(
        &self,
        request: &Req,
        read: impl FnOnce(&UpstreamSlot<(StackOf<S, M>, M::Handles)>, bool) -> T,
    ) -> T
    where
        K: KeyExtractor<Req>,
    {
        let PerUpstreamInner { service, make_stack, key, upstreams } = &*self.inner;
        let make = |upstream: &UpstreamKey| {
            let (layer, handles) = make_stack.make(upstream);
            (layer.layer(service.clone()), handles)
        };
        let is_in_use = |(_, handles): &(_, M::Handles)| make_stack.is_in_use(handles);
        key.with_key(request, |key| upstreams.with(&key, make, is_in_use, read))
    }
}

impl<Req, S, M, K, Res, E> Service<Req> for PerUpstreamService<S, M, K>
where
    Req: HasCallOptions,
    S: Clone,
    M: MakeStack,
    M::Layer: Layer<S>,
    StackOf<S, M>: Service<Req, Response = Res, Error = Error<E>> + Clone,
    <StackOf<S, M> as Service<Req>>::Error: SteadfastError,
    K: KeyExtractor<Req>,
{
    type Response = Res;
    type Error = Error<E>;
    type Future = ResponseFuture<StackOf<S, M>, Req>;

    // Without a request, `poll_ready` cannot select a stack. The call therefore polls its stack for readiness.
    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Req) -> Self::Future {
        self.send(request)
    }
}

impl<S, M, K> Clone for PerUpstreamService<S, M, K>
where
    M: MakeStack,
    M::Layer: Layer<S>,
{
    fn clone(&self) -> Self {
        Self { inner: Arc::clone(&self.inner) }
    }
}

impl<S, M, K> fmt::Debug for PerUpstreamService<S, M, K>
where
    M: MakeStack,
    M::Layer: Layer<S>,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let upstreams = self.inner.upstreams.read_all(|key, _| key.to_string());
        f.debug_struct("PerUpstreamService").field("upstreams", &upstreams).finish_non_exhaustive()
    }
}
