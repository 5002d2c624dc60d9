//! **Keeps a Rust service's outbound HTTP calls useful while the network, and the services behind it, are not.**
//!
//! The network fails; upstreams crash, hang, slow down and come back. [`Client`] puts around a `reqwest::Client` what a
//! service needs so as not to go down with a dependency, and not to make its outage worse:
//!
//! ```
//! use std::time::Duration;
//! use steadfast::last_known_good::LastKnownGood;
//! use steadfast::ResponseExt;
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let http = steadfast::Client::builder()
//!     .total_timeout(Duration::from_secs(3))
//!     .last_known_good(LastKnownGood::builder()) // opt-in: stale answers, marked, where there is no other
//!     .build()?; // sane defaults for everything else
//!
//! let response = http.get("http://sku.internal/v1/items/42").send().await?; // a reqwest::Response
//! if let Some(stale) = response.stale() {
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
//! | [`deadline`] | one clock for the whole call | waits between attempts count, and the reading of the body |
//! | [prefetch](last_known_good::PrefetchLayer) | asks again, in the background, for what was asked once | what it fetches is kept below it |
//! | [`last_known_good`] | answers from the last good response | when everything below has failed |
//! | [`per_upstream`] | one set of the layers below for each scheme and authority | one upstream's failure is not another's |
//! | [`retry`] | asks again after 502, 503, 504 and transport faults, within a budget | above the breaker: it never retries a refusal |
//! | [`circuit_breaker`] | stops asking an upstream that is down | sees every attempt |
//! | [`bulkhead`] | bounds the calls in flight | holds no permit while a retry waits |
//! | [`timeout`] | bounds one attempt | below the breaker, which must see a hang as a failure |
//! | [`buffer_body`] | reads small bodies inside the attempt | a body cut short is a failed attempt |
//!
//! ```
//! use std::time::Duration;
//! use http_body_util::BodyExt;
//! use steadfast::bulkhead::{Bulkhead, BulkheadLayer};
//! use steadfast::circuit_breaker::{CircuitBreaker, CircuitBreakerLayer};
//! use steadfast::deadline::DeadlineLayer;
//! use steadfast::last_known_good::{LastKnownGood, LastKnownGoodLayer};
//! use steadfast::retry::{RetryLayer, RetryPolicy};
//! use steadfast::timeout::TimeoutLayer;
//! use steadfast::{Call, ReqwestService};
//! use tower::{ServiceBuilder, ServiceExt};
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
//! let circuit_breaker = CircuitBreaker::builder().name("sku").build()?;
//! let bulkhead = Bulkhead::builder().name("sku").max_concurrent(64).build()?;
//! let retry = RetryLayer::new(RetryPolicy::default())
//!     .name("sku")
//!     .advised_by(circuit_breaker.clone()); // no wait for a retry that the circuit would refuse
//!
//! let client = reqwest::Client::builder().retry(reqwest::retry::never()).build()?;
//! let service = ServiceBuilder::new()
//!     .layer(DeadlineLayer::new(Duration::from_secs(3)))
//!     .layer(LastKnownGoodLayer::new(LastKnownGood::default()))
//!     .layer(retry)
//!     .layer(CircuitBreakerLayer::new(circuit_breaker.clone()))
//!     .layer(BulkheadLayer::new(bulkhead.clone()))
//!     .layer(TimeoutLayer::new(Duration::from_secs(1)))
//!     .service(ReqwestService::new(client.clone())); // or .map_err(Error::from_upstream).service(anything)
//!
//! let request = client.get("http://sku.internal/v1/items/42").build()?;
//! let response = service.oneshot(Call::new(request)).await?;
//! println!("{} while the circuit is {:?}", response.status(), circuit_breaker.state());
//! let body = response.into_body().collect().await?.to_bytes(); // by http_body_util::BodyExt
//! # Ok(())
//! # }
//! ```
//!
//! # What to know
//!
//! - **Shared state is made by you.** A `CircuitBreaker`, `Bulkhead`, `RetryBudget` or `LastKnownGood` is a handle: make it
//!   once for an upstream, hand clones of it to layers, and look at it whenever you want. Its name is in errors and events.
//! - **One opinion.** A [`Classify`] says what a result means, and every layer is given the same one.
//! - **One error.** [`Error`] says what failed, for which upstream, after how many attempts, and whether anything was sent. A
//!   status is never an error: when the attempts run out on a 503, you get that 503. tower's own layers box errors:
//!   [`Error::from_boxed`] is the way back.
//! - **Options travel with the call.** [`Call`] carries a request and its [`CallOptions`]: a timeout or a deadline, whether it may
//!   be sent twice, no stale answer; and, for each attempt, its number and whether another may follow. `http::Request` carries
//!   them in its extensions. A bare `reqwest::Request` has no room for them: wrap it in a [`Call`].
//! - **Correctness depends on types alone.** What a retry has to know is in the error, the response and the options, so a layer
//!   of yours may move a call to another task. Two pieces of advice are lost then, and cost only time: a permit goes back when
//!   a body that is thrown away has ended, and the circuit breaker counts the time in a queue towards slow and abandoned calls.
//! - **Dropping is fine.** Every future can be dropped at any await point; what it held goes back.
//! - **Time and chance can be replayed.** All time is tokio's, so a test that starts paused
//!   (`#[tokio::test(start_paused = true)]`, with tokio's `test-util`) waits for nothing; all chance has a seed.
//! - **Your own request type** needs `impl HasCallOptions for MyRequest {}` for bulkhead and timeouts, and [`RetryableRequest`] for
//!   retry; the circuit breaker asks for nothing. Or wrap it in a [`Call`].
//!
//! # Features
//!
//! - `reqwest` (default): [`Client`] and [`ReqwestService`]. reqwest's own default features are off: choose TLS by depending
//!   on reqwest with the features that you want.
//! - `hyper`: the errors of hyper and of hyper-util's client, classified.
//! - `disk`: `last_known_good::DiskStore`, by which the last good answers outlive a restart.
//! - `redis`: `RedisStore`, which the replicas of a service share. TLS is chosen by depending on redis with
//!   the features that you want.

