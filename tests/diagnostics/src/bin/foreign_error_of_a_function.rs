//~ to be a future that resolves to `Result<_, Error<_>>`

use http::{Request, Response};
use steadfast::bulkhead::{Bulkhead, BulkheadLayer};
use steadfast_diagnostics::serve;
use tower::ServiceBuilder;

fn main() {
    let layer = BulkheadLayer::new(Bulkhead::default());
    let upstream = async |_: Request<String>| Ok::<_, std::io::Error>(Response::new(String::new()));
    serve::<Request<String>>(ServiceBuilder::new().layer(layer).service_fn(upstream));
}
