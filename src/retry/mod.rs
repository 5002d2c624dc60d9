//! Retry: asks again, when that can help and only as often as the upstream can bear.
//!
//! A retry turns a passing fault into an answer. It also multiplies the load of an upstream that is already
//! failing, so most of this module is about when *not* to retry:
//!
//! - the outcome is neither [`Transient`](crate::Outcome::Transient) nor [`Throttled`](crate::Outcome::Throttled), or the call was
//!   refused on this side;
//! - the request may not be sent twice ([`RetryableRequest`](crate::RetryableRequest)), or its body is gone;
//! - the attempts of the call ([`RetryPolicyBuilder::max_retries`]) or of everyone ([`RetryBudget`]) are spent;
//! - the wait, be it the [`Backoff`]'s or that of `Retry-After`, would end after the call's deadline.
//!
//! Then the caller gets what the last attempt got: the 503 itself, not an error about it. [`Attempts`], in the
//! extensions of a response that took more than the first attempt or was given up on, says how many there were and
//! why there were no more; an error says both [itself](crate::ErrorInfo::stop_reason), and a `tracing` event on
//! `steadfast::retry` says it of both.
//!
//! A request that was [not processed](crate::Outcome::NotProcessed) is sent again at once, up to three times, whatever its
//! method: that costs no token, and takes no retry from those that the policy allows.
//!
//! A response that is thrown away gives its permit back, and then is read on for at most 64 KiB and for as long as
//! the wait lasts, so that its connection is used again.

mod backoff;
mod budget;
mod config;
mod future;
mod history;
mod layer;
mod policy;
mod service;
mod settings;
mod wait;

pub use crate::stop_reason::Attempts;

pub use self::{
    backoff::{Backoff, Jitter},
    budget::RetryBudget,
    config::{RetryBudgetBuilder, RetryPolicyBuilder},
    future::ResponseFuture,
    layer::RetryLayer,
    policy::RetryPolicy,
    service::RetryService,
};
