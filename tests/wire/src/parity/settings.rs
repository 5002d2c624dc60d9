//! Settings that are made on the builder of either client, and not on the builder of the reqwest client below.

use std::time::Duration;

use http::{HeaderMap, HeaderValue};
use reqwest::{Certificate, Proxy};

use super::bench::Bench;
use super::seen::Seen;
use super::table::{Row, row};
use crate::BoxError;
use crate::clients::Setting;
use crate::server::{Server, authority};

pub(super) fn rows() -> Vec<Row> {
    vec![
        row("user agent and default headers, set on the client's builder", headers),
        row("cookie store, set on the client's builder", cookies),
        row("own authority, set on the client's builder", own_authority),
        row("connect timeout, set on the client's builder", connect_timeout),
        row("proxy, set on the client's builder", proxy).only_http1(),
        row("no proxy, set on the client's builder", no_proxy),
    ]
}

/// Makes calls through a client with these settings.
async fn calls(bench: &Bench, settings: &[Setting], urls: &[&str]) -> Result<Seen, BoxError> {
    let mut seen = Seen::new();
    let client = bench.client_set_to(settings)?;
    for url in urls {
        seen.response(url, client.get(*url).await).await;
    }
    seen.arrived("a", &bench.a.log);
    seen.arrived("b", &bench.b.log);
    Ok(seen)
}

async fn headers(bench: Bench) -> Result<Seen, BoxError> {
    let headers = HeaderMap::from_iter([
        (http::header::ACCEPT_LANGUAGE, HeaderValue::from_static("de")),
        (http::header::ACCEPT_LANGUAGE, HeaderValue::from_static("en")),
        (http::header::AUTHORIZATION, HeaderValue::from_static("Bearer token")),
    ]);
    let settings = [Setting::UserAgent("wire/1"), Setting::DefaultHeaders(headers)];
    let redirect = "http://a.test/redirect/302?http://b.test/";
    calls(&bench, &settings, &["http://a.test/headers", redirect]).await
}

async fn cookies(bench: Bench) -> Result<Seen, BoxError> {
    let redirect = "http://a.test/redirect/302?http://b.test/cookies";
    let urls = ["http://a.test/cookies", "http://a.test/again", redirect, "http://b.test/", "http://a.test/"];
    calls(&bench, &[Setting::CookieStore], &urls).await
}

async fn own_authority(bench: Bench) -> Result<Seen, BoxError> {
    let authority = Certificate::from_pem(authority().as_bytes())?;
    calls(&bench, &[Setting::RootCertificate(authority)], &["https://a.test/"]).await
}

async fn connect_timeout(bench: Bench) -> Result<Seen, BoxError> {
    calls(&bench, &[Setting::ConnectTimeout(Duration::from_secs(1))], &["http://a.test/"]).await
}

async fn proxy(bench: Bench) -> Result<Seen, BoxError> {
    let server = Server::start_proxy(bench.a.address())?;
    let proxy = Proxy::http(format!("http://{}", server.address()))?;
    let mut seen = calls(&bench, &[Setting::Proxy(proxy)], &["http://b.test/path"]).await?;
    seen.arrived("the proxy", &server.log);
    Ok(seen)
}

async fn no_proxy(bench: Bench) -> Result<Seen, BoxError> {
    let absent = Proxy::http("http://127.0.0.1:1")?;
    calls(&bench, &[Setting::Proxy(absent), Setting::NoProxy], &["http://a.test/"]).await
}
