//! A store in Redis, shared by all replicas of a service.

mod classify;
mod config;
mod connections;
mod store;

pub use self::{config::RedisStoreBuilder, store::RedisStore};
