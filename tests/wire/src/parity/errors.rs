//! Calls that fail, and upstreams that answer with an error.

use reqwest::Method;
use reqwest::dns::{Name, Resolve, Resolving};

use super::bench::Bench;
use super::seen::Seen;
use super::table::{Row, row};
use crate::BoxError;
use crate::server::{Absent, RawServer};

pub(super) fn rows() -> Vec<Row> {
    vec![
        row("a refused connection", refused).fails(),
        row("a name that does not resolve", unresolved).fails(),
        row("HTTP/2 by prior knowledge to a server of HTTP/1", |bench| raw(bench, SHORT))
            .only_http2()
            .fails(),
        row("the URL and the status of an error", facts).fails(),
        row("a URL that is no URL", |bench| call(bench, Method::GET, "not a URL")).fails(),
        row("a scheme that is not HTTP", |bench| call(bench, Method::GET, "ftp://a.test/")).fails(),
        row("a chunked body that breaks off", |bench| call(bench, Method::GET, "http://a.test/breaks"))
            .fails(),
        row("a body shorter than its stated length", |bench| raw(bench, SHORT)).only_http1().fails(),
        row("a body that is not the gzip it claims to be", |bench| raw(bench, NO_GZIP)).only_http1().fails(),
        row("an answer that is not HTTP", |bench| raw(bench, "hello\r\n\r\n")).only_http1().fails(),
        row("GET answered by 503: the answer", |bench| answered(bench, Method::GET)),
        row("POST answered by 503: the requests that arrive", |bench| counted(bench, Method::POST)),
        row("GET answered by 503: the requests that arrive", |bench| counted(bench, Method::GET)),
    ]
}

const SHORT: &str = "HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nshort";
const NO_GZIP: &str = "HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: 5\r\n\r\nplain";

async fn call(bench: Bench, method: Method, url: &'static str) -> Result<Seen, BoxError> {
    let mut seen = Seen::new();
    seen.response("answer", bench.client()?.send(method, url, |request| request).await).await;
    Ok(seen)
}

async fn refused(bench: Bench) -> Result<Seen, BoxError> {
    let mut seen = Seen::new();
    let absent = Absent::new()?;
    let address = absent.address()?;
    let client = bench.client_with(move |builder| builder.resolve("absent.test", address))?;
    for method in [Method::GET, Method::POST] {
        let name = method.to_string();
        seen.status(&name, &client.send(method, "http://absent.test/", |request| request).await);
    }
    Ok(seen)
}

/// A resolver that knows no name.
struct NoNames;

impl Resolve for NoNames {
    fn resolve(&self, _name: Name) -> Resolving {
        Box::pin(std::future::ready(Err("no such name".into())))
    }
}

async fn unresolved(bench: Bench) -> Result<Seen, BoxError> {
    let mut seen = Seen::new();
    let client = bench.client_with(|builder| builder.dns_resolver(NoNames))?;
    seen.status("answer", &client.get("http://unknown.test/").await);
    Ok(seen)
}

/// The URL after a redirect, of an error of the connection and of an error of the redirects.
async fn facts(bench: Bench) -> Result<Seen, BoxError> {
    let mut seen = Seen::new();
    let absent = Absent::new()?;
    let address = absent.address()?;
    let client = bench.client_with(move |builder| builder.resolve("absent.test", address))?;
    for url in
        ["http://absent.test/x", "http://a.test/redirect/302?http://absent.test/y", "http://a.test/loop"]
    {
        let result = client.get(url).await;
        if let Err(failure) = &result {
            seen.note(format!("{url}: url"), format_args!("{:?}", failure.url().map(reqwest::Url::as_str)));
        }
        seen.status(url, &result);
    }
    Ok(seen)
}

async fn raw(bench: Bench, answer: &'static str) -> Result<Seen, BoxError> {
    let mut seen = Seen::new();
    let server = RawServer::start(answer, true)?;
    let address = server.address();
    let client = bench.client_with(move |builder| builder.resolve("raw.test", address))?;
    seen.response("answer", client.get("http://raw.test/").await).await;
    Ok(seen)
}

async fn answered(bench: Bench, method: Method) -> Result<Seen, BoxError> {
    let mut seen = Seen::new();
    let client = bench.client()?;
    seen.response("answer", client.send(method, "http://a.test/status/503", |request| request).await).await;
    Ok(seen)
}

async fn counted(bench: Bench, method: Method) -> Result<Seen, BoxError> {
    let mut seen = Seen::new();
    let client = bench.client()?;
    seen.status("answer", &client.send(method, "http://a.test/status/503", |request| request).await);
    seen.note("requests", if bench.a.log.requests() == 1 { "one" } else { "several" });
    Ok(seen)
}
