//~ to be a future that resolves to `Result<Response<_>, _>`

use http::Request;
use steadfast::Error;
use steadfast::bulkhead::{Bulkhead, BulkheadLayer};
use steadfast_diagnostics::serve;
use tower::ServiceBuilder;

fn main() {
    let layer = BulkheadLayer::new(Bulkhead::default());
    let upstream = async |_: Request<String>| Ok::<_, std::io::Error>(42_u32);
    let service = ServiceBuilder::new().layer(layer).map_err(Error::from_upstream).service_fn(upstream);
    serve::<Request<String>>(service);
}
