//! Circuit breaker: calls to an upstream that is down waste time, and can keep the upstream from recovering.
//!
//! A circuit breaker counts the outcomes of calls. After too many failures it refuses further calls at once, with
//! [`ErrorKind::CircuitOpen`](crate::ErrorKind::CircuitOpen), and sends nothing. It also finds out when the upstream
//! has recovered. Below a retry layer, each attempt counts as a call of its own.
//!
//! A [`CircuitBreaker`] is a handle to the state that all calls to an upstream share. Make one for each upstream,
//! hand clones to all layers that guard the upstream, and keep a clone to inspect the circuit. The circuit is
//! *closed* while the upstream is well. The circuit *opens* after too many failures, and then refuses every call.
//! After the open time it is *half-open*: a few probes go through and decide whether the circuit closes or opens
//! again.
//!
//! ```
//! use std::io;
//! use std::time::Duration;
//!
//! use steadfast::Error;
//! use steadfast::circuit_breaker::{CircuitBreaker, CircuitBreakerLayer, State};
//! use tower::{ServiceBuilder, ServiceExt};
//!
//! # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
//! let circuit = CircuitBreaker::builder().consecutive_failures(2, Duration::ZERO).build()?;
//! let service = ServiceBuilder::new()
//!     .layer(CircuitBreakerLayer::new(circuit.clone()))
//!     .map_err(Error::from_upstream)
//!     .service_fn(async |_: http::Request<String>| {
//!         Err::<http::Response<String>, _>(io::Error::from(io::ErrorKind::ConnectionReset))
//!     });
//!
//! for _ in 0..2 {
//!     let error = service.clone().oneshot(http::Request::new(String::new())).await.unwrap_err();
//!     assert!(!error.is_refusal());
//! }
//! assert_eq!(circuit.state(), State::Open);
//!
//! let error = service.oneshot(http::Request::new(String::new())).await.unwrap_err();
//! assert!(error.is_circuit_open());
//! assert_eq!(circuit.snapshot().refused, 1);
//! # Ok::<(), steadfast::ConfigError>(())
//! # }).unwrap();
//! ```
//!
//! # When the circuit opens
//!
//! Either of two things opens the circuit:
//!
//! - a number of consecutive failures that also span a minimum time. A count alone would open the circuit too early
//!   in dense traffic: at 1,000 calls a second, ten failures in a row take only ten milliseconds;
//! - a high rate of failures or slow calls, measured over a [window](Window) of time or of calls. Rates are off by
//!   default.
//!
//! The open time doubles with every failed round of probes, up to a cap. Jitter keeps the clients of an upstream from
//! sending their probes at the same moment.
//!
//! # Which outcomes count
//!
//! The head of an HTTP response decides the outcome. A body that breaks later counts as one more failure. The body of
//! a probe does not count, because a probe ends with the head. These results do not count:
//!
//! - outcomes that are neutral, throttled or not processed (see [`Outcome`](crate::Outcome)). A classifier [by
//!   request](crate::classify::by_request) can make the outcomes of a route neutral;
//! - refusals by layers below;
//! - results of calls from an earlier *generation*: calls admitted before the circuit's last change of state or
//!   reset;
//! - calls that are dropped by the caller or cut by the deadline before they have waited for the upstream for
//!   [`abandoned_after`](CircuitBreakerBuilder::abandoned_after). After a longer wait, such a call counts as a
//!   failure: an upstream that never answers is down, too.

mod admission;
mod advice;
mod body;
mod config;
mod future;
mod gate;
mod handle;
mod layer;
mod machine;
mod run;
mod service;
mod state;
mod window;

pub use self::{
    body::BreakerBody,
    config::{CircuitBreakerBuilder, Window},
    future::ResponseFuture,
    handle::CircuitBreaker,
    layer::CircuitBreakerLayer,
    service::CircuitBreakerService,
    state::{Snapshot, State},
};
