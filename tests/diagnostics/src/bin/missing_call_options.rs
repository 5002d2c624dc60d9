//~ the request `Query` carries no call options
//~ a layer reads the deadline of each request
//~ wrap each request in a `steadfast::Call`, or write `impl steadfast::HasCallOptions for Query {}`

use http::Response;
use steadfast::Error;
use steadfast::bulkhead::{Bulkhead, BulkheadLayer};
use steadfast_diagnostics::{Upstream, serve};
use tower::ServiceBuilder;

struct Query;

fn main() {
    let upstream = Upstream::<Query, Response<String>, Error<std::io::Error>>::new();
    let layer = BulkheadLayer::new(Bulkhead::default());
    serve::<Query>(ServiceBuilder::new().layer(layer).service(upstream));
}
