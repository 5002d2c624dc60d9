//! Fetches URIs again from time to time, so that there is something to serve when it is needed.

mod config;
mod fetch;
mod layer;
mod registry;
mod service;

pub use self::{config::PrefetchBuilder, layer::PrefetchLayer, service::PrefetchService};
