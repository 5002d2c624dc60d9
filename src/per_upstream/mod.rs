//! Per upstream: one set of everything below for each scheme and authority.
//!
//! A circuit, a bulkhead or a budget that is shared by several upstreams lets the failure of one refuse the calls to
//! all. [`PerUpstreamLayer`] makes a stack of layers for each upstream by a recipe, on the first call to it. Their
//! number is bounded; the one that has been idle for longest goes first, and with it what it knew. Looking one up takes
//! no lock.
//!
//! The recipe also gives the handles that its stack can be looked at by: [`PerUpstreamService::handles`],
//! [`PerUpstreamService::upstreams`].

mod future;
mod key;
mod layer;
mod make_stack;
mod map;
mod service;

pub use self::{
    future::ResponseFuture,
    key::{KeyExtractor, KeyFn, KeyRef, Origin, UpstreamKey},
    layer::PerUpstreamLayer,
    make_stack::MakeStack,
    service::PerUpstreamService,
};
