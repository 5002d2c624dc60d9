//! What HTTP adds: how a request is seen, what a response means, and the bodies that layers look through.

pub mod body;
pub(crate) mod cache_control;
mod classify;
pub(crate) mod discard;
pub(crate) mod fields;
mod idempotency;
pub(crate) mod media_type;
mod replay_body;
mod replay_layer;
mod request;
pub(crate) mod retry_after;
pub(crate) mod transport;

pub(crate) use self::request::default_port;
pub use self::{
    classify::HttpClassifier,
    replay_body::ReplayBody,
    replay_layer::{ReplayBodyLayer, ReplayBodyService},
    request::{HttpRequest, TryCloneBody},
    transport::{Fault, TransportError},
};
