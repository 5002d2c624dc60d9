//! Bulkhead: bounds how much of this service one upstream can hold on to.
//!
//! A [`Bulkhead`] is the shared set of permits. A call takes one when it is made, waits for one in a bounded queue,
//! first come first served, for a bounded time, or is refused with [`ErrorKind::BulkheadFull`](crate::ErrorKind::BulkheadFull).
//! The permit is held until the body of the response has been read or dropped, not only until its head has come. A
//! clone of the service that is never called holds nothing.
//!
//! The service is ready whenever the one below is: its queue is inside the call. So a `LoadShed` of tower above it finds nothing
//! to shed; `max_waiting(0)` refuses at once.

mod body;
mod config;
mod future;
mod handle;
mod layer;
mod permits;
mod service;

pub use self::{
    config::BulkheadBuilder,
    future::ResponseFuture,
    handle::{Bulkhead, Permit},
    layer::BulkheadLayer,
    service::BulkheadService,
};
