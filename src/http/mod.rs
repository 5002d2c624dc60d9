//! HTTP for the layers: views of requests, the classifier, errors of clients, and bodies.
//!
//! Most layers work with any request and response. Some of their decisions need HTTP: may this request be sent twice,
//! is this status a fault, when has the body been read? This module makes these decisions for the types of `http` and
//! `reqwest`:
//!
//! - [`HttpRequest`] is how a layer reads the method, the headers and the URI of a request.
//! - [`HttpClassifier`] turns a status or an error into an [`Outcome`](crate::Outcome).
//! - [`TransportError`] sorts the errors of reqwest, hyper and hyper-util into [`Fault`]s.
//! - [`ReplayBodyLayer`] makes streaming request bodies replayable, so that a retry can send them again.
//! - [`body`] has the types of response bodies that layers observe. [`HeldBody`] is the body of every response of a
//!   [`RetryService`](crate::retry::RetryService), retried or not.
//!
//! ```
//! use http::StatusCode;
//! use steadfast::http::{HttpClassifier, ReplayBodyLayer};
//! use steadfast::retry::{RetryLayer, RetryPolicy};
//! use tower::ServiceBuilder;
//!
//! // Retries a 429 after the wait in `Retry-After`, and streaming requests of up to 256 KiB.
//! let classifier = HttpClassifier::new().throttled([StatusCode::TOO_MANY_REQUESTS]);
//! let layers = ServiceBuilder::new()
//!     .layer(ReplayBodyLayer::new(256 * 1024))
//!     .layer(RetryLayer::new(RetryPolicy::default()).classifier(classifier));
//! ```

pub mod body;
pub(crate) mod broken_body;
pub(crate) mod cache_control;
mod classify;
pub(crate) mod client_errors;
pub(crate) mod fields;
pub(crate) mod held_body;
mod idempotency;
pub(crate) mod keep_alive;
pub(crate) mod media_type;
mod replay_body;
mod replay_layer;
mod request;
pub(crate) mod retry_after;

pub(crate) use self::request::default_port;
pub use self::{
    classify::HttpClassifier,
    client_errors::{Fault, TransportError},
    held_body::HeldBody,
    replay_body::ReplayBody,
    replay_layer::{ReplayBodyLayer, ReplayBodyService},
    request::{HttpRequest, TryCloneBody},
};
