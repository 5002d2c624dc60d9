//! Per upstream: if several upstreams share a circuit breaker, the failure of one leads to refused calls to all.
//!
//! [`PerUpstreamLayer`] therefore makes a stack of layers for each upstream, when the upstream is first used. The
//! stack maker ([`MakeStack`]), usually a closure, returns the layers of the upstream and their handles. The layers
//! are put around a clone of the service below.
//!
//! Users can get the handles from [`PerUpstreamService::handles`] and [`PerUpstreamService::upstreams`]. Other layers
//! around the service hide these methods, so keep a clone of the service: clones share the upstreams.
//!
//! ```
//! use steadfast::Error;
//! use steadfast::per_upstream::{PerUpstreamLayer, UpstreamKey};
//! use steadfast::retry::{RetryBudget, RetryLayer, RetryPolicy};
//! use tower::{ServiceBuilder, ServiceExt};
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let policy = RetryPolicy::default();
//! let stack_maker = move |upstream: &UpstreamKey| {
//!     let budget = RetryBudget::default().fresh(upstream.to_string());
//!     (RetryLayer::new(policy.clone()).budget(budget.clone()), budget)
//! };
//! let service = ServiceBuilder::new()
//!     .layer(PerUpstreamLayer::new(stack_maker).max_upstreams(100))
//!     .map_err(Error::from_upstream)
//!     .service_fn(async |_: http::Request<String>| {
//!         Ok::<_, std::io::Error>(http::Response::new(String::new()))
//!     });
//! let request = http::Request::get("http://sku.internal/").body(String::new())?;
//! let response = service.clone().oneshot(request).await?;
//! for (upstream, budget) in service.upstreams() {
//!     println!("{upstream}: {} tokens", budget.tokens());
//! }
//! # Ok(())
//! # }
//! ```
//!
//! # Bounds
//!
//! The number of stacks is bounded. When a new upstream exceeds the bound, the upstream that has been idle for
//! longest is evicted, with all its state: an open circuit is forgotten. An upstream in use is spared while another
//! can be evicted. If all upstreams are in use, the one that has been idle for longest is evicted nevertheless.
//!
//! - In the crate's client, an upstream is in use while its circuit is open, half-open or forced, and while calls
//!   hold permits of its bulkhead or wait for them.
//! - A stack maker of your own decides by [`MakeStack::is_in_use`]. By default, it spares no upstream.
//! - With every stack maker, some calls protect their upstream until the call's future is dropped, but not while the
//!   body of the response is read. These are the calls that begin when at least half of the bound is reached, that
//!   add their upstream, or that wait for its stack. For all other calls, no eviction is near, and the protection
//!   would cost writes to shared memory.
//!
//! Calls in flight to an evicted upstream go on.
//!
//! # Readiness
//!
//! The service itself is always ready. A call waits, if necessary, until the stack of its upstream is ready. The
//! call's deadline and its own timeout bound the wait. A call whose wait takes too long ends with
//! [`ErrorKind::Timeout`](crate::ErrorKind::Timeout), of the scope [`Total`](crate::TimeoutScope::Total), and nothing
//! was sent.
//!
//! # Cost
//!
//! The lookup of a known upstream takes no lock and reads no clock. By default, the lookup allocates only if the host
//! has upper-case letters. A call to a stack that is not ready makes one allocation. On average, the cost of a new
//! upstream does not grow with the number of upstreams, up to 65,536 of them. If all upstreams are in use, the cost
//! grows with their number.

mod future;
mod key;
mod layer;
mod make_stack;
mod map;
mod service;

pub use self::{
    future::ResponseFuture,
    key::{KeyExtractor, KeyFn, KeyRef, Origin, UpstreamKey},
    layer::PerUpstreamLayer,
    make_stack::MakeStack,
    service::PerUpstreamService,
};
