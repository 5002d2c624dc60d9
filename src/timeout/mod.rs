//! Timeout: bounds one attempt.
//!
//! An attempt that hangs keeps its permit and its caller. [`TimeoutLayer`] bounds it up to the head of its response, and never
//! lets it go beyond the deadline of the call ([`DeadlineLayer`](crate::deadline::DeadlineLayer)). It belongs below the circuit
//! breaker, which must see a hang as a failure.
//!
//! An attempt that is answered at once registers no timer.

mod config;
mod future;
mod layer;
mod service;

pub use self::{future::ResponseFuture, layer::TimeoutLayer, service::TimeoutService};