#![forbid(unsafe_code)]
#![cfg_attr(docsrs, feature(doc_cfg))]

mod advice;
pub mod buffer_body;
pub mod bulkhead;
mod call;
pub mod circuit_breaker;
pub mod classify;
mod config_error;
pub mod deadline;
mod endpoint;
mod error;
pub mod http;
mod internal;
pub mod last_known_good;
pub mod per_upstream;
#[cfg(feature = "redis")]
mod redis_store;
mod response_ext;
mod response_kind;
pub mod retry;
mod sealed;
mod stale;
mod stop_reason;
pub mod timeout;

pub use self::{
    advice::{RetryAdvice, RetryAdvisor},
    call::{Call, CallOptions, HasCallOptions, RetrySafety, RetryableRequest},
    classify::{Classify, Judge, Outcome},
    config_error::ConfigError,
    endpoint::{EndpointId, EndpointSet},
    error::{BoxError, Error, ErrorInfo, ErrorKind, TimeoutScope},
    response_ext::ResponseExt,
    response_kind::{Http, NonHttp, ResponseKind},
    stop_reason::StopReason,
};

#[cfg(feature = "redis")]
pub use self::redis_store::{RedisStore, RedisStoreBuilder};

#[cfg(feature = "reqwest")]
mod client;

#[cfg(feature = "reqwest")]
pub use self::client::{
    Client, ClientBuilder, ClientError, RequestBuilder, ReqwestFuture, ReqwestService, ResponseFuture,
    UpstreamHandle, watch_redirects,
};

/// The README's examples are compiled with the docs' own: the first one, above all, has to work.
#[cfg(all(doctest, feature = "reqwest", feature = "disk"))]
#[doc = include_str!("../README.md")]
struct Readme;

#[cfg(all(doctest, feature = "reqwest", feature = "disk", feature = "redis"))]
#[doc = include_str!("../docs/last_known_good.md")]
struct LastKnownGoodPage;
