//! Body buffering: small bodies are read inside the attempt.
//!
//! A client that hands on the head of a response and then loses the connection leaves its caller with half an answer
//! and no retry. A body whose stated length is at most [`BufferBodyLayer::limit`] is therefore read whole before the
//! attempt counts as answered: cut short or stalled, it is a failed attempt, with [`ErrorKind::Body`](crate::ErrorKind::Body),
//! retried or answered from the store. Larger bodies, bodies of unstated length and event streams pass through
//! untouched; [`BufferBodyLayer::unsized_bodies`] also reads those of unstated length, as far as the bound.
//!
//! A body that comes in one piece is not copied.

mod body;
mod config;
mod future;
mod layer;
mod service;

pub use self::{
    body::BufferedBody, future::ResponseFuture, layer::BufferBodyLayer, service::BufferBodyService,
};
