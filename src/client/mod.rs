//! The client: every layer around a `reqwest::Client`, in the right order, with sane defaults.

mod builder;
mod request;
mod response;
mod service;
mod stack;
mod upstream;

pub use self::{
    builder::ClientBuilder,
    request::RequestBuilder,
    service::{Client, ResponseFuture},
    stack::UpstreamHandle,
    upstream::{Upstream, UpstreamFuture, watch_redirects},
};
