//! Headers, the query, credentials and cookies.

use http::{HeaderMap, HeaderValue, header};
use reqwest::{ClientBuilder, Method, RequestBuilder};

use super::bench::Bench;
use super::seen::Seen;
use super::table::{Row, row};
use crate::BoxError;

type Change = fn(RequestBuilder) -> RequestBuilder;
type ChangeClient = fn(ClientBuilder) -> ClientBuilder;

const REQUESTS: &[(&str, Change)] = &[
    ("a header", |request| request.header("x-one", "1")),
    ("a repeated header", |request| request.header("x-one", "1").header("x-one", "2")),
    ("a header that is not UTF-8", |request| {
        request.header("x-raw", HeaderValue::from_bytes(b"\xff\xfe").expect("opaque bytes are valid"))
    }),
    ("headers replaced", |request| request.header("x-one", "1").headers(of_one("x-one", "2"))),
    ("Host replaced", |request| request.header("host", "other.test")),
    ("Accept replaced", |request| request.header("accept", "text/plain")),
    ("Connection: close", |request| request.header("connection", "close")),
    ("query", |request| request.query(&[("a b", "c&d"), ("e", "ü")])),
    ("basic credentials", |request| request.basic_auth("user", Some("password"))),
    ("basic credentials without a password", |request| request.basic_auth("user", None::<&str>)),
    ("bearer token", |request| request.bearer_auth("token")),
    ("an invalid header name", |request| request.header("no spaces allowed", "1")),
];

const CLIENTS: &[(&str, ChangeClient)] = &[
    ("default headers", |builder| builder.default_headers(of_one("x-default", "1"))),
    ("a default header replaced by the request's", |builder| {
        builder.default_headers(of_one("x-one", "default"))
    }),
    ("user agent", |builder| builder.user_agent("wire/1.0")),
    ("title case", ClientBuilder::http1_title_case_headers),
];

fn of_one(name: &'static str, value: &'static str) -> HeaderMap {
    HeaderMap::from_iter([(header::HeaderName::from_static(name), HeaderValue::from_static(value))])
}

pub(super) fn rows() -> Vec<Row> {
    let mut rows = Vec::new();
    for &(name, change) in REQUESTS {
        let request = row(name, move |bench| call(bench, |builder| builder, change));
        rows.push(match name {
            "an invalid header name" => request.fails(),
            "Connection: close" => request.only_http1(),
            _ => request,
        });
    }
    for &(name, change) in CLIENTS {
        rows.push(row(name, move |bench| call(bench, change, |request| request.header("x-one", "1"))));
    }
    rows.push(row("credentials in the URL", in_the_url));
    rows.push(row("cookies: a jar, and another host", jar));
    rows.push(row("cookies: without a jar", without_a_jar));
    rows.push(row("cookies set by a redirect", by_a_redirect));
    rows.push(row("the builder's own shorthands", shorthands));
    rows.push(row("execute of a request built beforehand", executed));
    rows
}

async fn call(bench: Bench, client: ChangeClient, change: Change) -> Result<Seen, BoxError> {
    let mut seen = Seen::new();
    let client = bench.client_with(client)?;
    seen.response("answer", client.send(Method::GET, "http://a.test/headers", change).await).await;
    seen.arrived("a", &bench.a.log);
    Ok(seen)
}

async fn in_the_url(bench: Bench) -> Result<Seen, BoxError> {
    let mut seen = Seen::new();
    seen.response("answer", bench.client()?.get("http://user:secret@a.test/").await).await;
    seen.arrived("a", &bench.a.log);
    Ok(seen)
}

async fn jar(bench: Bench) -> Result<Seen, BoxError> {
    let mut seen = Seen::new();
    let client = bench.client_with(|builder| builder.cookie_store(true))?;
    for url in ["http://a.test/cookies", "http://a.test/again", "http://b.test/", "http://a.test/last"] {
        seen.response(url, client.get(url).await).await;
    }
    seen.arrived("a", &bench.a.log);
    seen.arrived("b", &bench.b.log);
    Ok(seen)
}

async fn without_a_jar(bench: Bench) -> Result<Seen, BoxError> {
    let mut seen = Seen::new();
    let client = bench.client()?;
    match client.get("http://a.test/cookies").await {
        Ok(response) => {
            for cookie in response.cookies() {
                seen.note("cookie", format_args!("{} = {}", cookie.name(), cookie.value()));
                seen.note("HttpOnly", cookie.http_only());
            }
        }
        Err(failure) => seen.failure("answer", &failure),
    }
    seen.status("next", &client.get("http://a.test/").await);
    seen.arrived("a", &bench.a.log);
    Ok(seen)
}

async fn by_a_redirect(bench: Bench) -> Result<Seen, BoxError> {
    let mut seen = Seen::new();
    let client = bench.client_with(|builder| builder.cookie_store(true))?;
    seen.status("set", &client.get("http://a.test/cookies").await);
    let url = "http://a.test/redirect/302?http://b.test/cookies";
    seen.response("redirected", client.get(url).await).await;
    seen.status("back", &client.get("http://b.test/redirect/302?http://a.test/").await);
    seen.arrived("a", &bench.a.log);
    seen.arrived("b", &bench.b.log);
    Ok(seen)
}

async fn shorthands(bench: Bench) -> Result<Seen, BoxError> {
    let mut seen = Seen::new();
    let client = bench.client()?;
    for (name, result) in client.shorthands("http://a.test/").await {
        seen.response(name, result).await;
    }
    seen.arrived("a", &bench.a.log);
    Ok(seen)
}

async fn executed(bench: Bench) -> Result<Seen, BoxError> {
    let mut seen = Seen::new();
    let client = bench.client()?;
    let mut request = reqwest::Request::new(Method::PUT, "http://a.test/put?x=1".parse()?);
    request.headers_mut().insert("x-one", HeaderValue::from_static("1"));
    *request.body_mut() = Some("a body".into());
    let copy = request.try_clone().ok_or("a body in memory can be cloned")?;
    seen.response("first", client.execute(request).await).await;
    seen.response("second", client.execute(copy).await).await;
    seen.arrived("a", &bench.a.log);
    Ok(seen)
}
