//! The number of connections, and their reuse.

use futures_util::future::join_all;
use reqwest::Method;

use super::bench::Bench;
use super::seen::Seen;
use super::table::{Row, row};
use crate::BoxError;

const CALLS: usize = 20;

pub(super) fn rows() -> Vec<Row> {
    vec![
        row("20 calls one after another", |bench| sequential(bench, "hello")),
        row("20 calls one after another, chunked bodies", |bench| sequential(bench, "chunks/10")),
        row("20 calls one after another, HEAD", heads),
        row("20 calls at once", concurrent),
        row("100 calls at once, twice", concurrent_twice),
        row("no idle connections", no_idle).only_http1(),
        row("two hosts", two_hosts),
        row("the connections end with the client", ended),
    ]
}

async fn sequential(bench: Bench, path: &'static str) -> Result<Seen, BoxError> {
    let mut seen = Seen::new();
    let client = bench.client()?;
    for _ in 0..CALLS {
        match client.get(format!("http://a.test/{path}")).await {
            Ok(response) => drop(response.bytes().await?),
            Err(failure) => seen.failure("answer", &failure),
        }
    }
    seen.reuse("a", &bench.a.log, bench.over);
    seen.note("requests", bench.a.log.requests());
    Ok(seen)
}

async fn heads(bench: Bench) -> Result<Seen, BoxError> {
    let mut seen = Seen::new();
    let client = bench.client()?;
    let mut answered = 0;
    for _ in 0..CALLS {
        let result = client.send(Method::HEAD, "http://a.test/sized/9", |request| request).await;
        answered += usize::from(result.is_ok());
    }
    seen.note("answered", if answered == CALLS { "all" } else { "fewer" });
    seen.reuse("a", &bench.a.log, bench.over);
    Ok(seen)
}

/// Every answer waits until all the requests have arrived.
async fn at_once(client: &crate::clients::Client, calls: usize, requests: usize, seen: &mut Seen) {
    let url = format!("http://a.test/held/{requests}");
    let results = join_all((0..calls).map(|_| client.get(&url))).await;
    for result in &results {
        if let Err(failure) = result {
            seen.failure("answer", failure);
        }
    }
    for result in results.into_iter().flatten() {
        if let Err(error) = result.bytes().await {
            seen.body_error("answer", &error);
        }
    }
}

async fn concurrent(bench: Bench) -> Result<Seen, BoxError> {
    let mut seen = Seen::new();
    at_once(&bench.client()?, CALLS, CALLS, &mut seen).await;
    seen.note("connections", bench.a.log.connections());
    Ok(seen)
}

async fn concurrent_twice(bench: Bench) -> Result<Seen, BoxError> {
    let mut seen = Seen::new();
    let client = bench.client()?;
    at_once(&client, 100, 100, &mut seen).await;
    at_once(&client, 100, 200, &mut seen).await;
    seen.note("requests", bench.a.log.requests());
    Ok(seen)
}

async fn no_idle(bench: Bench) -> Result<Seen, BoxError> {
    let mut seen = Seen::new();
    let client = bench.client_with(|builder| builder.pool_max_idle_per_host(0))?;
    for _ in 0..3 {
        seen.response("answer", client.get("http://a.test/").await).await;
    }
    seen.note("connections", bench.a.log.connections());
    Ok(seen)
}

async fn two_hosts(bench: Bench) -> Result<Seen, BoxError> {
    let mut seen = Seen::new();
    let client = bench.client()?;
    for _ in 0..CALLS {
        seen.response("a", client.get("http://a.test/").await).await;
        seen.response("b", client.get("http://b.test/").await).await;
    }
    seen.reuse("a", &bench.a.log, bench.over);
    seen.reuse("b", &bench.b.log, bench.over);
    Ok(seen)
}

async fn ended(bench: Bench) -> Result<Seen, BoxError> {
    let mut seen = Seen::new();
    let client = bench.client()?;
    seen.response("answer", client.get("http://a.test/").await).await;
    drop(client);
    bench.a.log.is_idle().await;
    seen.note("open connections", 0);
    Ok(seen)
}
