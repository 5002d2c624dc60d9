//! **Keeps a Rust service's outbound HTTP calls useful while the network, and the services behind it, are not.**
//!
//! The network fails; upstreams crash, hang, slow down and come back. [`Client`] puts around a `reqwest::Client` what a
//! service needs so as not to go down with a dependency, and not to make its outage worse:
//!
//! ```
//! use std::time::Duration;
//! use steadfast::ResponseExt;
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let http = steadfast::Client::builder()
//!     .total_timeout(Duration::from_secs(3))
//!     .build()?; // sane defaults for everything else
//!
//! let response = http.get("http://sku.internal/v1/items/42").send().await?; // a reqwest::Response
//! if let Some(stale) = response.stale() {
//!     // The last good answer, because the upstream has none now.
//!     println!("as of {} s ago: {}", stale.age.as_secs(), stale.cause);
//! }
//! let item: serde_json::Value = response.json().await?;
//! # Ok(())
//! # }
//! ```
//!
//! # The pipeline
//!
//! Each part is a plain tower layer, and can be used alone, around any service:
//!
//! | layer | what it does | why it stands here |
//! |---|---|---|
//! | [`last_known_good`] | answers from the last good response | when everything below has failed |
//! | [`per_upstream`] | one set of the layers below for each scheme and authority | one upstream's failure is not another's |
//! | [`timeout`], total | one clock for the whole call | waits between attempts count too |
//! | [`retry`] | asks again after 502, 503, 504 and transport faults, within a budget | above the breaker: it never retries a refusal |
//! | [`circuit_breaker`] | stops asking an upstream that is down | sees every attempt |
//! | [`bulkhead`] | bounds the calls in flight | holds no permit while a retry waits |
//! | [`timeout`], attempt | bounds one attempt | below the breaker, which must see a hang as a failure |
//! | [`buffer_body`] | reads small bodies inside the attempt | a body cut short is a failed attempt |
//!
//! ```
//! use std::time::Duration;
//! use http_body_util::BodyExt;
//! use steadfast::bulkhead::{BulkheadLayer, Bulkhead};
//! use steadfast::circuit_breaker::{CircuitBreaker, CircuitBreakerLayer};
//! use steadfast::last_known_good::{LastKnownGoodLayer, LastKnownGood};
//! use steadfast::retry::{RetryLayer, RetryPolicy};
//! use steadfast::timeout::TimeoutLayer;
//! use steadfast::{Call, Upstream};
//! use tower::{ServiceBuilder, ServiceExt};
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
//! let circuit = CircuitBreaker::builder().name("sku").build()?;
//! let bulkhead = Bulkhead::builder().max_concurrent(64).build()?;
//!
//! let client = reqwest::Client::builder().retry(reqwest::retry::never()).build()?;
//! let service = ServiceBuilder::new()
//!     .layer(LastKnownGoodLayer::new(LastKnownGood::default()))
//!     .layer(TimeoutLayer::total(Duration::from_secs(3)))
//!     .layer(RetryLayer::new(RetryPolicy::default()))
//!     .layer(CircuitBreakerLayer::new(circuit.clone()))
//!     .layer(BulkheadLayer::new(bulkhead.clone()))
//!     .layer(TimeoutLayer::attempt(Duration::from_secs(1)))
//!     .service(Upstream::new(client.clone())); // or .map_err(Error::Upstream).service(anything)
//!
//! let request = client.get("http://sku.internal/v1/items/42").build()?;
//! let response = service.oneshot(Call::new(request)).await?;
//! println!("{} while the circuit is {:?}", response.status(), circuit.state());
//! let body = response.into_body().collect().await?.to_bytes(); // by http_body_util::BodyExt
//! # Ok(())
//! # }
//! ```
//!
//! # What to know
//!
//! - **Shared state is made by you.** A `CircuitBreaker`, `Bulkhead`, `RetryBudget` or `LastKnownGood` is a handle: make it
//!   once for an upstream, hand clones of it to layers, and look at it whenever you want.
//! - **One opinion.** A [`Classify`] says what a result means, and every layer is given the same one.
//! - **One error.** [`Error`] is flat. A status is never an error: when the attempts run out on a 503, you get that 503.
//! - **Options travel with the call.** [`Call`] carries a request and its [`CallOptions`]: a timeout, whether it may be sent
//!   twice, no fallback. `http::Request` carries them in its extensions.
//! - **Dropping is fine.** Every future can be dropped at any await point; what it held goes back.
//! - **Time and chance can be replayed.** All time is tokio's, so a test that starts paused
//!   (`#[tokio::test(start_paused = true)]`, with tokio's `test-util`) waits for nothing; all chance has a seed.
//! - **Your own request type** needs `impl HasCallOptions for MyRequest {}` for bulkhead and timeouts, and [`RetryableRequest`] for
//!   retry; the circuit breaker asks for nothing. Or wrap it in a [`Call`].
//!
//! # Features
//!
//! - `reqwest` (default): [`Client`] and [`Upstream`]. reqwest's own default features are off: choose TLS by depending
//!   on reqwest with the features that you want.
//! - `hyper`: the errors of hyper and of hyper-util's client, classified.
//! - `disk`: `last_known_good::DiskStore`, by which the fallback outlives a restart.
//! - `redis`: `RedisStore`, which the replicas of a service share. TLS is chosen by depending on redis with
//!   the features that you want.

#![forbid(unsafe_code)]
#![cfg_attr(docsrs, feature(doc_cfg))]

mod attempts;
pub mod buffer_body;
pub mod bulkhead;
mod call;
pub mod circuit_breaker;
mod classify;
mod deadline;
mod error;
mod handle;
pub mod http;
pub mod last_known_good;
mod message;
pub mod per_upstream;
mod poll;
#[cfg(feature = "redis")]
mod redis_store;
mod response;
pub mod retry;
mod rng;
mod sync;
pub mod timeout;
mod wall;

pub use self::{
    call::{Call, CallOptions, HasCallOptions, RetrySafety, RetryableRequest},
    classify::{Classify, Outcome},
    error::{BoxError, ConfigError, Error, TimeoutScope},
    message::{Http, NonHttp},
    response::ResponseExt,
};

#[cfg(feature = "redis")]
pub use self::redis_store::{RedisStore, RedisStoreBuilder};

#[cfg(feature = "reqwest")]
mod client;

#[cfg(feature = "reqwest")]
pub use self::client::{
    Client, ClientBuilder, RequestBuilder, ResponseFuture, Upstream, UpstreamFuture, UpstreamHandle,
    watch_redirects,
};

/// The README's examples are compiled with the docs' own: the first one, above all, has to work.
#[cfg(all(doctest, feature = "reqwest", feature = "disk"))]
#[doc = include_str!("../README.md")]
struct Readme;

#[cfg(all(doctest, feature = "reqwest", feature = "disk", feature = "redis"))]
#[doc = include_str!("../docs/last_known_good.md")]
struct LastKnownGoodPage;
