//! The accessors of a response, and the ways to read its body.

use futures_util::TryStreamExt as _;
use http_body_util::BodyExt as _;
use hyper_util::client::legacy::connect::HttpInfo;
use reqwest::{Method, Response};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::bench::Bench;
use super::seen::Seen;
use super::table::{Row, row};
use crate::BoxError;
use crate::clients::Failure;
use crate::server::body;

pub(super) fn rows() -> Vec<Row> {
    let mut rows = vec![row("url, version, remote_addr, extensions", accessors)];
    let heads = [
        ("HEAD with a stated length", Method::HEAD, "/sized/1000"),
        ("HEAD of a chunked body", Method::HEAD, "/chunks/3"),
        ("204", Method::GET, "/status/204"),
        ("204 with a stated length", Method::GET, "/status/204?length=1000"),
        ("304", Method::GET, "/status/304"),
        ("304 with a stated length", Method::GET, "/status/304?length=1000"),
        ("404", Method::GET, "/status/404"),
        ("200 without a body", Method::GET, "/status/200"),
    ];
    for (name, method, path) in heads {
        rows.push(row(name, move |bench| call(bench, method.clone(), path)));
    }
    rows.push(row("30 HEADs with a stated length, then a GET", many_heads));
    rows.push(row("a small body", |bench| call(bench, Method::GET, "/sized/1000")));
    rows.push(row("a body of 8 MiB", |bench| call(bench, Method::GET, "/sized/8388608")));
    rows.push(row("a body in chunks", |bench| call(bench, Method::GET, "/chunks/1000")));
    rows.push(row("`chunk`", chunk));
    rows.push(row("`bytes_stream`", bytes_stream));
    rows.push(row("`text` in another charset", text));
    rows.push(row("`json`", json));
    rows.push(row("`error_for_status`", error_for_status));
    rows.push(row("conversion to `http::Response`, trailers", trailers));
    rows.push(row("a body that is dropped unread, then a call", unread));
    rows.push(row("an upgrade", upgrade).only_http1());
    rows
}

async fn get(bench: &Bench, path: &str) -> Result<Result<Response, Failure>, BoxError> {
    Ok(bench.client()?.get(format!("http://a.test{path}")).await)
}

async fn call(bench: Bench, method: Method, path: &'static str) -> Result<Seen, BoxError> {
    let mut seen = Seen::new();
    let client = bench.client()?;
    seen.response("answer", client.send(method, format!("http://a.test{path}"), |request| request).await)
        .await;
    Ok(seen)
}

async fn accessors(bench: Bench) -> Result<Seen, BoxError> {
    let mut seen = Seen::new();
    let address = bench.a.address();
    match get(&bench, "/redirect/302?/to?x=1").await? {
        Ok(response) => {
            seen.note("url", response.url());
            seen.note("version", format_args!("{:?}", response.version()));
            seen.note("remote_addr is the server's", response.remote_addr() == Some(address));
            let info = response.extensions().get::<HttpInfo>();
            seen.note("HttpInfo", info.is_some_and(|info| info.remote_addr() == address));
            let from: http::Response<reqwest::Body> = response.into();
            let back = Response::from(from);
            seen.note("remote_addr after two conversions", back.remote_addr() == Some(address));
        }
        Err(failure) => seen.failure("answer", &failure),
    }
    Ok(seen)
}

async fn many_heads(bench: Bench) -> Result<Seen, BoxError> {
    let mut seen = Seen::new();
    let client = bench.client()?;
    let mut answered = 0;
    for _ in 0..30 {
        let result = client.send(Method::HEAD, "http://a.test/sized/1000", |request| request).await;
        answered += usize::from(result.is_ok_and(|response| response.status().is_success()));
    }
    seen.note("HEADs answered", answered);
    seen.response("GET", client.get("http://a.test/").await).await;
    Ok(seen)
}

