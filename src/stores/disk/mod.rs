//! A store in a file, for what a service has to say after a restart.

mod config;
mod error;
mod file;
mod queue;
mod store;
mod table;
mod writer;

pub use self::{config::DiskStoreBuilder, error::DiskStoreError, store::DiskStore};
