//! Bulkhead: when an upstream becomes slow, the calls to it pile up, until calls to other upstreams fail, too.
//!
//! Each call holds memory and a connection while it waits for the upstream. A bulkhead bounds the number of calls in
//! flight to one upstream, and thereby the memory and the connections that one upstream can take. Below a retry
//! layer, each attempt counts as a call.
//!
//! A [`Bulkhead`] is a shared set of permits. Each call begins by taking a permit. If no permit is free, the call
//! waits in a bounded queue, for a bounded time. A call that gets no permit is refused with
//! [`ErrorKind::BulkheadFull`](crate::ErrorKind::BulkheadFull).
//!
//! A call holds its permit until the body of the response has been read or dropped, not only until the head arrives.
//! If a [`BufferBodyLayer`](crate::buffer_body::BufferBodyLayer) below has read the whole body into memory, the
//! permit returns with the head:
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
//! # The queue
//!
//! The queue tells a burst, which the upstream can work off while the callers wait, from an overload, in which some
//! callers cannot be served in time. The bulkhead measures how long permits are held for each answer. From this time,
//! it predicts when the queue will be empty.
//!
//! **Order.** The queue is FIFO, as long as it is worked off as predicted: within 0.1 s and twice the predicted time,
//! and before half of the patience of the most patient waiter is over. Otherwise, or if the queue is full, there is
//! an overload: the newest waiter is served first, until the queue is empty. If the queue is full, the oldest waiter
//! leaves in favour of a newcomer.
//!
//! **Wait.** A call waits until its deadline, less the time that an attempt needs: four times the usual time, at most
//! a share of 1/3.4. Three kinds of calls wait for at most [`max_wait`](BulkheadBuilder::max_wait), 1 s by default:
//! calls without a deadline, calls that join a queue which will not be empty before their deadlines, and calls that
//! have seen no answer of the upstream for this time. So the callers of an upstream that hangs are told after a
//! second.
//!
//! For example, 5,000 calls at once to an upstream that takes 50 ms are all served within 2 s, in order. If the
//! upstream slows down to 250 ms, the burst takes 10 s, and later calls overtake it: they wait for milliseconds.
//!
//! Calls wait in their futures, so the service is ready whenever the service below is ready. tower's `LoadShed` above
//! a bulkhead therefore does not see that the bulkhead is full. To refuse calls without a wait, set `max_waiting(0)`.

mod body;
mod config;
mod future;
mod handle;
mod hold_time;
mod layer;
mod permits;
mod queue;
mod service;

pub use self::{
    config::BulkheadBuilder,
    future::ResponseFuture,
    handle::{Bulkhead, Permit},
    layer::BulkheadLayer,
    service::BulkheadService,
};
