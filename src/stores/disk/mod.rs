//! A store in a file. Its entries outlive a restart of the service.
//!
//! # Implementation
//!
//! The file is a [redb](https://docs.rs/redb) database. redb is pure Rust, needs a single file, and leaves no
//! transaction half done when the process is killed. This crate uses the latest version of redb that builds with the
//! oldest supported toolchain.
//!
//! - `store` is the public handle, whose reads run on tokio's blocking threads.
//! - `writer` is the thread that writes to the file, so that no `put` waits for the disk.
//! - `queue` holds the values on their way from the handle to the writer.
//! - `table` defines the tables of the database, and the transaction that writes a batch.
//! - `file` opens, creates and closes the file, and syncs each new length of the file, because this version of
//!   redb does not.
//! - `error` turns redb's panics on damaged files into errors.

mod config;
mod error;
mod file;
mod queue;
mod store;
mod table;
mod writer;

pub use self::{config::DiskStoreBuilder, error::DiskStoreError, store::DiskStore};
