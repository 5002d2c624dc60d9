//! Timeouts of each kind, and the predicates of their errors.

use std::time::Duration;

use futures_util::{StreamExt as _, stream};
use reqwest::{Body, ClientBuilder, Method, RequestBuilder};

use super::bench::Bench;
use super::seen::Seen;
use super::table::{Row, row};
use crate::BoxError;
use crate::server::{Full, Silent};

type ChangeClient = fn(ClientBuilder) -> ClientBuilder;
type Change = fn(RequestBuilder) -> RequestBuilder;

const SHORT: Duration = Duration::from_millis(400);

pub(super) fn rows() -> Vec<Row> {
    vec![
        row("connect timeout, the handshake of TCP", connect).fails(),
        row("connect timeout, the handshake of TLS", handshake).fails(),
        row("the client's timeout, no head", |bench| never(bench, total, as_it_is)).fails(),
        row("the client's timeout, a chunked body stalls", |bench| stalls(bench, total, as_it_is, "none"))
            .fails(),
        row("the client's timeout, a body of a stated length stalls", |bench| {
            stalls(bench, total, as_it_is, "100")
        })
        .fails(),
        row("the request's timeout, no head", |bench| never(bench, |builder| builder, of_request)).fails(),
        row("the request's timeout, a chunked body stalls", |bench| {
            stalls(bench, |builder| builder, of_request, "none")
        })
        .fails(),
        row("the request's timeout, a body of a stated length stalls", |bench| {
            stalls(bench, |builder| builder, of_request, "100")
        })
        .fails(),
        row("the read timeout, no head", |bench| never(bench, read, as_it_is)).fails(),
        row("the read timeout, a chunked body stalls", |bench| stalls(bench, read, as_it_is, "none")).fails(),
        row("the read timeout, a body of a stated length stalls", |bench| {
            stalls(bench, read, as_it_is, "100")
        })
        .fails(),
        row("a body that is slow, but never longer than the read timeout", drip),
        row("POST answered after half of the request's timeout", |bench| late(bench, Method::POST)),
        row("GET answered after half of the request's timeout", |bench| late(bench, Method::GET)),
        row("POST answered after 3.2 s, no timeout set", slow).slow(),
        row("POST of a body that takes 3.2 s, no timeout set", slow_upload).slow(),
        row("a chunked body that takes 11 s, no timeout set", slow_body).slow(),
        row("a call after a timeout", after).fails(),
    ]
}

fn total(builder: ClientBuilder) -> ClientBuilder {
    builder.timeout(SHORT)
}

fn read(builder: ClientBuilder) -> ClientBuilder {
    builder.read_timeout(SHORT)
}

fn of_request(request: RequestBuilder) -> RequestBuilder {
    request.timeout(SHORT)
}

fn as_it_is(request: RequestBuilder) -> RequestBuilder {
    request
}

async fn connect(bench: Bench) -> Result<Seen, BoxError> {
    let mut seen = Seen::new();
    let full = Full::new()?;
    let address = full.address()?;
    let client =
        bench.client_with(move |builder| builder.resolve("full.test", address).connect_timeout(SHORT))?;
    seen.status("answer", &client.get("http://full.test/").await);
    Ok(seen)
}

async fn handshake(bench: Bench) -> Result<Seen, BoxError> {
    let mut seen = Seen::new();
    let silent = Silent::new()?;
    let address = silent.address()?;
    let client =
        bench.client_with(move |builder| builder.resolve("a.test", address).connect_timeout(SHORT))?;
    seen.status("answer", &client.get("https://a.test/").await);
    Ok(seen)
}

/// No head arrives.
async fn never(bench: Bench, client: ChangeClient, change: Change) -> Result<Seen, BoxError> {
    let mut seen = Seen::new();
    let client = bench.client_with(client)?;
    for method in [Method::GET, Method::POST] {
        let name = method.to_string();
        seen.status(&name, &client.send(method, "http://a.test/never", change).await);
    }
    Ok(seen)
}

/// The head and the first bytes of the body arrive. A POST is sent once, so the time of its attempt is the first limit.
async fn stalls(bench: Bench, client: ChangeClient, change: Change, stated: &str) -> Result<Seen, BoxError> {
    let mut seen = Seen::new();
    let client = bench.client_with(client)?;
    let url = format!("http://a.test/stall/{stated}");
    match client.send(Method::POST, url, change).await {
        Ok(response) => {
            seen.note("answer", response.status());
            match response.bytes().await {
                Ok(_) => seen.note("body", "whole"),
                Err(error) => seen.body_error("answer", &error),
            }
        }
        Err(failure) => seen.failure("answer", &failure),
    }
    Ok(seen)
}

/// The pauses sum up to more than the timeout.
async fn drip(bench: Bench) -> Result<Seen, BoxError> {
    let mut seen = Seen::new();
    let client = bench.client_with(|builder| builder.read_timeout(Duration::from_millis(300)))?;
    seen.response("answer", client.get("http://a.test/drip/50").await).await;
    Ok(seen)
}

async fn late(bench: Bench, method: Method) -> Result<Seen, BoxError> {
    let mut seen = Seen::new();
    let timeout = |request: RequestBuilder| request.timeout(Duration::from_millis(600));
    seen.status("answer", &bench.client()?.send(method, "http://a.test/late/300", timeout).await);
    Ok(seen)
}

async fn slow(bench: Bench) -> Result<Seen, BoxError> {
    let mut seen = Seen::new();
    let result = bench.client()?.send(Method::POST, "http://a.test/late/3200", as_it_is).await;
    seen.status("answer", &result);
    Ok(seen)
}

async fn slow_upload(bench: Bench) -> Result<Seen, BoxError> {
    let mut seen = Seen::new();
    let pieces = stream::iter(0..8).then(|_| async {
        tokio::time::sleep(Duration::from_millis(400)).await;
        Ok::<_, std::io::Error>("piece ")
    });
    let body = |request: RequestBuilder| request.body(Body::wrap_stream(pieces));
    seen.status("answer", &bench.client()?.send(Method::POST, "http://a.test/", body).await);
    Ok(seen)
}

async fn slow_body(bench: Bench) -> Result<Seen, BoxError> {
    let mut seen = Seen::new();
    seen.response("answer", bench.client()?.get("http://a.test/drip/1400").await).await;
    Ok(seen)
}

async fn after(bench: Bench) -> Result<Seen, BoxError> {
    let mut seen = Seen::new();
    let client = bench.client()?;
    seen.status("first", &client.send(Method::POST, "http://a.test/never", of_request).await);
    seen.response("second", client.get("http://a.test/").await).await;
    Ok(seen)
}
