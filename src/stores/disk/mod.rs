//! A store in a file, whose entries outlive a restart of the service.
//!
//! # Implementation
//!
//! The file is a [redb](https://docs.rs/redb) database: pure Rust, a single file, and transactions that a killed
//! process cannot tear. The version is the latest that builds with this crate's oldest toolchain.
//!
//! - `store` holds the public handle. Reads run on tokio's blocking threads.
//! - `writer` is the thread that writes, so no `put` waits for the disk.
//! - `queue` holds the values between the two.
//! - `table` is the layout of the database, and one transaction on it.
//! - `file` opens, creates and closes the file, and works around a weakness of redb.
//! - `error` turns redb's panics on damaged files into errors.

mod config;
mod error;
mod file;
mod queue;
mod store;
mod table;
mod writer;

pub use self::{config::DiskStoreBuilder, error::DiskStoreError, store::DiskStore};
