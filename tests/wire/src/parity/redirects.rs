//! Redirects: the requests that arrive at both hosts, and the answer.

use reqwest::{Body, ClientBuilder, Method, RequestBuilder};

use super::bench::Bench;
use super::seen::Seen;
use super::table::{Row, row};
use crate::BoxError;
use crate::clients::Redirects;

const STATUSES: [u16; 5] = [301, 302, 303, 307, 308];
const METHODS: [Method; 4] = [Method::GET, Method::POST, Method::PUT, Method::HEAD];
const MORE_METHODS: [Method; 3] = [Method::PATCH, Method::DELETE, Method::OPTIONS];

pub(super) fn rows() -> Vec<Row> {
    let mut rows = Vec::new();
    for status in STATUSES {
        for (host, target) in [("the same host", "http://a.test/to"), ("another host", "http://b.test/to")] {
            let what = format!("{status} to {host}: GET, POST, PUT, HEAD with credentials");
            rows.push(row(what, move |bench| each_method(bench, status, "http", target)));
        }
    }
    rows.push(row("http to https, the same host", |bench| each_status(bench, "http", "https://a.test/to")));
    rows.push(row("http to https, another host", |bench| each_status(bench, "http", "https://b.test/to")));
    rows.push(row("https to http", |bench| each_status(bench, "https", "http://a.test/to")));
    rows.push(row("307 of a streamed body", streamed));
    rows.push(row("a relative target", |bench| {
        followed(bench, Redirects::Default, "/redirect/302?../to?x=1#here")
    }));
    rows.push(row("without a target", |bench| followed(bench, Redirects::Default, "/status/302")));
    rows.push(row("two hops", two_hops));
    rows.push(row("policy `none`", |bench| followed(bench, Redirects::None, "/redirect/302?/to")));
    rows.push(row("policy `limited(1)`, one hop", |bench| {
        followed(bench, Redirects::AtMost(1), "/redirect/302?/to")
    }));
    rows.push(
        row("policy `limited(2)`, a loop", |bench| followed(bench, Redirects::AtMost(2), "/loop")).fails(),
    );
    rows.push(
        row("the default policy, a loop", |bench| followed(bench, Redirects::Default, "/loop")).fails(),
    );
    rows.push(row("Referer off", |bench| referer(bench, |builder| builder.referer(false))));
    rows.push(row("https only", https_only).fails());
    rows
}

/// A redirect of each method. The long form adds rarer methods.
async fn each_method(bench: Bench, status: u16, scheme: &str, target: &str) -> Result<Seen, BoxError> {
    let mut seen = Seen::new();
    let client = bench.client()?;
    let more = MORE_METHODS.into_iter().filter(|_| bench.long);
    for method in METHODS.into_iter().chain(more) {
        let url = format!("{scheme}://a.test/redirect/{status}?{target}");
        let with_body = method == Method::POST || method == Method::PUT;
        let change = |request: RequestBuilder| {
            let request = request.bearer_auth("secret").header("cookie", "c=1").header("x-one", "1");
            if with_body { request.body("a body") } else { request }
        };
        seen.response(method.as_str(), client.send(method.clone(), url, change).await).await;
    }
    seen.arrived("a", &bench.a.log);
    seen.arrived("b", &bench.b.log);
    Ok(seen)
}

/// A GET and a POST for each status. The long form tries every method.
async fn each_status(bench: Bench, scheme: &'static str, target: &'static str) -> Result<Seen, BoxError> {
    let mut seen = Seen::new();
    let client = bench.client()?;
    let methods = if bench.long { &METHODS[..] } else { &METHODS[..2] };
    for status in STATUSES {
        for method in methods {
            let url = format!("{scheme}://a.test/redirect/{status}?{target}");
            let change = |request: RequestBuilder| request.bearer_auth("secret").body("a body");
            let result = client.send(method.clone(), url, change).await;
            seen.response(&format!("{status} {method}"), result).await;
        }
    }
    seen.arrived("a", &bench.a.log);
    seen.arrived("b", &bench.b.log);
    Ok(seen)
}

/// A stream cannot be sent again to the target.
async fn streamed(bench: Bench) -> Result<Seen, BoxError> {
    let mut seen = Seen::new();
    let body = Body::wrap_stream(futures_util::stream::iter([Ok::<_, std::io::Error>("streamed")]));
    let url = "http://a.test/redirect/307?http://a.test/to";
    seen.response("answer", bench.client()?.send(Method::POST, url, |request| request.body(body)).await)
        .await;
    seen.arrived("a", &bench.a.log);
    Ok(seen)
}

async fn followed(bench: Bench, redirects: Redirects, path: &'static str) -> Result<Seen, BoxError> {
    let mut seen = Seen::new();
    let client = bench.client_following(redirects, |builder| builder)?;
    seen.response("answer", client.get(format!("http://a.test{path}")).await).await;
    seen.arrived("a", &bench.a.log);
    Ok(seen)
}

async fn two_hops(bench: Bench) -> Result<Seen, BoxError> {
    let mut seen = Seen::new();
    let url = "http://a.test/redirect/301?http://b.test/redirect/302?http://a.test/to";
    let send = |request: RequestBuilder| request.body("a body").bearer_auth("secret");
    seen.response("answer", bench.client()?.send(Method::POST, url, send).await).await;
    seen.arrived("a", &bench.a.log);
    seen.arrived("b", &bench.b.log);
    Ok(seen)
}

async fn referer(bench: Bench, change: fn(ClientBuilder) -> ClientBuilder) -> Result<Seen, BoxError> {
    let mut seen = Seen::new();
    let client = bench.client_with(change)?;
    seen.response("answer", client.get("http://a.test/redirect/302?/to").await).await;
    seen.arrived("a", &bench.a.log);
    Ok(seen)
}

async fn https_only(bench: Bench) -> Result<Seen, BoxError> {
    let mut seen = Seen::new();
    let client = bench.client_with(|builder| builder.https_only(true))?;
    seen.status("https", &client.get("https://a.test/").await);
    seen.status("http", &client.get("http://a.test/").await);
    seen.status("https to http", &client.get("https://a.test/redirect/302?http://a.test/to").await);
    seen.arrived("a", &bench.a.log);
    Ok(seen)
}
