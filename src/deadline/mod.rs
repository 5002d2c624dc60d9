//! Deadline: one clock for the whole call.
//!
//! Attempts, the waits between them, the wait for a permit and the reading of the body all take from the same time: that of the
//! caller. [`DeadlineLayer`] stands outermost. It stamps the call's deadline on the request, and every layer below bounds its
//! own waits by it; a layer or a client that does not is cut when the deadline has passed. What is left of the time also bounds
//! the reading of the response's body.
//!
//! A call that is ready at once registers no timer.
//!
//! ```
//! use std::time::Duration;
//! use steadfast::deadline::DeadlineLayer;
//! use steadfast::retry::{RetryLayer, RetryPolicy};
//! use steadfast::timeout::TimeoutLayer;
//! use tower::ServiceBuilder;
//!
//! let layers = ServiceBuilder::new()
//!     .layer(DeadlineLayer::new(Duration::from_secs(3)))
//!     .layer(RetryLayer::new(RetryPolicy::default()))
//!     .layer(TimeoutLayer::new(Duration::from_secs(1)));
//! ```

mod body;
mod config;
mod future;
mod layer;
mod service;

pub use self::{body::DeadlineBody, future::ResponseFuture, layer::DeadlineLayer, service::DeadlineService};
