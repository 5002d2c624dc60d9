//! Timeout: one layer with two names.
//!
//! [`TimeoutLayer::total`] is the clock of the whole call. It stamps the call's deadline on the request, by which every
//! layer below bounds its waits, and ends the call when it has passed. What is left of the time also bounds the
//! reading of the response's body.
//!
//! [`TimeoutLayer::attempt`] bounds one attempt, up to the head of its response, and never goes beyond the deadline of
//! the call. It belongs below the circuit breaker, which must see a hang as a failure.
//!
//! A call that is ready at once registers no timer.

mod body;
mod future;
mod layer;
mod limit;
mod service;
#[cfg(feature = "reqwest")]
mod stamp;

#[cfg(feature = "reqwest")]
pub(crate) use self::stamp::{Stamp, StampLayer};
pub use self::{body::BodyWatch, future::ResponseFuture, layer::TimeoutLayer, service::TimeoutService};
