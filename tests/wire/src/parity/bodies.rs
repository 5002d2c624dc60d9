//! Every kind of body of a request.

use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use http::{HeaderMap, HeaderName, HeaderValue};
use http_body_util::StreamBody;
use hyper::body::Frame;
use reqwest::multipart::{Form, Part};
use reqwest::{Body, Method, RequestBuilder};

use super::bench::Bench;
use super::seen::Seen;
use super::table::{Row, row};
use crate::BoxError;

const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../LICENSE-MIT");

type Change = fn(RequestBuilder) -> RequestBuilder;

const BODIES: &[(&str, Change)] = &[
    ("text", |request| request.body("some text")),
    ("empty text", |request| request.body("")),
    ("8 MiB in memory", |request| request.body(vec![b'm'; 8 << 20])),
    ("JSON", |request| request.json(&serde_json::json!({ "name": "steadfast", "number": 3 }))),
    ("form", |request| request.form(&[("name", "a value"), ("other", "ä&=")])),
    ("stream", |request| request.body(Body::wrap_stream(pieces()))),
    ("stream with a stated length", |request| {
        request.header("content-length", "10").body(Body::wrap_stream(pieces()))
    }),
    ("stream with trailers", |request| request.body(Body::wrap(with_trailers()))),
    ("file", |request| request.body(file())),
    ("multipart in memory", |request| {
        let part = Part::bytes(&b"bytes"[..]).file_name("part.bin");
        request.multipart(Form::new().text("name", "a value").part("part", part))
    }),
    ("multipart with a stream", |request| {
        let part = Part::stream(Body::wrap_stream(pieces())).file_name("stream.txt");
        request.multipart(Form::new().text("name", "a value").part("part", part))
    }),
    ("multipart with a file", |request| request.multipart(Form::new().part("file", Part::stream(file())))),
];

pub(super) fn rows() -> Vec<Row> {
    let mut rows: Vec<Row> = BODIES
        .iter()
        .map(|&(name, change)| row(format!("POST: {name}"), move |bench| post(bench, change)))
        .collect();
    rows.push(row("POST: the body of another response", piped));
    rows.push(row("POST with Expect: 100-continue", expecting).only_http1());
    rows.push(row("POST: the answer precedes the end of the body", early));
    rows.push(row("POST: both bodies at the same time", echoed));
    rows.push(row("POST: a stream that fails", failing).fails());
    rows
}

async fn post(bench: Bench, change: Change) -> Result<Seen, BoxError> {
    let mut seen = Seen::new();
    seen.response("answer", bench.client()?.send(Method::POST, "http://a.test/body", change).await).await;
    seen.arrived("a", &bench.a.log);
    Ok(seen)
}

async fn piped(bench: Bench) -> Result<Seen, BoxError> {
    let mut seen = Seen::new();
    let client = bench.client()?;
    match client.get("http://a.test/chunks/1000").await {
        Ok(response) => {
            let piped = |request: RequestBuilder| request.body(Body::from(response));
            seen.response("answer", client.send(Method::POST, "http://b.test/", piped).await).await;
        }
        Err(failure) => seen.failure("first", &failure),
    }
    seen.arrived("b", &bench.b.log);
    Ok(seen)
}

async fn expecting(bench: Bench) -> Result<Seen, BoxError> {
    let mut seen = Seen::new();
    let expect = |request: RequestBuilder| request.header("expect", "100-continue").body("expected");
    seen.response("answer", bench.client()?.send(Method::POST, "http://a.test/", expect).await).await;
    seen.arrived("a", &bench.a.log);
    Ok(seen)
}

/// The body of the request never ends.
async fn early(bench: Bench) -> Result<Seen, BoxError> {
    let mut seen = Seen::new();
    let endless = stream::iter([Ok::<_, std::io::Error>("first")]).chain(stream::pending());
    let body = |request: RequestBuilder| request.body(Body::wrap_stream(endless));
    seen.response("answer", bench.client()?.send(Method::POST, "http://a.test/early", body).await).await;
    Ok(seen)
}

/// Each word is sent after the echo of the word before it.
async fn echoed(bench: Bench) -> Result<Seen, BoxError> {
    let mut seen = Seen::new();
    let (words, receiver) = tokio::sync::mpsc::channel(1);
    let body = stream::unfold(receiver, |mut receiver| async {
        receiver.recv().await.map(|word: &'static str| (Ok::<_, std::io::Error>(word), receiver))
    });
    words.send("zero").await?;
    let send = |request: RequestBuilder| request.body(Body::wrap_stream(body));
    match bench.client()?.send(Method::POST, "http://a.test/echo", send).await {
        Ok(mut response) => {
            for word in ["one", "two"] {
                seen.note("echo", format_args!("{:?}", response.chunk().await?));
                words.send(word).await?;
            }
            drop(words);
            seen.response("rest", Ok(response)).await;
        }
        Err(failure) => seen.failure("answer", &failure),
    }
    Ok(seen)
}

async fn failing(bench: Bench) -> Result<Seen, BoxError> {
    let mut seen = Seen::new();
    let parts = [Ok(Bytes::from_static(b"first")), Err(std::io::Error::other("the file is gone"))];
    let body = Body::wrap_stream(stream::iter(parts));
    let result = bench.client()?.send(Method::POST, "http://a.test/", |request| request.body(body)).await;
    seen.status("answer", &result);
    Ok(seen)
}

fn pieces() -> impl futures_util::Stream<Item = Result<&'static str, std::io::Error>> + Send + 'static {
    stream::iter(["in ", "pieces", "."].map(Ok))
}

fn with_trailers() -> impl hyper::body::Body<Data = Bytes, Error = std::io::Error> + Send + Sync + 'static {
    let trailer = (HeaderName::from_static("x-sum"), HeaderValue::from_static("42"));
    let trailers = Frame::trailers(HeaderMap::from_iter([trailer]));
    StreamBody::new(stream::iter([Ok(Frame::data(Bytes::from_static(b"summed"))), Ok(trailers)]))
}

fn file() -> tokio::fs::File {
    tokio::fs::File::from_std(std::fs::File::open(FILE).expect("the license is a file of the repository"))
}
