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
//! The queue tells a burst from an overload. The upstream can work off a burst while the callers wait. In an
//! overload, it probably cannot serve all callers in time. The bulkhead measures how long permits are
//! held for each answer; attempts without an answer add to this time. From it, the bulkhead predicts when the queue
//! will be empty.
//!
//! **Order.** A call's patience is the time that it can wait; see below. The queue is FIFO as long as it is expected
//! to be empty within 0.1 s plus twice the time that was predicted for its greatest length, counted from its
//! beginning, and before half of the longest patience is over. A queue that is never empty, but hardly grows, begins
//! anew each time that all its waiters have been served. If the queue is expected to last longer, there is an
//! overload: the newest waiter is served first, until the queue is empty. A full queue is an overload, too; its
//! oldest waiter is refused in favour of the newcomer.
//!
//! **Wait.** A call waits until its deadline, less the time that an attempt needs: four times the time that a permit
//! is held for each answer, at most the time left divided by 3.4. Three kinds of calls are refused after
//! [`max_wait`](BulkheadBuilder::max_wait), by default 1 s: calls without a deadline, calls in a queue that will not
//! be empty before their deadlines, and calls that have waited for `max_wait` while no attempt was answered. So if an
//! upstream hangs, a call in the queue is refused after 1 s, or after up to 2 s if an answer came in its first
//! second. If good answers usually take longer than half of `max_wait`, twice their time counts in place of
//! `max_wait`.
//!
//! For example, 5,000 calls at once to an upstream that takes 50 ms are all served within 2 s, in order. 10,000 calls
//! that arrive within 3 s are all served within 4 s, the newest first. If the upstream slows down to 250 ms, a burst
//! of 5,000 takes 10 s. Later calls overtake the burst and wait for milliseconds; calls of the burst whose time runs
//! out are refused.
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
