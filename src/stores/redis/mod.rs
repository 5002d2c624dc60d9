//! A store in Redis, which all replicas of a service share.

mod classify;
mod config;
mod connections;
mod store;

pub use self::{config::RedisStoreBuilder, store::RedisStore};
