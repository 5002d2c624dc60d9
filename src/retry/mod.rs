//! Retry: without retries, a brief fault fails the call; with blind retries, a lasting fault becomes an overload.
//!
//! [`RetryLayer`] sends a request again after a transient fault: a 502, 503 or 504, or a transport fault, unless the
//! [classifier](crate::Classify) decides otherwise. A jittered [`Backoff`] separates the attempts. A retry adds load
//! to an upstream in trouble, so the layer stops if
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
//! The caller gets the result of the last attempt: a 503 stays a 503. If the next attempt cannot begin after the
//! wait, the caller gets an error instead.
//!
//! [`Attempts`], in the extensions of the response, holds the number of attempts and the reason why no more followed.
//! The extension is absent if the first attempt needed no retry, or the policy allows none. An error holds both facts
//! [itself](crate::ErrorInfo::stop_reason). Each time the layer gives up, a `tracing` event with the target
//! `steadfast::retry` reports both.
//!
//! # Waits
//!
//! After a response with `Retry-After`, the wait is the stated time plus the backoff. If the stated time is longer
//! than [`RetryPolicyBuilder::max_retry_after`], the call ends without a retry.
//!
//! A response that a retry discards returns its permit. Then at most 64 KiB of the body are read, for as long as the
//! wait lasts, so that the connection can be used again.
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
//! `RetrySafety::Never`, and not while the budget cannot pay (unless time refills the budget). The
//! [options](crate::CallOptions::another_may_follow) mark an attempt as the last if no other may follow once the
//! request is sent. Every other first attempt leaves the options unchanged, so the layer adds no extensions to an
//! `http::Request` of a healthy call.

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
