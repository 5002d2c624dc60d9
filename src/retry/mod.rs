//! Retry: a brief fault fails the call, but blind retries turn a lasting fault into an overload.
//!
//! [`RetryLayer`] sends a request again after a transient fault: a 502, 503 or 504, or a transport fault, unless the
//! [classifier](crate::Classify) decides otherwise. A jittered [`Backoff`] separates the attempts. A retry adds load
//! to an upstream in trouble, so the layer stops if
//!
//! - the outcome is neither [`Transient`](crate::Outcome::Transient) nor [`Throttled`](crate::Outcome::Throttled), or
//!   the attempt was refused locally;
//! - the request may not be sent twice ([`RetryableRequest`](crate::RetryableRequest)), or its body cannot be sent
//!   again;
//! - the retries of the call ([`RetryPolicyBuilder::max_retries`]) or of the upstream ([`RetryBudget`]) are spent;
//! - the [advisor](RetryLayer::advised_by), usually the circuit breaker, expects the next attempt to be refused or to
//!   fail;
//! - the wait would end after the call's deadline.
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
//! The caller gets the result of the last attempt: a 503 stays a 503, and never becomes an error. [`Attempts`], in
//! the extensions of the response, holds the number of attempts and the reason why no more followed. The extension is
//! absent if the first attempt needed no retry. An error holds both facts [itself](crate::ErrorInfo::stop_reason).
//! Each time the layer gives up, a `tracing` event on `steadfast::retry` reports both.
//!
//! # Waits
//!
//! After a response with `Retry-After`, the wait is the stated time plus the backoff. If the stated time is longer
//! than [`RetryPolicyBuilder::max_retry_after`], the call ends without a retry.
//!
//! A discarded response returns its permit. Then at most 64 KiB of its body are read, for as long as the wait lasts,
//! so that the connection can be used again.
//!
//! # Requests that were not processed
//!
//! A request that the upstream has [not processed](crate::Outcome::NotProcessed) is sent again at once, up to three
//! times, whatever its method. The resend takes no token and no retry of the policy, but needs a copy of the request.
//! [`RetrySafety::Never`](crate::RetrySafety::Never) forbids it.
//!
//! # Copies
//!
//! A request is copied only if a retry can follow: not for the last attempt of the policy, not under
//! `RetrySafety::Never`, and not while the budget cannot pay. If no attempt can follow one that was sent, its
//! [options](crate::CallOptions::another_may_follow) mark it as the last. Every other first attempt leaves the
//! options unchanged, so a healthy `http::Request` needs no extensions.

mod backoff;
mod budget;
mod config;
mod counts;
mod future;
mod layer;
mod policy;
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
