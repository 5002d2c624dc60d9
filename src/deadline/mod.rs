//! Deadline: the limits of single attempts and waits add up, but a caller needs one limit for the whole call.
//!
//! Attempts, the waits between them, the wait for a permit and the reading of the body all draw on the time of the
//! call. [`DeadlineLayer`] is the outermost layer, and stamps the deadline on the request. This crate's layers below
//! bound their own waits by the deadline. If a foreign layer or a client ignores the deadline, `DeadlineLayer` cuts
//! the call. It also cuts the reading of the response's body at the deadline.
//!
//! A call that is ready at once registers no timer.
//!
//! ```
//! use std::time::Duration;
//! use steadfast::Error;
//! use steadfast::deadline::DeadlineLayer;
//! use steadfast::retry::{RetryLayer, RetryPolicy};
//! use steadfast::timeout::TimeoutLayer;
//! use tower::{ServiceBuilder, ServiceExt};
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let sku = ServiceBuilder::new()
//!     .layer(DeadlineLayer::new(Duration::from_secs(3))) // for all attempts and waits together
//!     .layer(RetryLayer::new(RetryPolicy::default()))
//!     .layer(TimeoutLayer::new(Duration::from_secs(1))) // for each attempt
//!     .map_err(Error::from_upstream)
//!     .service_fn(async |_: http::Request<String>| {
//!         Ok::<_, std::io::Error>(http::Response::new(String::new()))
//!     });
//! let response = sku.oneshot(http::Request::new(String::new())).await?;
//! # Ok(())
//! # }
//! ```
//!
//! # At the deadline
//!
//! The layers below end the call at the same instant as this layer would, but with a better result: a stale response,
//! or an error that knows the number of attempts. This layer therefore polls the call before its own timer. Because
//! the layers below may run in another task, the timer waits a little longer than the deadline: for a few turns of
//! the scheduler on a single-threaded runtime, and for 10 ms on a multi-threaded runtime.
//!
//! # In the crate's client
//!
//! In the client, this layer arms no timer for the call: all layers below bound each of their waits by the deadline,
//! and check the deadline after each wait. The options of the call record this promise, so the timeout layer need not
//! read the clock before a request is sent.

mod body;
mod config;
mod future;
mod layer;
mod service;

pub use self::{
    body::DeadlineBody,
    future::{ReadyCall, ResponseFuture},
    layer::DeadlineLayer,
    service::DeadlineService,
};
