//! Circuit breaker: stops asking an upstream that is known to be down, and finds out when it is back.
//!
//! A [`CircuitBreaker`] is the shared state: made by the caller, handed to as many layers as guard the same upstream, and
//! inspected at any time. It is *closed* while the upstream is well; *open*, refusing every call at once, after it
//! has tripped; and *half-open* after a while, when a few probes are let through and decide.
//!
//! It trips on any of
//!
//! - N consecutive failures that also span a time T. A count alone trips too early where traffic is dense: at
//!   1,000 calls a second, ten failures in a row are ten milliseconds;
//! - a rate of failures, or of slow calls, over the last seconds or the last N calls.
//!
//! Open, it waits for a time that doubles with every failed round of probes, up to a cap, and is jittered, so that
//! the clients of an upstream do not come back together.
//!
//! What does not count: results of calls that were admitted in an earlier generation (before the circuit last
//! changed), calls refused on this side, and calls that their caller gave up on early. A call that was dropped
//! after it had run longer than [`CircuitBreakerBuilder::abandoned_after`] counts as a failure: a black hole is one.
//!
//! The head of an HTTP response decides its outcome. A body that breaks after its head was handed on adds one
//! failure, in the same generation.

mod admission;
mod body;
mod config;
mod future;
mod gate;
mod handle;
mod layer;
mod machine;
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
