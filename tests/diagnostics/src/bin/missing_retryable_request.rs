//~ the request `Query` cannot be retried
//~ implement `steadfast::RetryableRequest` for `Query`

use http::Response;
use steadfast::retry::{RetryLayer, RetryPolicy};
use steadfast::{Error, HasCallOptions};
use steadfast_diagnostics::{Upstream, serve};
use tower::ServiceBuilder;

struct Query;

impl HasCallOptions for Query {}

fn main() {
    let upstream = Upstream::<Query, Response<String>, Error<std::io::Error>>::new();
    let layer = RetryLayer::new(RetryPolicy::default());
    serve::<Query>(ServiceBuilder::new().layer(layer).service(upstream));
}
