//! Prefetching renews entries in the background. Without it, the entry of a rarely called URI may be too old, or
//! missing, when an outage begins.
//!
//! A [`PrefetchLayer`] repeats calls in the background, one task for each URI. The layer stands above the cache and
//! fetches through it, so the cache stores a fetched response like any other. From the handle of the cache, the layer
//! learns which requests are cacheable and which entries are recent.

mod config;
mod fetch;
mod layer;
mod registry;
mod service;

pub use self::{config::PrefetchBuilder, layer::PrefetchLayer, service::PrefetchService};
