//! Endpoints: most upstreams are several instances behind one name, and often only one of them fails.
//!
//! A connection pool hands out the connection that was used last, and one HTTP/2 connection carries every stream. So
//! a retry often meets the instance that has just failed, and a connection that dies silently takes every retry with
//! it.
//!
//! [`Endpoints`] gives each address of an upstream a service of its own, and [`EndpointsService`] chooses one of them
//! for each attempt. It stands at the bottom of a stack, so everything above sees one upstream: the circuit breaker,
//! the bulkhead and the retry budget are those of the upstream. A `Client` does all of this by itself.
//!
//! ```
//! use std::net::SocketAddr;
//! use steadfast::Error;
//! use steadfast::endpoints::{Endpoints, EndpointsService, fixed};
//! use steadfast::retry::{RetryLayer, RetryPolicy};
//! use tower::{ServiceBuilder, ServiceExt};
//!
//! # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
//! let address = |last| SocketAddr::from(([10, 0, 0, last], 80));
//! let addresses = [address(1), address(2), address(3)];
//! let endpoints = Endpoints::builder().name("sku").build(fixed(addresses), |address: &SocketAddr| {
//!     // Any tower service. This one stands for a client that is connected to the address.
//!     let status = if address.ip().to_string() == "10.0.0.2" { 503 } else { 200 };
//!     let answer = move |_| async move {
//!         let response = http::Response::builder().status(status).body(String::new());
//!         Ok::<_, std::io::Error>(response.expect("a valid response"))
//!     };
//!     ServiceBuilder::new().map_err(Error::from_upstream).service_fn(answer)
//! })?;
//! let service = ServiceBuilder::new()
//!     .layer(RetryLayer::new(RetryPolicy::default()))
//!     .service(EndpointsService::new(endpoints.clone()));
//!
//! for _ in 0..20 {
//!     let request = http::Request::get("http://sku.internal/").body(String::new()).unwrap();
//!     let response = service.clone().oneshot(request).await.unwrap();
//!     assert_eq!(response.status(), 200); // a retry goes to another endpoint
//! }
//! assert_eq!(endpoints.list().len(), 3);
//! # Ok::<(), steadfast::ConfigError>(())
//! # }).unwrap();
//! ```
//!
//! # Choice
//!
//! Of two random endpoints, the one with the lower price gets the attempt. The price is the usual time of its answers
//! (peak EWMA), times the number of its attempts in flight plus one. Nearly equal prices count as equal. A fault
//! makes an endpoint four times as expensive, until its next success. An endpoint that is new gets one attempt, and
//! its share after the first answer.
//!
//! Not chosen, while others remain, are endpoints
//!
//! - that this call has tried: the error or the response of a failed attempt names its endpoint, and a
//!   [`RetryLayer`](crate::retry::RetryLayer) passes it on in the [options](crate::CallOptions::tried_endpoints)
//! - that are silent: an attempt that began after their last answer has waited for five times the usual time, and for
//!   at least 50 ms
//! - that are ejected
//!
//! # Ejection
//!
//! An endpoint is ejected after three faults in a row, or if half of at least 20 attempts within 5 s fail. A timeout
//! or a failed connection ejects it at once; a timeout during which it has answered other attempts counts as one
//! fault, because the route may be slow. Faults are those of the [classifier](crate::Classify). A failure of the
//! application, such as a 500, counts in the share only. An endpoint is ejected only if another one has less than
//! half of its share of faults, so an overload that affects all equally ejects none. The last available endpoint is
//! ejected if it fails. If no endpoint is available, all are used.
//!
//! An ejection lasts 1 s, doubled for each failed probe, at most 8 s, with a jitter of a quarter. A 503 with
//! `Retry-After` ejects the endpoint for as long as the header asks, at most five minutes, and does not delay the
//! retry of the call if another endpoint is better. A 429 does so after three in a row only, because a single caller
//! may be throttled, and it delays the retry.
//!
//! # Return
//!
//! After the ejection, a call [probes](crate::CallOptions::may_probe) the endpoint: one of eight, and one at a time.
//! The probe has four times the usual time of the slowest endpoint, at least 200 ms. If it fails, the retry layer
//! sends the request to another endpoint at once, without a token of the budget. So only calls that may be sent again
//! probe. If there are none for 2 s, any call does. A success brings the endpoint back, with the average from before
//! its faults. Results of attempts from before the ejection or the return say nothing.
//!
//! Without a retry layer above, a failed probe fails its call.
//!
//! # The retry budget
//!
//! One endpoint that dies fails all of its attempts in flight at once, which would empty the budget of the upstream.
//! So the faults of an endpoint are charged once in 100 ms while another endpoint is better: available, with less
//! than half of its share of faults.
//!
//! # Connections that look dead
//!
//! After a timeout, a failed connection, or two faults in a row of which the last is an attempt that was dropped
//! after an unusually long wait, the service of the endpoint is made anew, and with it the connections. The upstream
//! has ten such renewals, and one more for each second.
//!
//! # Discovery
//!
//! The addresses come from a stream of [changes](Change), as in `tower::discover`. Calls poll the stream, so no task
//! is needed. A call waits only for the first address. An error of the stream is logged, and the known endpoints are
//! kept. A removed endpoint gets no new attempts.

mod attempt;
mod choice;
mod config;
mod discovery;
mod ejection;
mod first_wait;
mod future;
mod group;
mod handle;
mod load;
mod members;
mod renewal;
mod service;
mod status;

pub use self::{
    attempt::EndpointBody,
    config::EndpointsBuilder,
    discovery::{Change, Fixed, fixed},
    future::ResponseFuture,
    handle::Endpoints,
    service::EndpointsService,
    status::{EjectionCause, EndpointState, EndpointStatus},
};
