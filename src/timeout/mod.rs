//! Timeout: without a limit, a hung attempt never returns its permit and never answers its caller.
//!
//! [`TimeoutLayer`] bounds each attempt, up to the head of its response. No attempt outlives the deadline of its call
//! ([`DeadlineLayer`](crate::deadline::DeadlineLayer)). The timeout layer belongs below the circuit breaker, so that
//! the circuit breaker sees a hang as a failure.
//!
//! An attempt that is answered at once registers no timer.
//!
//! ```
//! use std::time::Duration;
//! use steadfast::{Error, timeout::TimeoutLayer};
//! use tower::{ServiceBuilder, ServiceExt};
//!
//! # async fn example() {
//! let hung = ServiceBuilder::new()
//!     .layer(TimeoutLayer::new(Duration::from_millis(500)))
//!     .map_err(Error::from_upstream)
//!     .service_fn(async |_: http::Request<String>| {
//!         tokio::time::sleep(Duration::from_secs(60)).await;
//!         Ok::<_, std::io::Error>(http::Response::new(String::new()))
//!     });
//! let error = hung.oneshot(http::Request::new(String::new())).await.unwrap_err();
//! assert!(error.is_timeout());
//! # }
//! ```
//!
//! # The share of an attempt
//!
//! A retry needs time that the first attempt leaves. So [`TimeoutLayer::share_of`] cuts an attempt after a share of
//! the total time, if another attempt can follow. The last possible attempt has all the time that is left: to cut it
//! would only lose its answer. A circuit breaker above nevertheless judges this attempt at the end of the share,
//! unless good answers usually take longer. So a hang or an overload is noticed in time, and the caller may still get
//! a late answer.
//!
//! For example, with a total time of 10 s, a GET that hangs is cut after 2.9 s and sent again. A POST that takes 4 s
//! is answered, because no retry can follow it. For the same reason, a GET of 4 s is answered under
//! `without_retry()`, or while the retry budget of its upstream is empty. If every answer takes 4 s, the first
//! attempts that are cut empty the budget, and most of the later calls are answered.

mod config;
mod future;
mod layer;
mod service;

pub use self::{future::ResponseFuture, layer::TimeoutLayer, service::TimeoutService};
