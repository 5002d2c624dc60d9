//~ `HttpClassifier` does not know the error `ParseIntError`
//~ implement `steadfast::http::TransportError`
//~ `.classifier(classify::from_fn(…))`

use std::num::ParseIntError;

use http::{Request, Response};
use steadfast::Error;
use steadfast::circuit_breaker::{CircuitBreaker, CircuitBreakerLayer};
use steadfast_diagnostics::{Upstream, serve};
use tower::ServiceBuilder;

fn main() {
    let upstream = Upstream::<Request<String>, Response<String>, Error<ParseIntError>>::new();
    let layer = CircuitBreakerLayer::new(CircuitBreaker::default());
    serve::<Request<String>>(ServiceBuilder::new().layer(layer).service(upstream));
}