async fn chunk(bench: Bench) -> Result<Seen, BoxError> {
    let mut seen = Seen::new();
    for path in ["/sized/5000", "/chunks/100"] {
        match get(&bench, path).await? {
            Ok(mut response) => {
                let mut bytes = Vec::new();
                while let Some(chunk) = response.chunk().await? {
                    bytes.extend_from_slice(&chunk);
                }
                seen.note(path, body(&bytes));
                seen.note("a further chunk", response.chunk().await?.is_some());
            }
            Err(failure) => seen.failure(path, &failure),
        }
    }
    Ok(seen)
}

async fn bytes_stream(bench: Bench) -> Result<Seen, BoxError> {
    let mut seen = Seen::new();
    for path in ["/sized/5000", "/chunks/100", "/status/204"] {
        match get(&bench, path).await? {
            Ok(response) => {
                let chunks: Vec<bytes::Bytes> = response.bytes_stream().try_collect().await?;
                seen.note(path, body(&chunks.concat()));
            }
            Err(failure) => seen.failure(path, &failure),
        }
    }
    Ok(seen)
}

async fn text(bench: Bench) -> Result<Seen, BoxError> {
    let mut seen = Seen::new();
    match get(&bench, "/latin1").await? {
        Ok(response) => seen.note("text", response.text().await?),
        Err(failure) => seen.failure("answer", &failure),
    }
    Ok(seen)
}

async fn json(bench: Bench) -> Result<Seen, BoxError> {
    let mut seen = Seen::new();
    for path in ["/json", "/not-json"] {
        match get(&bench, path).await? {
            Ok(response) => match response.json::<serde_json::Value>().await {
                Ok(value) => seen.note(path, value),
                Err(error) => {
                    seen.note(path, format_args!("is_decode {}, url {:?}", error.is_decode(), error.url()))
                }
            },
            Err(failure) => seen.failure(path, &failure),
        }
    }
    Ok(seen)
}

async fn error_for_status(bench: Bench) -> Result<Seen, BoxError> {
    let mut seen = Seen::new();
    for path in ["/status/204", "/status/404", "/redirect/302?/status/410"] {
        match get(&bench, path).await? {
            Ok(response) => match response.error_for_status() {
                Ok(_) => seen.note(path, "no error"),
                Err(error) => seen.note(path, error),
            },
            Err(failure) => seen.failure(path, &failure),
        }
    }
    Ok(seen)
}

async fn trailers(bench: Bench) -> Result<Seen, BoxError> {
    let mut seen = Seen::new();
    let client = bench.client()?;
    let te = |request: reqwest::RequestBuilder| request.header("te", "trailers");
    match client.send(Method::GET, "http://a.test/trailers", te).await {
        Ok(response) => {
            let response: http::Response<reqwest::Body> = response.into();
            let collected = response.into_body().collect().await?;
            seen.note("trailers", format_args!("{:?}", collected.trailers()));
            seen.note("body", body(&collected.to_bytes()));
        }
        Err(failure) => seen.failure("answer", &failure),
    }
    Ok(seen)
}

async fn unread(bench: Bench) -> Result<Seen, BoxError> {
    let mut seen = Seen::new();
    let client = bench.client()?;
    for path in ["sized/1000", "chunks/3", "stall/none", "last"] {
        let result = client.get(format!("http://a.test/{path}")).await;
        seen.status(path, &result);
    }
    Ok(seen)
}

async fn upgrade(bench: Bench) -> Result<Seen, BoxError> {
    let mut seen = Seen::new();
    let ask =
        |request: reqwest::RequestBuilder| request.header("connection", "upgrade").header("upgrade", "echo");
    match bench.client()?.send(Method::GET, "http://a.test/upgrade", ask).await {
        Ok(response) => {
            seen.note("status", response.status());
            match response.upgrade().await {
                Ok(mut stream) => {
                    let mut word = [0; 4];
                    stream.write_all(b"ping").await?;
                    stream.read_exact(&mut word).await?;
                    seen.note("echo", String::from_utf8_lossy(&word));
                }
                Err(error) => seen.note("upgrade", format_args!("is_upgrade {}", error.is_upgrade())),
            }
        }
        Err(failure) => seen.failure("answer", &failure),
    }
    seen.arrived("a", &bench.a.log);
    Ok(seen)
}
