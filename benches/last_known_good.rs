//! What the fallback costs while the upstream is well, and when it serves.
//!
//! A call is made, and its body read to the end, as it comes off a connection: in pieces of at most 16 KiB, each of which
//! the upstream makes anew by reference. `without` is the same without the layer, so what the layer costs is the
//! difference; both are of one run. The numbers of allocations of a call stand before the times.
//!
//! `cargo bench --bench last_known_good`; a part of a name as an argument picks the benches to run.

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

use support::{Get, begin, get, now};

/// A request with the headers that a client sends, of which a copy costs nothing.
#[derive(Debug, Clone, Copy)]
struct Ask(Get);

static ASKED: LazyLock<HeaderMap> = LazyLock::new(|| {
    let lines = [
        (ACCEPT, "application/json"),
        (ACCEPT_ENCODING, "gzip, br"),
        (USER_AGENT, "shop/1.0"),
        (HeaderName::from_static("traceparent"), "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),
        (HeaderName::from_static("x-request-id"), "b9b4d1c9"),
    ];
    lines.into_iter().map(|(name, value)| (name, HeaderValue::from_static(value))).collect()
});

fn ask() -> Call<Ask> {
    get().map(Ask)
}

impl HasCallOptions for Ask {}

impl HttpRequest for Ask {
    fn method(&self) -> &Method {
        self.0.method()
    }

    fn headers(&self) -> &HeaderMap {
        &ASKED
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

/// Answers with a body: the same each time, with another header each time, another each time, or none but a 503.
#[derive(Debug, Clone)]
enum Upstream {
    Same(Bytes),
    OtherId(Bytes, [HeaderValue; 2]),
    Other([Bytes; 2]),
    Down,
}

/// A body in pieces.
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

/// A whole call, its body read: what is kept is kept as it is read.
fn read<S, B>(service: &mut S, call: Call<Ask>) -> usize
where
    S: Service<Call<Ask>, Response = Response<B>, Error = Error<Infallible>>,
    B: Body<Data = Bytes>,
{
    let mut body = pin!(now(begin(service, call)).unwrap().into_body());
    let mut length = 0;
    while let Some(Ok(frame)) = now(body.as_mut().frame()) {
        length += frame.data_ref().map_or(0, Bytes::len);
    }
    length
}

fn bench<S, B>(c: &mut Criterion, name: &str, size: usize, mut service: S)
where
    S: Service<Call<Ask>, Response = Response<B>, Error = Error<Infallible>>,
    B: Body<Data = Bytes>,
{
    assert_eq!(read(&mut service, ask()), size);
    let counted = allocation_counter::measure(|| {
        read(&mut service, ask());
    });
    println!("{name}: {} allocations, {} bytes", counted.count_total, counted.bytes_total);
    c.bench_function(name, |b| b.iter(|| read(&mut service, black_box(ask()))));
}

fn last_known_good(c: &mut Criterion) {
    for (size, label) in [(1024, "1KiB"), (1024 * 1024, "1MiB")] {
        let body = |byte| Bytes::from(vec![byte; size]);
        let fallback = LastKnownGood::default();
        let layer = LastKnownGoodLayer::new(fallback.clone());
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
        assert_eq!(fallback.len(), 1);

        let mut down = layer.layer(Upstream::Down);
        assert!(now(begin(&mut down, ask())).unwrap().extensions().get::<Stale>().is_some());
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
