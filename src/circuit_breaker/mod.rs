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
//! - a number of consecutive transient failures that also span a minimum time. A count alone would open the circuit
//!   too early in dense traffic: at 1,000 calls a second, ten failures in a row take only ten milliseconds. A run of
//!   failures that has not opened the circuit within ten minutes beyond this time begins anew;
//! - a high rate of failures or slow calls, measured over a [window](Window) of time or of calls. Rates are off by
//!   default.
//!
//! The open time doubles with every failed round of probes, up to a cap. Jitter keeps the clients of an upstream from
//! sending their probes at the same moment.
//!
//! # Which outcomes count
//!
//! Each call has one verdict, by its [`Outcome`](crate::Outcome):
//!
//! | outcome | run of failures | rates | probe |
//! |---|---|---|---|
//! | `Success`, `Throttled` | ends | a good call | succeeds |
//! | `Transient` | grows | a failure | fails |
//! | `Failure`, such as a 500 | stays | a failure | succeeds; fails if a failure rate is configured |
//! | `Neutral`, `NotProcessed`; a refusal by a layer below | stays | does not count | frees its place |
//!
//! A `Failure` is a fault of the application behind one route. It must not cut off the other routes. A classifier [by
//! request](crate::classify::by_request) can make the outcomes of a route neutral.
//!
//! The verdict on a streamed good answer is recorded at the end of its body. A body that breaks off is a transient
//! failure. So is a body that stalls: a body that the deadline cuts after no data has come for 0.1 s, for twice the
//! longest earlier gap, and for twice the time that good answers usually take. If the reader drops the body, or if
//! the body is in memory already, the head decides. A call admitted before the circuit's last change of state does
//! not count.
//!
//! While good answers are being streamed, the run needs more failures than there are such answers to open the
//! circuit, because these answers may still count as successes. A 500 does not end the run, so transient failures
//! before and after it add up and can open the circuit. When the circuit is half-open, a 500 to a probe closes it
//! again.
//!
//! # Calls that are cut
//!
//! A call that its caller drops counts as a transient failure if it has waited for the upstream for
//! [`abandoned_after`](CircuitBreakerBuilder::abandoned_after). Half of this time is enough if good answers usually
//! take less than a tenth of the wait.
//!
//! A call that is cut by its deadline counts as a transient failure if it has waited for at least twice the time that
//! good answers usually take. So an upstream that never answers is noticed under short deadlines, too. Once a good
//! answer is known, callers whose deadlines are too short for any answer do not cut off patient callers. The same
//! rule holds for an attempt that is cut after its share of a timeout that the call itself has set, if this share is
//! shorter than the client's.
//!
//! As long as no good answer is known, the circuit breaker adds up the waits of the cut calls. Each three quarters of
//! `abandoned_after` in the sum count as one failure; one call adds one failure at most. A probe that is cut after at
//! least 0.1 s has then failed.
//!
//! The circuit breaker recognises a cut by the deadline only if a [`TimeoutLayer`](crate::timeout::TimeoutLayer)
//! stands below. Otherwise, the call looks like a call that its caller drops.
//!
//! An attempt that goes on beyond its [share](crate::timeout#the-share-of-an-attempt) of the total time counts as a
//! transient failure at once, unless good answers usually take longer. Its later result does not change this verdict.
//! A late good answer still counts, with less weight, towards the time that good answers usually take. So an upstream
//! that is always slow is soon known as slow, and its circuit stays closed.
//!
//! # Calls in a queue
//!
//! A call that waits in the queue of a bulkhead below is refused when the circuit opens.

mod admission;
mod advice;
mod answer_time;
mod body;
mod config;
mod future;
mod gate;
mod handle;
mod layer;
mod machine;
mod queued;
mod recording;
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
