//! Retry: without retries, a brief fault fails the call; with unlimited retries, a lasting fault becomes an overload.
//!
//! [`RetryLayer`] sends a request again after a transient fault: a 502, 503 or 504, or a transport fault, unless the
//! [classifier](crate::Classify) decides otherwise. Before each retry, the layer waits for a jittered [`Backoff`]. A
//! retry adds load to an upstream in trouble, so the layer makes no retry if
//!
//! - the outcome is a [`Failure`](crate::Outcome::Failure) or [`Neutral`](crate::Outcome::Neutral), or the attempt
//!   was refused locally;
//! - the request must not be sent twice ([`RetryableRequest`](crate::RetryableRequest)), or its body cannot be sent
//!   again;
//! - the call has made all retries that the policy allows ([`RetryPolicyBuilder::max_retries`]), or the upstream's
//!   [`RetryBudget`] cannot pay for a retry;
//! - the [advisor](RetryLayer::advised_by), usually the circuit breaker, expects the next attempt to be refused or to
//!   fail;
//! - the call's deadline has passed, or would pass during the wait.
//!
//! ```
//! use std::time::Duration;
//! use steadfast::Error;
//! use steadfast::retry::{Backoff, RetryBudget, RetryLayer, RetryPolicy};
//! use tower::{ServiceBuilder, ServiceExt};
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let backoff = Backoff::new().cap(Duration::from_secs(1));
//! let policy = RetryPolicy::builder().max_retries(2).backoff(backoff).build()?;
//! let budget = RetryBudget::default(); // one for each upstream
//! let sku = ServiceBuilder::new()
//!     .layer(RetryLayer::new(policy).budget(budget.clone()))
//!     .map_err(Error::from_upstream)
//!     .service_fn(async |_: http::Request<String>| {
//!         Ok::<_, std::io::Error>(http::Response::new(String::new()))
//!     });
//! let response = sku.oneshot(http::Request::new(String::new())).await?;
//! println!("{}, {} tokens left", response.status(), budget.tokens());
//! # Ok(())
//! # }
//! ```
//!
//! # Result
//! The caller gets the result of the last attempt: a 503 stays a 503.
//!
//! If the next attempt is refused locally after the wait, for example because the bulkhead is full, the caller gets
//! the response of the attempt before, with the reason of the refusal as its stop reason. The refusal itself is the
//! result
//!
//! - if the attempt before ended with an error;
//! - if the body of the response is longer than 64 KiB, breaks during the wait, or is not complete when the wait
//!   ends;
//! - if the refused attempt is the resend of a request that was not processed.
//!
//! If the deadline passes during the next attempt, the caller gets a timeout.
//!
//! [`Attempts`], in the extensions of the response, holds the number of attempts and the reason why no more followed.
//! The extension is absent if the first outcome calls for no retry, or if the policy allows no retries. An error
//! itself holds the number and the [reason](crate::ErrorInfo::stop_reason). A `tracing` event with the target
//! `steadfast::retry` reports the reason and the number of attempts.
//!
//! # Waits
//!
//! After a response with `Retry-After`, the wait is the stated time plus the backoff. If the stated time is longer
//! than [`RetryPolicyBuilder::max_retry_after`], the call ends with this response.
//!
//! During the wait, up to 64 KiB of the body are read into memory. The response's permit is returned at once, and its
//! connection can be used again when the body has ended. The response is freed when the next attempt ends, so each
//! call that waits or retries holds at most the head of one response and 64 KiB of its body. A response that is not
//! HTTP is kept whole.
//!
//! # Requests that were not processed
//!
//! A request that the upstream has [not processed](crate::Outcome::NotProcessed) is sent again at once, up to three
//! times, whatever its method, even under a policy without retries. A resend takes no token and does not count as a
//! retry. [`RetrySafety::Never`](crate::RetrySafety::Never) forbids resends. With the feature `http2`, the requests
//! that an HTTP/2 server refuses, or has not begun when it restarts, are recognised.
//!
//! # Copies
//!
//! A request is copied before it is sent, because the upstream may not process it. Only a request under
//! `RetrySafety::Never` is not copied. The copy shares a body in memory. So a copy of a GET costs the allocations of
//! its URL and headers. A streaming body can be copied only below a
//! [`ReplayBodyLayer`](crate::http::ReplayBodyLayer).
//!
//! The [options](crate::CallOptions::another_may_follow) mark an attempt as the last if no other attempt may follow
//! once the request is sent. Otherwise, the first attempt leaves the options unchanged, so the layer adds no
//! extension to the `http::Request`.
//!
//! # Readiness
//!
//! The service is ready at once. Each call waits inside its future until its own clone of the service below is ready,
//! at most until the call's deadline. A service that fails to become ready ends the call.

mod backoff;
mod budget;
mod config;
mod counts;
mod future;
mod layer;
mod policy;
mod report;
mod service;
mod settings;
mod wait;

pub use crate::attempts::Attempts;

pub use self::{
    backoff::{Backoff, Jitter},
    budget::RetryBudget,
    config::{RetryBudgetBuilder, RetryPolicyBuilder},
    future::ResponseFuture,
    layer::RetryLayer,
    policy::RetryPolicy,
    service::RetryService,
};
