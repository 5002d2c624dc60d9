//! Errors, handles, services, and futures stay small, and types that cross threads are `Send` and `Sync`.
//!
//! A future is moved after its creation, and the future of a layer contains the future of the layer below, so sizes
//! add up. Each bound is about a tenth above today's size. A broken bound is either a deliberate change or a mistake.

#[path = "support/ping.rs"]
mod ping;

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::io;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use steadfast::buffer_body::BufferBodyLayer;
use steadfast::bulkhead::{Bulkhead, BulkheadLayer};
use steadfast::circuit_breaker::{CircuitBreaker, CircuitBreakerLayer};
use steadfast::deadline::DeadlineLayer;
use steadfast::last_known_good::{LastKnownGood, LastKnownGoodLayer};
use steadfast::per_upstream::{PerUpstreamLayer, UpstreamKey};
use steadfast::retry::{RetryBudget, RetryLayer, RetryPolicy};
use steadfast::timeout::TimeoutLayer;
use steadfast::{BoxError, Call, CallOptions, Error};
use tower::layer::util::Identity;
use tower::{Layer, Service, ServiceBuilder};

use ping::Ping;

const SECOND: Duration = Duration::from_secs(1);

/// A service of size zero. Its future holds only the response.
#[derive(Debug, Clone, Copy)]
struct Upstream;

type Answer = Result<Response<Full<Bytes>>, Error<Infallible>>;

impl<Req> Service<Req> for Upstream {
    type Response = Response<Full<Bytes>>;
    type Error = Error<Infallible>;
    type Future = Ready<Answer>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _request: Req) -> Self::Future {
        ready(Ok(Response::new(Full::default())))
    }
}

/// Returns the sizes that `layer` adds to the service and to the future. Both are `Send`.
fn added_by<L, Req>(layer: &L, request: Req) -> (usize, usize)
where
    L: Layer<Upstream>,
    L::Service: Service<Req, Error = Error<Infallible>, Future: Send> + Clone + Send + Sync + 'static,
{
    let mut service = layer.layer(Upstream);
    let future = service.call(request);
    (size_of_val(&service), size_of_val(&future) - size_of::<Ready<Answer>>())
}

fn get() -> Request<Full<Bytes>> {
    Request::get("http://sku.internal/").body(Full::default()).unwrap()
}

/// Asserts upper bounds for the bytes that a layer adds to the service and to the future.
macro_rules! assert_adds {
    ($layer:expr, $request:expr, service <= $service:literal, future <= $future:literal) => {{
        let (service, future) = added_by(&$layer, $request);
        assert!(service <= $service, "the service has {service} bytes");
        assert!(future <= $future, "the future has {future} bytes");
    }};
}

// ===== Errors and handles =====

#[test]
fn an_error_is_at_most_64_bytes_whatever_its_client() {
    assert!(size_of::<Error<Infallible>>() <= 64);
    assert!(size_of::<Error<io::Error>>() <= 64);
    assert!(size_of::<Error<BoxError>>() <= 64);
    assert!(size_of::<Error<[u64; 100]>>() <= 64);
}

#[cfg(all(feature = "reqwest", feature = "hyper"))]
#[test]
fn the_errors_of_clients_take_no_more_room() {
    assert!(size_of::<steadfast::ClientError>() <= 64);
    assert!(size_of::<Error<hyper_util::client::legacy::Error>>() <= 64);
}

#[test]
fn a_handle_to_shared_state_is_one_word() {
    assert_eq!(size_of::<CircuitBreaker>(), size_of::<usize>());
    assert_eq!(size_of::<Bulkhead>(), size_of::<usize>());
    assert_eq!(size_of::<RetryBudget>(), size_of::<usize>());
}

#[test]
fn handles_and_errors_cross_threads() {
    fn crosses<T: Send + Sync + 'static>() {}
    crosses::<CircuitBreaker>();
    crosses::<Bulkhead>();
    crosses::<RetryBudget>();
    crosses::<RetryPolicy>();
    crosses::<LastKnownGood>();
    crosses::<Error<BoxError>>();
    crosses::<steadfast::ConfigError>();
}

#[test]
fn options_add_no_more_than_their_own_size_to_a_call() {
    assert!(size_of::<CallOptions>() <= 56);
    assert_eq!(size_of::<Call<Ping>>(), size_of::<CallOptions>());
}

