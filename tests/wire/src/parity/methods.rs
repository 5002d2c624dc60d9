//! Every method, with and without a body.

use reqwest::Method;

use super::bench::Bench;
use super::seen::Seen;
use super::table::{Row, row};
use crate::BoxError;

pub(super) fn rows() -> Vec<Row> {
    let names = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "PURGE"];
    let mut rows: Vec<Row> = Vec::new();
    for name in names {
        rows.push(row(name, move |bench| call(bench, name, false)));
    }
    for name in ["GET", "POST", "PUT", "PATCH", "DELETE", "PURGE"] {
        rows.push(row(format!("{name} with a body"), move |bench| call(bench, name, true)));
    }
    rows
}

async fn call(bench: Bench, method: &'static str, body: bool) -> Result<Seen, BoxError> {
    let mut seen = Seen::new();
    let client = bench.client()?;
    let method = Method::from_bytes(method.as_bytes())?;
    let change = |request: reqwest::RequestBuilder| if body { request.body("a body") } else { request };
    seen.response("answer", client.send(method, "http://a.test/path/of?a=1&b", change).await).await;
    seen.arrived("a", &bench.a.log);
    Ok(seen)
}
