//! Versions of HTTP, their negotiation, and TLS with an authority of one's own.

use hyper::ext::ReasonPhrase;
use reqwest::tls::TlsInfo;
use reqwest::{Certificate, ClientBuilder, Method};

use super::bench::{Bench, Over};
use super::seen::Seen;
use super::table::{Row, row};
use crate::BoxError;
use crate::clients::Redirects;
use crate::server::{HintServer, RawServer, authority};

/// The name, the answer, and whether it ends its connection.
const ANSWERS: &[(&str, &str, bool)] = &[
    ("HTTP/1.0, the end of the connection ends the body", "HTTP/1.0 200 OK\r\n\r\nold", true),
    ("HTTP/1.0 with a stated length", "HTTP/1.0 200 OK\r\ncontent-length: 3\r\n\r\nold", true),
    (
        "HTTP/1.0 kept alive",
        "HTTP/1.0 200 OK\r\nconnection: keep-alive\r\ncontent-length: 3\r\n\r\nold",
        false,
    ),
    ("HTTP/1.1, the end of the connection ends the body", "HTTP/1.1 200 Fine\r\n\r\nnew", true),
    ("304 that states a length", "HTTP/1.1 304 Not Modified\r\ncontent-length: 1000\r\n\r\n", false),
    ("204 that states a length", "HTTP/1.1 204 No Content\r\ncontent-length: 0\r\n\r\n", false),
    ("a status unknown to HTTP", "HTTP/1.1 299 Odd\r\ncontent-length: 0\r\n\r\n", false),
];

const HINTED: &str = "HTTP/1.1 103 Early Hints\r\nlink: </style>\r\n\r\n\
    HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

pub(super) fn rows() -> Vec<Row> {
    let mut rows = Vec::new();
    for &(name, answer, close) in ANSWERS {
        rows.push(row(name, move |bench| raw(bench, answer, close)).only_http1());
    }
    rows.push(row("103 before the answer", hinted));
    rows.push(row("https", https));
    rows.push(row("https, ALPN chooses HTTP/2", |bench| negotiated(bench, |builder| builder)).only_http2());
    rows.push(
        row("https, ALPN, `http1_only`", |bench| negotiated(bench, ClientBuilder::http1_only)).only_http1(),
    );
    rows.push(row("https, an own authority merged with the system's", merged));
    rows.push(row("https, an unknown authority", |bench| refused(bench, "https://a.test/", true)).fails());
    rows.push(
        row("https, a certificate of another name", |bench| refused(bench, "https://c.test/", false)).fails(),
    );
    rows.push(row("https, TLS information", tls_info));
    rows.push(row("the version set by the request", of_the_request));
    rows
}

/// Two calls to a server that writes fixed bytes.
async fn raw(bench: Bench, answer: &'static str, close: bool) -> Result<Seen, BoxError> {
    let mut seen = Seen::new();
    let server = RawServer::start(answer, close)?;
    let address = server.address();
    let client = bench.client_with(move |builder| builder.resolve("raw.test", address))?;
    let first = client.get("http://raw.test/").await;
    if let Ok(response) = &first {
        let reason = response.extensions().get::<ReasonPhrase>().map(ReasonPhrase::as_bytes);
        seen.note("reason phrase", format_args!("{:?}", reason.map(String::from_utf8_lossy)));
    }
    seen.response("first", first).await;
    seen.response("second", client.get("http://raw.test/").await).await;
    if close {
        seen.note("connections", server.log.connections());
    }
    Ok(seen)
}

async fn hinted(bench: Bench) -> Result<Seen, BoxError> {
    if bench.over == Over::Http1 {
        return raw(bench, HINTED, false).await;
    }
    let mut seen = Seen::new();
    let server = HintServer::start()?;
    let address = server.address();
    let client = bench.client_with(move |builder| builder.resolve("hint.test", address))?;
    seen.response("answer", client.get("http://hint.test/").await).await;
    Ok(seen)
}

async fn https(bench: Bench) -> Result<Seen, BoxError> {
    let mut seen = Seen::new();
    let client = bench.client()?;
    seen.response("GET", client.get("https://a.test/").await).await;
    let body = |request: reqwest::RequestBuilder| request.body("a body");
    seen.response("POST", client.send(Method::POST, "https://a.test/", body).await).await;
    seen.arrived("a", &bench.a.log);
    Ok(seen)
}

async fn negotiated(bench: Bench, change: fn(ClientBuilder) -> ClientBuilder) -> Result<Seen, BoxError> {
    let mut seen = Seen::new();
    let client = bench.negotiating(Redirects::Default, change)?;
    seen.response("https", client.get("https://a.test/").await).await;
    seen.response("http", client.get("http://a.test/").await).await;
    seen.arrived("a", &bench.a.log);
    Ok(seen)
}

async fn merged(bench: Bench) -> Result<Seen, BoxError> {
    let mut seen = Seen::new();
    let (a, over) = (bench.a.address(), bench.over);
    let certificate = Certificate::from_pem(authority().as_bytes())?;
    let client = bench.client_with(move |_| {
        let builder = ClientBuilder::new().no_proxy().resolve("a.test", a);
        over.of(builder).tls_certs_merge([certificate.clone()])
    })?;
    seen.response("answer", client.get("https://a.test/").await).await;
    Ok(seen)
}

async fn refused(bench: Bench, url: &'static str, unknown: bool) -> Result<Seen, BoxError> {
    let mut seen = Seen::new();
    let (a, over) = (bench.a.address(), bench.over);
    let client = bench.client_with(move |builder| {
        let builder = if unknown { over.of(ClientBuilder::new().no_proxy()) } else { builder };
        builder.resolve("a.test", a).resolve("c.test", a)
    })?;
    seen.status("answer", &client.get(url).await);
    seen.note("requests", bench.a.log.requests());
    Ok(seen)
}

async fn tls_info(bench: Bench) -> Result<Seen, BoxError> {
    let mut seen = Seen::new();
    let client = bench.client_with(|builder| builder.tls_info(true))?;
    match client.get("https://a.test/").await {
        Ok(response) => {
            let certificate = response.extensions().get::<TlsInfo>().and_then(TlsInfo::peer_certificate);
            seen.note("the peer's certificate", certificate.is_some_and(|der| !der.is_empty()));
        }
        Err(failure) => seen.failure("answer", &failure),
    }
    Ok(seen)
}

async fn of_the_request(bench: Bench) -> Result<Seen, BoxError> {
    let mut seen = Seen::new();
    let version = match bench.over {
        Over::Http1 => http::Version::HTTP_11,
        Over::Http2 => http::Version::HTTP_2,
    };
    let client = bench.negotiating(Redirects::Default, |builder| builder)?;
    let result = client.send(Method::GET, "https://a.test/", |request| request.version(version)).await;
    seen.response("answer", result).await;
    seen.arrived("a", &bench.a.log);
    Ok(seen)
}
