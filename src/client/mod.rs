//! The client: every layer around a `reqwest::Client`, in the right order, with sane defaults.

mod config;
mod future;
mod handle;
mod request;
mod reqwest_service;
mod response;
mod service;
mod stack;

pub use self::{
    config::ClientBuilder,
    future::ResponseFuture,
    handle::Client,
    request::RequestBuilder,
    reqwest_service::{ReqwestFuture, ReqwestService, watch_redirects},
    stack::UpstreamHandle,
};

/// Why a call of a [`Client`] has no answer.
pub type ClientError = crate::Error<reqwest::Error>;
