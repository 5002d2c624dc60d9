//! The last-known-good cache serves stored responses while an upstream fails, since a response from a minute ago is
//! often better than an error.
//!
//! [`LastKnownGoodLayer`] stores good responses, and answers a call with the stored one if the layers below fail.
//! Every call goes to the layers below first, so the cache saves no requests. A stale response is marked three times:
//! by `Age` (RFC 9111 §5.1), by `Cache-Status` (RFC 9211), and by the extension [`Stale`], which holds the age of the
//! response and the [`Cause`]. The page [`docs/last_known_good.md`][page] explains the settings and how to choose
//! their values.
//!
//! ```
//! use std::time::Duration;
//! use steadfast::last_known_good::{LastKnownGood, LastKnownGoodLayer};
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let cache = LastKnownGood::builder()
//!     .max_age(Duration::from_secs(600))
//!     .serve_stale_after(Duration::from_millis(300)) // when the upstream is slow, too
//!     .build()?;
//! let layer = LastKnownGoodLayer::new(cache.clone());
//!
//! // A service that receives change events can keep the cache up to date.
//! let uri: http::Uri = "http://sku.internal/v1/items/42".parse()?;
//! cache.insert(&uri, http::Response::new(r#"{"price": 999}"#.into())).await?;
//! cache.invalidate(&uri).await;
//! # Ok(())
//! # }
//! ```
//!
//! # Entries
//!
//! Good responses to GET and HEAD are stored once their bodies have been read to the end. A response is good if its
//! outcome is [`Success`](crate::Outcome::Success) and its status is 2xx. The size of each body and the total size in
//! memory are bounded. The cache does not store
//!
//! - responses with the status 206 or 226, because their bodies may be only parts;
//! - responses whose storage the origin server forbids (RFC 9111 §3);
//! - responses with `Set-Cookie`, and event streams;
//! - bodies whose end is marked only by the end of the connection, because a body that was cut off would look
//!   complete.
//!
//! The statuses 401, 403, 404, 410 and 451 invalidate the caller's entry. So does a good response whose status or
//! headers forbid storing, since the entry then no longer shows the current state. A successful request with an
//! unsafe method invalidates the entries of its URI for all callers (RFC 9111 §4.4).
//!
//! # Stale responses
//!
//! An entry is served in three cases:
//!
//! - the outcome is [`Transient`](crate::Outcome::Transient), [`Failure`](crate::Outcome::Failure) or
//!   [`NotProcessed`](crate::Outcome::NotProcessed);
//! - the call was refused locally;
//! - the call has taken longer than the [soft limit](LastKnownGoodBuilder::serve_stale_after).
//!
//! An entry may be served until its age reaches [`max_age`](LastKnownGoodBuilder::max_age), unless the origin server
//! sets another limit by `stale-if-error` (RFC 5861 §4) or demands revalidation. A call can refuse stale responses by
//! its option [`without_last_known_good`](crate::CallOptions::without_last_known_good).
//!
//! # Callers
//!
//! A request with credentials gets only entries that were stored for the same credentials. The cache keeps only a
//! keyed digest of the credentials. If the `Vary` of an entry names other request headers, the entry answers only
//! requests with the same values of these headers (RFC 9111 §4.1).
//!
//! # Stores
//!
//! Entries are kept in memory and, optionally, in a [`Store`] behind the memory: a file (`DiskStore`, feature
//! `disk`), Redis (`steadfast::stores::RedisStore`, feature `redis`), or a store of your own. If the store fails or
//! hangs, no call fails. Each wait for the store lasts at most
//! [`store_timeout`](LastKnownGoodBuilder::store_timeout).
//!
//! # Deadlines and tasks
//!
//! No wait for the store goes beyond the call's deadline. If the layers below let the deadline pass, and a stale
//! response is allowed, the cache ends the call. The caller gets the entry or, without an entry, a timeout error.
//!
//! [`serve_stale_after`](LastKnownGoodBuilder::serve_stale_after) and [`PrefetchLayer`] spawn tasks, and a store may
//! spawn tasks. No other part of the cache spawns any.
//!
//! [page]: https://docs.rs/crate/steadfast/latest/source/docs/last_known_good.md

mod config;
mod detached_call;
mod entry;
mod future;
mod handle;
mod layer;
mod memory;
mod plan;
mod policy;
mod prefetch;
mod record;
mod refresh;
mod service;
mod tier;
mod wait;

#[cfg(feature = "reqwest")]
pub(crate) use self::plan::RequestUri;
pub use crate::stale::{Cause, Stale};

pub use self::{
    config::LastKnownGoodBuilder,
    future::ResponseFuture,
    handle::{EntryInfo, InsertError, LastKnownGood},
    layer::LastKnownGoodLayer,
    prefetch::{PrefetchBuilder, PrefetchLayer, PrefetchService},
    record::body::ResponseBody,
    service::LastKnownGoodService,
    tier::store::Store,
};
