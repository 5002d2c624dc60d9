//! redb panics on some of the damage that a file can have. Here that is an error.

use std::panic::{self, AssertUnwindSafe};

use redb::Database;

use super::error::Cause;
use crate::BoxError;

/// What `work` comes to; a panic is an error too. What it worked on is not to be trusted after one.
pub(super) fn caught<T>(work: impl FnOnce() -> Result<T, BoxError>) -> Result<T, Cause> {
    let result = panic::catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|panic| {
        let said = panic.downcast_ref::<String>().map(String::as_str);
        Err(said.or_else(|| panic.downcast_ref().copied()).unwrap_or("a panic").into())
    });
    result.map_err(Cause::from)
}

/// Lets the file go as a process does that is killed: a database that failed is not to write anything more, which it
/// would if it were merely dropped.
pub(super) fn abandon(database: Database) {
    let _ = panic::catch_unwind(AssertUnwindSafe(|| {
        let _database = database;
        panic::resume_unwind(Box::new(()));
    }));
}
