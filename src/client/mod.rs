//! The client: a `reqwest::Client` below the whole stack of layers, in the right order and with safe defaults.
//!
//! The module `reqwest_service` converts reqwest's responses to `http` responses for the layers, and the module
//! `response` converts them back.

mod classifier;
mod client_factory;
mod config;
mod connecting;
#[cfg(feature = "cookies")]
mod cookie_store;
mod discovery;
mod endpoints_config;
mod errors;
mod future;
mod handle;
mod origin;
mod origin_factory;
mod origins;
mod pins;
mod request;
mod request_defaults;
mod reqwest_service;
mod response;
mod service;
#[cfg(feature = "rustls")]
mod shared_tls;
mod stack;
mod transport;
mod transport_config;

pub use self::{
    config::ClientBuilder,
    future::ResponseFuture,
    handle::Client,
    request::RequestBuilder,
    reqwest_service::{ReqwestFuture, ReqwestService, watch_redirects},
    stack::UpstreamHandle,
};

/// The error of a call through a [`Client`].
pub type ClientError = crate::Error<reqwest::Error>;
