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
//! Of two random endpoints, the one with the lower price gets the attempt. The price is the latency (the peak EWMA of
//! the times until the head of an answer), times the number of attempts in flight plus one. Prices that differ by
//! less than a quarter count as equal. Answers that are no success never lower the latency. The price halves every
//! two seconds after the end of the last attempt, so that an endpoint that was slow is tried again.
//!
//! A fault makes an endpoint four times as expensive, until its next success. A single fault costs it its share for
//! some four seconds. The share of an endpoint that is new or has returned grows over two seconds, unless most
//! endpoints are new.
//!
//! Not chosen, while others remain, are endpoints
//!
//! - that this call has tried: the error or the response of a failed attempt names its endpoint, and a
//!   [`RetryLayer`](crate::retry::RetryLayer) passes it on in the [options](crate::CallOptions::tried_endpoints)
//! - that are silent: an attempt that began after their last answer has waited for five times the latency, and for at
//!   least 50 ms. Because a single route may be slow, the silence ends after eight times as long for each of up to four
//!   attempts that wait. Then one more attempt follows.
//! - that are ejected
//!
//! # Ejection
//!
//! An endpoint is ejected after three faults in a row, or if half of at least 20 attempts within 5 s fail. Faults are
//! those of the [classifier](crate::Classify), and bodies that break off or stall. A good head between two faults
//! shows that they are not in a row, unless the second is that of a body. A failure of the application, such as a
//! 500, counts in the share only.
//!
//! A failed connection ejects the endpoint at once. So does an attempt that exceeds its own time limit without any
//! answer of the endpoint meanwhile, if the limit is at least twice the latency. A timeout during which the endpoint
//! has answered other attempts counts as one fault, because the route may be slow. So does a shorter limit; one below
//! the latency counts as none. The caller's deadline, or a dropped call, counts as one fault after an unusually long
//! wait: four times the latency and at least 100 ms, or 1 s while no latency is known; for a probe, twice the
//! latency.
//!
//! A body has stalled if its reader has waited for twice the latency, and for twice the longest wait before, when a
//! time limit cuts it or the reader drops it. That is a fault if the attempt's own limit cuts it after 20 ms or more,
//! or if the wait is unusually long. A stream without a known length that has sent nothing yet is quiet, not stalled.
//!
//! An endpoint is ejected only if a quarter of the others, and at least one, have less than half of its share of
//! faults, so an overload that affects all equally ejects few. The last available endpoint is ejected like any other,
//! and then all are used. A sole endpoint is never ejected.
//!
//! An ejection lasts 1 s, doubled for each failed probe, at most 8 s, with a jitter of a quarter. A transient answer
//! with `Retry-After`, such as a 503, ejects the endpoint for the requested time if that is longer: up to 8 s, and
//! after three faults in a row or three failed probes, up to five minutes. The retry of the call does not wait for
//! this time if another endpoint is better. A 429 with `Retry-After` counts as a fault, and ejects the endpoint only
//! as the third fault in a row, because a single caller may be throttled. If the classifier retries the 429, that
//! retry waits.
//!
//! # Return
//!
//! When an ejection is over, one in eight calls is drawn to [probe](crate::CallOptions::may_probe) the endpoint, by
//! its first attempt. One probe of an endpoint runs at a time. The retry layer allows probes only to calls that it
//! can send again. If no such call probes within 2 s, other calls are drawn, too.
//!
//! A probe that can be sent again is limited to four times the latency of the slowest endpoint, at least 200 ms. If
//! it fails, the retry layer sends the request to another endpoint at once, without a token of the budget. A success
//! brings the endpoint back, with the latency from before its faults. Results of attempts that began before the
//! ejection or the return are ignored.
//!
//! Without a retry layer above, every call may probe, and a failed probe fails its call. Forbid probes with
//! [`allow_probe(false)`](crate::CallOptions::allow_probe).
//!
//! # The retry budget
//!
//! One endpoint that dies fails all of its attempts in flight at once, which would empty the budget of the upstream.
//! So the faults of an endpoint, and the retries that follow them, are charged at most once in 100 ms while another
//! endpoint is better: the rule of an ejection. Any available endpoint is better than one that has been removed. For
//! lanes, the 100 ms hold for all of them together, and only a lane that has given a good answer within the last
//! second is better.
//!
//! # Connections that look dead
//!
//! After a timeout, a failed connection, or two faults in a row of which the last is an attempt that was dropped
//! after an unusually long wait, the service of the endpoint is made anew, and with it the connections. The upstream
//! has a budget of ten renewals, refilled by one a second.
//!
//! # Lanes
//!
//! Behind a virtual address, such as a Kubernetes `ClusterIP`, the connection decides which instance answers. A retry
//! over the same connection meets the same instance. So a single address can have several lanes: sets of connections,
//! each of which is an endpoint of its own. The above holds for lanes, except for the choice and for what follows.
//! The service of each lane is made anew, so the function that makes it must return one with connections of its own.
//! [`max_lanes`](EndpointsBuilder::max_lanes) switches lanes on; a `Client` has them by default.
//!
//! - Over HTTP/1, a lane carries one attempt at a time, on one connection. The lowest idle lane gets the attempt, one
//!   with a fault only after the others. If no lane is idle, one is added. Beyond the largest number, attempts share
//!   lanes. An ejected lane is given up, since another one can be added when it is needed.
//! - Over HTTP/2, the attempts share two lanes, by price. A lane carries up to 50 attempts. If all are full, one is
//!   added. While the first answer of a lane is awaited, the others carry the load.
//! - The version of the answers shows the protocol. Until the first answer, all attempts share one lane, unless the
//!   settings of a `Client` tell the protocol.
//!
//! A lane is bad
//!
//! - after two faults in a row, until a success, or for good if other lanes are better then
//! - if no lane has given a good answer since the first of three faults, and this one has not done so since
//! - for a retry, if it has not given a good answer since the last attempt that got none: all idle connections can
//!   die at once
//! - after its silence. If four attempts wait, a lane is silent after twice its latency, and at least 50 ms; a new
//!   lane after twice the usual latency, and at least 250 ms.
//!
//! A bad lane is replaced by one with a new connection, or another lane is added, while good ones remain in use. So
//! is a lane whose latency exceeds four times the usual latency of the lanes by more than 5 ms; the latency counts
//! after eight answers and 3 s. If all lanes are slower than before by as much, or if a tenth of the attempts fails,
//! one lane is replaced every five seconds, to find out whether another instance is better. Each lane is replaced at
//! its [age](EndpointsBuilder::max_lane_age), 60 s with a jitter of a quarter, so that the load spreads after a
//! scale-up. Over HTTP/2, that happens only if another lane can carry the attempts meanwhile.
//!
//! Except at its age, or to serve more attempts at once, a new connection takes one of the renewals of the upstream.
//! So an outage opens few connections. Where other lanes are better, ten good answers pay for a renewal. A lane
//! without an attempt for 60 s is removed if there are others.
//!
//! # Idle connections
//!
//! A request fails if the server closes its idle connection at the same moment. A server can state by `Keep-Alive:
//! timeout=5` for how long it keeps an idle HTTP/1 connection. An endpoint or lane that had nothing in flight for
//! that time less one second, or for half of a time below two seconds, gets a new connection.
//!
//! # Discovery
//!
//! The addresses come from a stream of [changes](Change), as in `tower::discover`. Calls poll the stream, so no task
//! is needed. A call waits only for the first address. An error of the stream is logged, and the known endpoints are
//! kept. A removed endpoint gets no new attempts.
//!
//! ```
//! use steadfast::BoxError;
//! use steadfast::endpoints::{Change, Endpoints};
//! # fn connect(address: &str) -> String { address.to_owned() }
//! # type Receiver = tokio::sync::mpsc::UnboundedReceiver<Result<Change<&'static str>, BoxError>>;
//!
//! /// Endpoints whose addresses a task reports, for example one that watches a registry.
//! fn watched(mut changes: Receiver) -> Result<Endpoints<&'static str, String>, steadfast::ConfigError> {
//!     let changes = futures_util::stream::poll_fn(move |cx| changes.poll_recv(cx));
//!     Endpoints::builder().name("sku").build(changes, |address: &&str| connect(address))
//! }
//! ```
//!
//! # Events
//!
//! `tracing` events with target `steadfast::endpoints` have the fields `upstream` and, for one endpoint, `address`.
//! The events of lanes are all of level DEBUG, and `address` has the number of the lane.
//!
//! | level | event | further fields |
//! |---|---|---|
//! | WARN | an endpoint is ejected | `cause` ([`EjectionCause`]), `time` |
//! | DEBUG | a probe failed, so the ejection lasts longer | `time` |
//! | INFO | an endpoint is available again | |
//! | DEBUG | an endpoint is added or removed, or a lane gets new connections | |
//! | WARN | the discovery failed, and the known endpoints are kept | `error`, `known` |
//! | WARN | too many addresses wait for a place | `waiting` |
//! | WARN | the first failed look-up of a name in an outage of the resolver (`Client`) | `name`, `error`, `kept` |
//! | INFO | a look-up succeeds again (`Client`) | `name` |

mod attempt;
mod attempt_start;
mod body;
mod choice;
mod config;
mod discovery;
mod ejection;
mod endpoint;
mod fault_window;
mod first_wait;
mod future;
mod group;
mod handle;
mod lane_changes;
mod lane_choice;
mod lanes;
mod load;
mod load_words;
mod members;
mod renewal;
mod service;
mod status;

pub use self::{
    body::EndpointBody,
    config::EndpointsBuilder,
    discovery::{Change, Fixed, fixed},
    future::ResponseFuture,
    handle::Endpoints,
    service::EndpointsService,
    status::{EjectionCause, EndpointState, EndpointStatus},
};
