//! A store in a file, whose entries outlive a restart of the service.
//!
//! # Implementation
//!
//! The file is a [redb](https://docs.rs/redb) database: pure Rust, a single file, and transactions that a killed
//! process cannot tear. The version is the latest that builds with the oldest toolchain that this crate supports.
//!
//! - `store` holds the public handle. Reads run on tokio's blocking threads.
//! - `writer` is the thread that writes, so no `put` waits for the disk.
//! - `queue` holds the values between the two.
//! - `table` is the layout of the database, and one transaction on it.
//! - `file` opens, creates and closes the file, and syncs each new length, which this version of redb omits.
//! - `error` turns redb's panics on damaged files into errors.

mod config;
mod error;
mod file;
mod queue;
mod store;
mod table;
mod writer;

pub use self::{config::DiskStoreBuilder, error::DiskStoreError, store::DiskStore};
