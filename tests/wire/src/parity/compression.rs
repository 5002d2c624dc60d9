//! Compressed answers, which reqwest decodes below steadfast.

use reqwest::{ClientBuilder, Method};

use super::bench::Bench;
use super::seen::Seen;
use super::table::{Row, row};
use crate::BoxError;

pub(super) fn rows() -> Vec<Row> {
    let mut rows = Vec::new();
    for coding in ["gzip", "br", "deflate", "zstd"] {
        rows.push(row(format!("{coding}: GET"), move |bench| {
            compressed(bench, Method::GET, coding, as_it_is)
        }));
        rows.push(row(format!("{coding}: HEAD"), move |bench| {
            compressed(bench, Method::HEAD, coding, as_it_is)
        }));
    }
    rows.push(row("gzip, switched off", |bench| {
        compressed(bench, Method::GET, "gzip", |builder| builder.no_gzip().no_brotli().no_zstd().no_deflate())
    }));
    rows.push(row("gzip, with an Accept-Encoding of the request", chosen));
    rows
}

fn as_it_is(builder: ClientBuilder) -> ClientBuilder {
    builder
}

async fn compressed(
    bench: Bench,
    method: Method,
    coding: &'static str,
    change: fn(ClientBuilder) -> ClientBuilder,
) -> Result<Seen, BoxError> {
    let mut seen = Seen::new();
    let client = bench.client_with(change)?;
    let url = format!("http://a.test/compressed/{coding}");
    seen.response("answer", client.send(method, url, |request| request).await).await;
    seen.arrived("a", &bench.a.log);
    Ok(seen)
}

async fn chosen(bench: Bench) -> Result<Seen, BoxError> {
    let mut seen = Seen::new();
    let choose = |request: reqwest::RequestBuilder| request.header("accept-encoding", "gzip");
    let result = bench.client()?.send(Method::GET, "http://a.test/compressed/gzip", choose).await;
    seen.response("answer", result).await;
    seen.arrived("a", &bench.a.log);
    Ok(seen)
}
