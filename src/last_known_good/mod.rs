//! Last known good: answers from the last good response when everything below has failed.
//!
//! It always asks the upstream first: it is a fallback, not a cache that saves time. Good responses to GET and HEAD are
//! kept as their bodies are read, and one of them is served when a call ends in
//! [`Transient`](crate::Outcome::Transient) or [`Failure`](crate::Outcome::Failure), or was refused on this side.
//!
//! A response that is served again says so in three ways: `Age` (RFC 9111 §5.1), `Cache-Status` (RFC 9211),
//! and [`Stale`] in its extensions, with the age and the cause.

mod behind;
mod body;
mod builder;
mod credentials;
mod entry;
mod fallback;
mod future;
mod head;
mod keeper;
mod key;
mod layer;
mod memory;
mod mode;
mod moment;
mod plan;
mod received;
mod rules;
mod service;
mod shared;
mod stale;
mod store;
mod sync;
mod vary;
mod wait;
mod warm;
mod wire;

#[cfg(feature = "reqwest")]
pub(crate) use self::plan::RequestUri;
#[cfg(feature = "disk")]
pub use self::store::{DiskStore, DiskStoreBuilder, DiskStoreError};
#[cfg(feature = "redis")]
pub use self::store::{RedisStore, RedisStoreBuilder};
pub use self::{
    body::ResponseBody,
    builder::FallbackBuilder,
    fallback::{Fallback, Kept, NotKept},
    future::ResponseFuture,
    layer::LastKnownGoodLayer,
    mode::{Background, Foreground, Mode},
    service::LastKnownGood,
    stale::{Cause, Stale},
    store::{MemoryStore, Store},
    warm::{KeepWarm, KeepWarmBuilder, Warming},
};
