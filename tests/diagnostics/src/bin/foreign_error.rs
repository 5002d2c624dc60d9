//~ `std::io::Error` is not a `steadfast::Error`
//~ the service below this layer fails with `std::io::Error`
//~ convert the error below the layer: `.map_err(steadfast::Error::from_upstream)`

use http::{Request, Response};
use steadfast::circuit_breaker::{CircuitBreaker, CircuitBreakerLayer};
use steadfast_diagnostics::{Upstream, serve};
use tower::ServiceBuilder;

fn main() {
    let upstream = Upstream::<Request<String>, Response<String>, std::io::Error>::new();
    let layer = CircuitBreakerLayer::new(CircuitBreaker::default());
    serve::<Request<String>>(ServiceBuilder::new().layer(layer).service(upstream));
}
