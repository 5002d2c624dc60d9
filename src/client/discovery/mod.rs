//! Keeps the addresses of one name up to date while the name is used.
//!
//! A connection pool resolves a name only when it opens a connection, so it learns late that instances have come or
//! gone. [`NameDiscovery`] asks the [`Resolver`] periodically, in a task of its own, and reports the changes.
//!
//! # The task
//!
//! - The first use starts the task, on the runtime of the caller. The task looks the name up, reports the changes,
//!   and waits for the jittered refresh interval. Then it looks the name up again if the name was used since the last
//!   look-up began; else it waits for a use.
//! - After 90 s without a use, the task reports [`AddressNews::Idle`] and ends. The next use starts a new task, which
//!   looks the name up at once.
//! - At most one task runs. If the runtime of the task shuts down, the next use starts a task on its own runtime.
//! - The task keeps neither the [`NameDiscovery`] nor its sink alive.
//!
//! # Failures
//!
//! A failed look-up, or an answer without addresses, is no news about the instances. The known addresses stay in
//! use (RFC 8767), and the wait doubles with each further failure, up to 60 s. A hint cannot shorten the wait below
//! 1 s × 2^failures. Only the first failure of an outage and the first success after it are logged.

mod addresses;
mod handle;
mod news;
mod resolver;
mod shared;
mod signals;
mod task;
#[cfg(test)]
mod tests;

pub(super) use self::{
    addresses::AddressChange,
    handle::NameDiscovery,
    news::{AddressNews, DiscoverySettings},
    resolver::{Resolver, UserResolver},
};
