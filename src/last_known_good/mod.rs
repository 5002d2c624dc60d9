//! Last known good: answers from the last good response when everything below has failed.
//!
//! It always asks the upstream first: it is a fallback, not a cache that saves time. A response that is served again says
//! so in three ways: `Age` (RFC 9111 §5.1), `Cache-Status` (RFC 9211), and [`Stale`] in its extensions, with the age and
//! the [`Cause`]. A page for people, [`docs/last_known_good.md`][page], has the whole of it, and how to choose.
//!
//! ```
//! use std::time::Duration;
//! use steadfast::last_known_good::{LastKnownGood, LastKnownGoodLayer};
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let last_known_good = LastKnownGood::builder()
//!     .max_age(Duration::from_secs(600))
//!     .serve_stale_after(Duration::from_millis(300)) // when the upstream is slow, too
//!     .build()?;
//! let layer = LastKnownGoodLayer::new(last_known_good.clone());
//!
//! // Whoever hears of a change can say so.
//! let uri: http::Uri = "http://sku.internal/v1/items/42".parse()?;
//! last_known_good.insert(&uri, http::Response::new(r#"{"price": 999}"#.into())).await?;
//! last_known_good.invalidate(&uri).await;
//! # Ok(())
//! # }
//! ```
//!
//! **What is kept**: good and whole responses to GET and HEAD, as their bodies are read to the end, up to a bound for each
//! and for all. Not those that the origin forbids to keep (RFC 9111 §3), that begin a session, or whose end nobody can see.
//! A 401, 403, 404, 410 or 451, and a new state that may not be kept, end what was kept for the caller; a successful unsafe
//! method ends it for everybody (§4.4).
//!
//! **When it is served**: when a call ends in [`Transient`](crate::Outcome::Transient) or
//! [`Failure`](crate::Outcome::Failure), was refused on this side, or has taken longer than a soft limit; for as long as
//! [`max_age`](LastKnownGoodBuilder::max_age), or as the origin says by `stale-if-error` (RFC 5861 §4) or by what must be
//! revalidated. A call can refuse it by [`without_last_known_good`](crate::CallOptions::without_last_known_good).
//!
//! **Whose it is**: requests with credentials have what was kept for the same credentials, known by a keyed digest, and
//! nothing else; of the other headers, those count that the response's `Vary` names (§4.1).
//!
//! **Where it is**: in memory, and in a [`Store`] behind it, if there is one: a file (`DiskStore`, feature `disk`), Redis
//! (`steadfast::stores::RedisStore`, feature `redis`), or one of your own. A store that fails or hangs fails no call, and is waited for no longer
//! than its [bound](LastKnownGoodBuilder::store_timeout).
//!
//! **When it is waited for**: never beyond the deadline of the call. A layer below that lets the deadline pass is cut, so that
//! the stale answer comes in time.
//!
//! Tasks are spawned by [`serve_stale_after`](LastKnownGoodBuilder::serve_stale_after) and by [`PrefetchLayer`], and by nothing
//! else here.
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
