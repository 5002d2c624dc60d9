//! **Keeps a Rust service's outbound HTTP calls useful while the network and the upstreams fail.**
//!
//! The network fails, and upstreams crash, hang, slow down and come back. [`Client`] wraps a `reqwest::Client`, so
//! that a service does not go down with its upstreams and does not make their outages worse:
//!
//! ```
//! use std::time::Duration;
//! use steadfast::last_known_good::LastKnownGood;
//! use steadfast::ResponseExt;
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let http = steadfast::Client::builder()
//!     .total_timeout(Duration::from_secs(3))
//!     .last_known_good(LastKnownGood::builder()) // opt-in: marked stale responses, if the upstream cannot answer
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
//! The client is made of plain tower layers, which you can also use in a stack of your own:
//!
//! | layer | purpose | position |
//! |---|---|---|
//! | [`deadline`] | bounds the time of the whole call | outermost: includes the waits between attempts and the reading of the body |
//! | [prefetch](last_known_good::PrefetchLayer) | fetches the URIs of earlier calls again, in the background | above the cache, which stores the responses |
//! | [`last_known_good`] | serves a stale response | above all layers whose failures it can cover |
//! | [`per_upstream`] | makes one stack of the layers below for each scheme and authority | above the layers that need state of their own for each upstream |
//! | [`retry`] | sends a request again after 502, 503, 504 and transport faults, within a budget | above the circuit breaker, whose refusals are not retried |
//! | [`circuit_breaker`] | stops sending to an upstream that is down | below the retry, to see every attempt |
//! | [`bulkhead`] | bounds the attempts in flight | below the retry, to hold no permit while a retry waits |
//! | [`timeout`] | bounds the time of one attempt | below the circuit breaker, which counts a hang as a failure |
//! | [`buffer_body`] | reads small bodies inside the attempt | below the timeout: a truncated body fails the attempt |
//! | [`endpoints`] | sends each attempt to one of several addresses | innermost: a retry goes to another address |
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
//! let body = response.into_body().collect().await?.to_bytes(); // by http_body_util::BodyExt; the error is a BoxError
//! # Ok(())
//! # }
//! ```
//!
//! # What to know
//!
//! - **In your own stack, you create the shared state.** `CircuitBreaker`, `Bulkhead`, `RetryBudget` and
//!   `LastKnownGood` are handles of shared state. Create one circuit breaker, bulkhead and retry budget for each
//!   upstream, give clones to the layers, and inspect a handle at any time. The names of circuit breakers and
//!   bulkheads appear in errors and events.
//! - **One classifier.** A [`Classify`] decides what a result says about the upstream. Give the same classifier to
//!   every layer.
//! - **One error.** [`Error`] says what failed, for which upstream, after how many attempts, and whether anything may
//!   have been sent. A status is never an error: if the last attempt made ends with a 503, you get that 503. If a
//!   retry is refused locally, you get the response before it, provided that its body was read during the wait.
//!   tower's own layers box errors; [`Error::from_boxed`] converts them back.
//! - **Options travel with the call.** [`Call`] carries a request and its [`CallOptions`]: a timeout or a deadline,
//!   the retry safety, the use of stale responses, and, for each attempt, its number and whether another may follow.
//!   An `http::Request` carries the options in its extensions. A bare `reqwest::Request` carries only its timeout;
//!   for other options, wrap the request in a [`Call`].
//! - **A layer of yours may move a call to another task.** A retry decides from the error, the response and the
//!   options. All of these travel with the call, so the move never causes an unsafe resend. Only six pieces of advice
//!   between layers are lost. Without the advice that a response is discarded, or that its body is in memory, the
//!   permit returns later, when the body has ended. Without the advice that the time of an attempt is up, the caller
//!   loses the head of a response whose body stalls. Without the advice that a body still arrives, the default
//!   attempt timeout cuts the body. Without the advice why a call is pending, the circuit breaker takes a wait for a
//!   permit, or for the target of a redirect, for slowness of the upstream, and judges an attempt beyond its share
//!   only at its end. The circuit may then open earlier or later. Without the advice that the circuit has opened, a
//!   call in a queue waits on.
//! - **Every future can be dropped** at any await point, and then releases whatever it holds.
//! - **Tests control time and randomness.** All timers of the layers are tokio's. So a test of layers over a service
//!   without sockets never waits in paused time (`#[tokio::test(start_paused = true)]`, with tokio's `test-util`). A
//!   test over real sockets needs real time: tokio moves the paused clock to the next timer as soon as all tasks
//!   wait. That happens even while an answer is on its way, so deadlines pass at once. Every random choice can be
//!   seeded.
//! - **Your own request type** needs `impl HasCallOptions for MyRequest {}` for the deadline, retry, bulkhead and
//!   timeout layers, and [`RetryableRequest`] for the retry layer. The circuit breaker needs neither. A [`Call`]
//!   around the request replaces the `impl`, but not `RetryableRequest`.
//! - **If a stack does not compile**, call `ServiceExt::oneshot(service, request)`: a method call such as
//!   `.oneshot(request)` or `.ready()` hides the reason. With the function, the compiler's message names the fix:
//!   `.map_err(Error::from_upstream)`, `.non_http()` or `HasCallOptions`. With a `service_fn` at the bottom, the
//!   message expects "a future that resolves to `Result<_, Error<_>>`" if `map_err` is missing, and "to
//!   `Result<Response<_>, _>`" if `.non_http()` is missing.
//!
//! # Features
//!
//! - `reqwest` (default): [`Client`] and [`ReqwestService`]. reqwest's own default features are off. For other
//!   features of reqwest, such as another TLS library, depend on reqwest with the features that you want.
//! - `http2` (default): HTTP/2, and the resending of requests that an HTTP/2 server has not processed.
//! - `rustls`: TLS by rustls, root certificates of your own, and the recognition of untrusted certificates.
//! - `cookies`: a cookie store.
//! - `multipart`: multipart forms.
//! - `hyper`: classifies the errors of hyper and of hyper-util's client.
//! - `disk`: `stores::DiskStore`, which keeps the cache across restarts.
//! - `redis`: `stores::RedisStore`, which the replicas of a service share. To choose TLS, depend on redis with
//!   the features that you want.

