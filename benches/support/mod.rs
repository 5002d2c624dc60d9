//! The helpers of the benches: a cheap request, and calls without a runtime.

use std::pin::pin;
use std::sync::LazyLock;
use std::task::{Context, Poll, Waker};

use http::{HeaderMap, Method};
use steadfast::http::HttpRequest;
use steadfast::{Call, HasCallOptions, RetrySafety, RetryableRequest};
use tower::Service;

static NO_HEADERS: LazyLock<HeaderMap> = LazyLock::new(HeaderMap::new);

/// An HTTP request that is `Copy`, so that the benches do not time the copying of requests.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Get {
    pub(crate) host: &'static str,
}

pub(crate) fn get() -> Call<Get> {
    Call::new(Get { host: "sku.internal" })
}

impl HasCallOptions for Get {}

impl RetryableRequest for Get {
    fn retry_safety(&self) -> RetrySafety {
        RetrySafety::Idempotent
    }

    fn try_clone(&self) -> Option<Self> {
        Some(*self)
    }
}

impl HttpRequest for Get {
    fn method(&self) -> &Method {
        &Method::GET
    }

    fn headers(&self) -> &HeaderMap {
        &NO_HEADERS
    }

    fn scheme(&self) -> &'static str {
        "http"
    }

    fn host(&self) -> &str {
        self.host
    }

    fn port(&self) -> Option<u16> {
        Some(80)
    }

    fn path(&self) -> &'static str {
        "/v1/items/42"
    }

    fn query(&self) -> Option<&str> {
        None
    }

    fn has_body(&self) -> bool {
        false
    }
}

/// Polls a future once, which must be enough.
pub(crate) fn poll_once<F: Future>(future: F) -> F::Output {
    let Poll::Ready(output) = pin!(future).poll(&mut Context::from_waker(Waker::noop())) else {
        panic!("the call is not ready at once");
    };
    output
}

/// Calls a service, which must be ready.
pub(crate) fn start_call<S: Service<Req>, Req>(service: &mut S, request: Req) -> S::Future {
    assert!(service.poll_ready(&mut Context::from_waker(Waker::noop())).is_ready());
    service.call(request)
}
