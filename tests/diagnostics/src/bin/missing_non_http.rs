//~ the layer is set to `Http` and cannot treat the response `u32`
//~ the service below this layer responds with `u32`
//~ for other responses, call `.non_http()` on it

use steadfast::Error;
use steadfast::bulkhead::{Bulkhead, BulkheadLayer};
use steadfast_diagnostics::{Upstream, serve};
use tower::ServiceBuilder;

fn main() {
    let upstream = Upstream::<http::Request<String>, u32, Error<std::io::Error>>::new();
    let layer = BulkheadLayer::new(Bulkhead::default());
    serve::<http::Request<String>>(ServiceBuilder::new().layer(layer).service(upstream));
}
