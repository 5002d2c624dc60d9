//! Endpoints: most upstreams are several instances behind one name, and often only one of them fails.
//!
//! A connection pool hands out the connection that was used last, and one HTTP/2 connection carries every stream. So a
//! retry meets the same bad instance again.

mod attempt;
mod choice;
mod config;
mod discovery;
mod ejection;
mod future;
mod group;
mod handle;
mod load;
mod members;
mod renewal;
mod service;
mod status;

pub use self::{
    attempt::EndpointBody,
    config::EndpointsBuilder,
    discovery::{Change, Fixed, fixed},
    future::ResponseFuture,
    handle::Endpoints,
    service::EndpointsService,
    status::{EjectionCause, EndpointState, EndpointStatus},
};
