//! Last known good: answers from the last good response when everything below has failed.
//!
//! It always asks the upstream first: it is a fallback, not a cache that saves time. Good responses to GET and HEAD are
//! kept as their bodies are read, and one of them is served when a call ends in
//! [`Transient`](crate::Outcome::Transient) or [`Failure`](crate::Outcome::Failure), or was refused on this side.
//!
//! A response that is served from the store says so in three ways: `Age` (RFC 9111 §5.1), `Cache-Status` (RFC 9211),
//! and [`Stale`] in its extensions, with the age and the cause.
//!
//! What is kept: 2xx responses but 206, whose bodies arrived whole and within a bound, for as long as
//! [`max_age`](LastKnownGoodLayer::max_age) or the origin's own `stale-if-error` says. What is not: answers to requests
//! with `Authorization`, `Cookie` or a body, answers with `Set-Cookie`, and whatever the origin forbids: `no-store`, `private`,
//! `no-cache`, `Vary: *`; `must-revalidate` and `proxy-revalidate` are served only while they are fresh. An answer that
//! varies is served only to a request that is the same in the headers named. 404 and 410 remove an entry, and so does a
//! successful unsafe method on the same URI.

mod body;
mod entry;
mod future;
mod keeper;
mod key;
mod layer;
mod policy;
mod received;
mod service;
mod store;

#[cfg(feature = "reqwest")]
pub(crate) use self::future::RequestUri;
pub use self::{
    body::ResponseBody,
    entry::{Cause, Stale},
    future::ResponseFuture,
    layer::LastKnownGoodLayer,
    service::LastKnownGood,
    store::{MemoryStore, MemoryStoreBuilder},
};
