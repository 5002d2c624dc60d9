//! The cost of the last-known-good cache: while the upstream is healthy, and when a stale response is served.
//!
//! Each bench makes a call and reads the body to its end, in frames of at most 16 KiB, as from a connection. The
//! upstream slices the frames from one buffer without copying. Each `with` bench has a `without` bench in the same
//! run: the difference is the cost of the layer. The allocations of a call are printed before its times.
//!
//! Run with `cargo bench --bench last_known_good`. An argument runs only the benches whose names contain it.

mod support;

use std::convert::Infallible;
use std::hint::black_box;
use std::pin::{Pin, pin};
use std::sync::LazyLock;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use criterion::{Criterion, criterion_group, criterion_main};
use http::header::{ACCEPT, ACCEPT_ENCODING, CACHE_CONTROL, CONTENT_TYPE, DATE, ETAG, USER_AGENT};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode};
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt as _;
use steadfast::http::HttpRequest;
use steadfast::last_known_good::{LastKnownGood, LastKnownGoodLayer, Stale};
use steadfast::{Call, Error, HasCallOptions};
use tower::{Layer as _, Service};

use support::{Get, get, poll_once, start_call};

/// A request with typical headers. It is `Copy`, so that the benches do not time the copying of requests.
#[derive(Debug, Clone, Copy)]
struct GetWithHeaders(Get);

static REQUEST_HEADERS: LazyLock<HeaderMap> = LazyLock::new(|| {
    let lines = [
        (ACCEPT, "application/json"),
        (ACCEPT_ENCODING, "gzip, br"),
        (USER_AGENT, "shop/1.0"),
        (HeaderName::from_static("traceparent"), "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),
        (HeaderName::from_static("x-request-id"), "b9b4d1c9"),
    ];
    lines.into_iter().map(|(name, value)| (name, HeaderValue::from_static(value))).collect()
});

fn get_with_headers() -> Call<GetWithHeaders> {
    get().map(GetWithHeaders)
}

impl HasCallOptions for GetWithHeaders {}

impl HttpRequest for GetWithHeaders {
    fn method(&self) -> &Method {
        self.0.method()
    }

    fn headers(&self) -> &HeaderMap {
        &REQUEST_HEADERS
    }

    fn scheme(&self) -> &str {
        self.0.scheme()
    }

    fn host(&self) -> &str {
        HttpRequest::host(&self.0)
    }

    fn port(&self) -> Option<u16> {
        self.0.port()
    }

    fn path(&self) -> &str {
        self.0.path()
    }

    fn query(&self) -> Option<&str> {
        self.0.query()
    }

    fn has_body(&self) -> bool {
        false
    }
}

/// The upstream.
#[derive(Debug, Clone)]
enum Upstream {
    /// Sends the same response each time.
    Same(Bytes),
    /// Sends the same body with alternating values of a header.
    OtherId(Bytes, [HeaderValue; 2]),
    /// Sends alternating bodies.
    Other([Bytes; 2]),
    /// Answers 503.
    Down,
}

/// A body that is sent in frames of at most 16 KiB.
struct Pieces(Bytes);

impl Body for Pieces {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        const PIECE: usize = 16 * 1024;
        let length = self.0.len().min(PIECE);
        Poll::Ready((length > 0).then(|| Ok(Frame::data(self.0.split_to(length)))))
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.0.len() as u64)
    }
}

fn headers() -> HeaderMap {
    let lines = [
        (CONTENT_TYPE, "application/json"),
        (DATE, "Thu, 01 Jan 2026 00:00:00 GMT"),
        (ETAG, "\"33a64df551425fcc55e4d42a148795d9f25f89d4\""),
        (CACHE_CONTROL, "max-age=5, stale-if-error=86400"),
    ];
    lines.into_iter().map(|(name, value)| (name, HeaderValue::from_static(value))).collect()
}

impl<Req> Service<Req> for Upstream {
    type Response = Response<Pieces>;
    type Error = Error<Infallible>;
    type Future = std::future::Ready<Result<Self::Response, Self::Error>>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _request: Req) -> Self::Future {
        let mut response = Response::new(Pieces(match self {
            Self::Same(body) | Self::OtherId(body, _) => body.clone(),
            Self::Other(bodies) => {
                bodies.swap(0, 1);
                bodies[0].clone()
            }
            Self::Down => Bytes::new(),
        }));
        *response.headers_mut() = headers();
        if let Self::OtherId(_, ids) = self {
            ids.swap(0, 1);
            response.headers_mut().insert("x-request-id", ids[0].clone());
        }
        if matches!(self, Self::Down) {
            *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
        }
        std::future::ready(Ok(response))
    }
}

/// Makes a call and reads its body, since an entry is stored at the end of the body. Returns the length.
fn read<S, B>(service: &mut S, call: Call<GetWithHeaders>) -> usize
where
    S: Service<Call<GetWithHeaders>, Response = Response<B>, Error = Error<Infallible>>,
    B: Body<Data = Bytes>,
{
    let mut body = pin!(poll_once(start_call(service, call)).unwrap().into_body());
    let mut length = 0;
    while let Some(Ok(frame)) = poll_once(body.as_mut().frame()) {
        length += frame.data_ref().map_or(0, Bytes::len);
    }
    length
}

fn bench<S, B>(c: &mut Criterion, name: &str, size: usize, mut service: S)
where
    S: Service<Call<GetWithHeaders>, Response = Response<B>, Error = Error<Infallible>>,
    B: Body<Data = Bytes>,
{
    assert_eq!(read(&mut service, get_with_headers()), size);
    let counted = allocation_counter::measure(|| {
        read(&mut service, get_with_headers());
    });
    println!("{name}: {} allocations, {} bytes", counted.count_total, counted.bytes_total);
    c.bench_function(name, |b| b.iter(|| read(&mut service, black_box(get_with_headers()))));
}

fn last_known_good(c: &mut Criterion) {
    for (size, label) in [(1024, "1KiB"), (1024 * 1024, "1MiB")] {
        let body = |byte| Bytes::from(vec![byte; size]);
        let cache = LastKnownGood::default();
        let layer = LastKnownGoodLayer::new(cache.clone());
        let same = || Upstream::Same(body(1));
        let ids = ["b9b4d1c9", "c0ffee00"].map(HeaderValue::from_static);
        let other_id = || Upstream::OtherId(body(1), ids.clone());
        let other = || Upstream::Other([body(1), body(2)]);
        bench(c, &format!("{label}/same/without"), size, same());
        bench(c, &format!("{label}/same/with"), size, layer.layer(same()));
        bench(c, &format!("{label}/other_id/without"), size, other_id());
        bench(c, &format!("{label}/other_id/with"), size, layer.layer(other_id()));
        bench(c, &format!("{label}/other/without"), size, other());
        bench(c, &format!("{label}/other/with"), size, layer.layer(other()));
        assert_eq!(cache.len(), 1);

        let mut down = layer.layer(Upstream::Down);
        assert!(
            poll_once(start_call(&mut down, get_with_headers()))
                .unwrap()
                .extensions()
                .get::<Stale>()
                .is_some()
        );
        bench(c, &format!("{label}/served"), size, down);
    }
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(1))
        .nresamples(10_000);
    targets = last_known_good
}
criterion_main!(benches);