#![forbid(unsafe_code)]
#![cfg_attr(docsrs, feature(doc_cfg))]

mod advice;
mod attempts;
pub mod buffer_body;
pub mod bulkhead;
mod call;
pub mod circuit_breaker;
pub mod classify;
mod config_error;
pub mod deadline;
mod endpoint;
pub mod endpoints;
mod error;
pub mod http;
mod internal;
pub mod last_known_good;
pub mod per_upstream;
mod response_ext;
mod response_kind;
pub mod retry;
mod sealed;
mod stale;
mod stop_reason;
pub mod stores;
pub mod timeout;

pub use self::{
    advice::{RetryAdvice, RetryAdvisor},
    call::{Call, CallOptions, HasCallOptions, RetrySafety, RetryableRequest},
    classify::{Classify, Judge, Outcome},
    config_error::ConfigError,
    endpoint::{EndpointId, EndpointSet},
    error::{BoxError, Error, ErrorInfo, ErrorKind, SteadfastError, TimeoutScope},
    response_ext::ResponseExt,
    response_kind::{Http, NonHttp, ResponseKind},
    stop_reason::StopReason,
};

pub(crate) use self::endpoint::RetryTerms;

#[cfg(feature = "reqwest")]
mod client;

#[cfg(feature = "reqwest")]
pub use self::client::{
    Client, ClientBuilder, ClientError, RequestBuilder, ReqwestFuture, ReqwestService, ResponseFuture,
    UpstreamHandle, watch_redirects,
};

/// Compiles the README's examples as doctests.
#[cfg(all(doctest, feature = "reqwest", feature = "disk"))]
#[doc = include_str!("../README.md")]
struct Readme;

#[cfg(all(doctest, feature = "reqwest", feature = "disk", feature = "redis"))]
#[doc = include_str!("../docs/last_known_good.md")]
struct LastKnownGoodPage;

#[cfg(all(doctest, feature = "reqwest"))]
#[doc = include_str!("../docs/coming_from_reqwest.md")]
struct ComingFromReqwestPage;