// ===== Layers =====

#[test]
fn retry_keeps_a_copy_of_the_request_and_little_else() {
    assert_adds!(RetryLayer::new(RetryPolicy::default()), Ping, service <= 16, future <= 104);
    let copy = size_of::<Request<Full<Bytes>>>();
    let (_, future) = added_by(&RetryLayer::new(RetryPolicy::default()), get());
    assert!(future <= copy + 104, "the future has {future} bytes");
}

#[test]
fn a_circuit_breaker_is_small() {
    assert_adds!(CircuitBreakerLayer::new(CircuitBreaker::default()), Ping, service <= 40, future <= 88);
}

#[tokio::test]
async fn a_bulkhead_shares_the_room_of_the_call_with_that_of_the_wait_for_it() {
    assert_adds!(BulkheadLayer::new(Bulkhead::default()), Ping, service <= 16, future <= 32);
}

#[tokio::test]
async fn a_timeout_has_room_for_one_timer() {
    assert_adds!(DeadlineLayer::new(SECOND), Ping, service <= 40, future <= 184);
    assert_adds!(TimeoutLayer::new(SECOND), Ping, service <= 40, future <= 184);
}

#[test]
fn body_buffering_has_room_for_one_response() {
    assert_adds!(BufferBodyLayer::new(), Ping, service <= 32, future <= 408);
}

#[test]
fn last_known_good_keeps_the_headers_of_the_request() {
    let layer = LastKnownGoodLayer::new(LastKnownGood::default());
    assert_adds!(layer, get(), service <= 16, future <= 216);
}

#[test]
fn per_upstream_has_room_for_the_request_until_its_stack_is_ready() {
    let layer = PerUpstreamLayer::new(|_: &UpstreamKey| (Identity::new(), ()));
    let (service, future) = added_by(&layer, get());
    assert!(service <= 8, "the service has {service} bytes");
    let request = size_of::<Request<Full<Bytes>>>();
    assert!(future <= request, "the future has {future} bytes");
}

#[tokio::test]
async fn the_stack_of_five_layers_fits_into_a_kilobyte() {
    let stack = || {
        ServiceBuilder::new()
            .layer(DeadlineLayer::new(3 * SECOND))
            .layer(RetryLayer::new(RetryPolicy::default()))
            .layer(CircuitBreakerLayer::new(CircuitBreaker::default()))
            .layer(BulkheadLayer::new(Bulkhead::default()))
            .layer(TimeoutLayer::new(SECOND))
            .into_inner()
    };
    assert_adds!(stack(), Call::new(Ping), service <= 136, future <= 688);
    assert_adds!(stack(), Call::new(get()), service <= 136, future <= 952);
}

// ===== The client =====

#[cfg(feature = "reqwest")]
mod client {
    use steadfast::{Client, RequestBuilder, ReqwestFuture, ReqwestService, ResponseFuture, UpstreamHandle};

    #[test]
    fn the_client_is_three_words_and_crosses_threads() {
        fn is_shared<T: Clone + Send + Sync + 'static>() {}
        is_shared::<Client>();
        is_shared::<ReqwestService>();
        is_shared::<UpstreamHandle>();
        assert!(size_of::<Client>() <= 24);
    }

    #[test]
    fn the_futures_of_the_client_cross_threads() {
        fn crosses<T: Send>(value: T) -> T {
            value
        }
        fn is_send<T: Send>() {}
        is_send::<RequestBuilder>();
        is_send::<ResponseFuture>();
        is_send::<ReqwestFuture>();
        let client = Client::new();
        drop(crosses(client.get("http://sku.internal/").send()));
        drop(crosses(client.execute(client.get("http://sku.internal/").build().unwrap())));
    }

    #[test]
    fn a_call_of_the_client_fits_into_three_kilobytes() {
        let client = Client::new();
        let call = client.get("http://sku.internal/").build().unwrap();
        assert!(size_of::<ResponseFuture>() <= 1456);
        assert!(size_of_val(&client.execute(call)) <= 1808);
        let send = size_of_val(&client.get("http://sku.internal/").send());
        assert!(send <= 2912, "the future has {send} bytes");
    }
}
