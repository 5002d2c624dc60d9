//! Bulkhead: when an upstream becomes slow, the calls to it pile up, until calls to other upstreams fail, too.
//!
//! Each call holds memory and a connection while it waits for the upstream. A bulkhead bounds the number of calls in
//! flight to one upstream, and thereby the memory and the connections that one upstream can take. Below a retry
//! layer, each attempt counts as a call.
//!
//! A [`Bulkhead`] is a shared set of permits. Each call begins by taking a permit. If no permit is free, the call
//! waits in a bounded FIFO queue, for a bounded time. If the queue is full or the time runs out, the call is refused
//! with [`ErrorKind::BulkheadFull`](crate::ErrorKind::BulkheadFull).
//!
//! A call holds its permit until the body of the response has been read or dropped, not only until the head arrives:
//!
//! ```
//! use steadfast::Error;
//! use steadfast::bulkhead::{Bulkhead, BulkheadLayer};
//! use tower::{ServiceBuilder, ServiceExt};
//!
//! # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
//! let bulkhead = Bulkhead::builder().max_concurrent(1).max_waiting(0).build()?;
//! let service = ServiceBuilder::new()
//!     .layer(BulkheadLayer::new(bulkhead.clone()))
//!     .map_err(Error::from_upstream)
//!     .service_fn(async |_: http::Request<String>| {
//!         Ok::<_, std::io::Error>(http::Response::new("a body".to_owned()))
//!     });
//!
//! let response = service.clone().oneshot(http::Request::new(String::new())).await.unwrap();
//! assert_eq!(bulkhead.in_flight(), 1);
//! let error = service.oneshot(http::Request::new(String::new())).await.unwrap_err();
//! assert!(error.is_bulkhead_full());
//!
//! drop(response);
//! assert_eq!((bulkhead.in_flight(), bulkhead.refused()), (0, 1));
//! # Ok::<(), steadfast::ConfigError>(())
//! # }).unwrap();
//! ```
//!
//! Calls wait in their futures, so the service is ready whenever the service below is ready. tower's `LoadShed` above
//! a bulkhead therefore does not see that the bulkhead is full. To refuse calls without a wait, set `max_waiting(0)`.

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
