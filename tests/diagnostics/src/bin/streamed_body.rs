//~ the request body `Stream` cannot be copied for a retry
//~ put a `steadfast::http::ReplayBodyLayer` above the retry

use http::{Request, Response};
use steadfast::Error;
use steadfast::retry::{RetryLayer, RetryPolicy};
use steadfast_diagnostics::{Upstream, serve};
use tower::ServiceBuilder;

struct Stream;

fn main() {
    let upstream = Upstream::<Request<Stream>, Response<String>, Error<std::io::Error>>::new();
    let layer = RetryLayer::new(RetryPolicy::default());
    serve::<Request<Stream>>(ServiceBuilder::new().layer(layer).service(upstream));
}
