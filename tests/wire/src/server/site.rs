//! The site that every server serves. The path of a request chooses the answer.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Empty, Full, StreamBody};
use hyper::body::{Body as _, Frame, Incoming};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::log::{Arrived, Log};
use crate::BoxError;

pub(super) type Body = UnsyncBoxBody<Bytes, io::Error>;

/// The text below every compressed answer.
const PLAIN: &str = "the same text again and again, the same text again and again";

pub(super) async fn answer(request: Request<Incoming>, log: Arc<Log>) -> Result<Response<Body>, BoxError> {
    let (parts, body) = request.into_parts();
    let number = log.begin(Arrived::new(&parts));
    if parts.uri.path() == "/upgrade" {
        log.complete(number, Vec::new(), None);
        return upgrade(Request::from_parts(parts, body));
    }
    match parts.uri.path() {
        "/early" => return Ok(Response::new(text("early"))),
        // The body of the request, while it arrives.
        "/echo" => return Ok(Response::new(body.map_err(io::Error::other).boxed_unsync())),
        _ => {}
    }
    let body = body.collect().await?;
    let trailers = body.trailers().cloned();
    log.complete(number, body.to_bytes().to_vec(), trailers.as_ref());
    let mut path = parts.uri.path().split('/').skip(1);
    let route = path.next().unwrap_or_default();
    let argument = path.next().unwrap_or_default();
    let query = parts.uri.query().unwrap_or_default();
    let response = respond(route, argument, query, &log).await?;
    Ok(if parts.method == Method::HEAD { bodiless(response) } else { response })
}

/// Removes the body of an answer to HEAD, and states its length. hyper does so over HTTP/1 only.
fn bodiless(response: Response<Body>) -> Response<Body> {
    let length = response.body().size_hint().exact();
    let mut response = response.map(|_| empty());
    if let Some(length) = length {
        response.headers_mut().entry(header::CONTENT_LENGTH).or_insert(length.into());
    }
    response
}

async fn respond(route: &str, argument: &str, query: &str, log: &Log) -> Result<Response<Body>, BoxError> {
    let response = Response::builder();
    Ok(match route {
        "status" => {
            let response = response.status(argument);
            match query.strip_prefix("length=") {
                Some(length) => response.header(header::CONTENT_LENGTH, length),
                None => response,
            }
            .body(empty())?
        }
        "redirect" => response.status(argument).header(header::LOCATION, query).body(text("moved"))?,
        "loop" => response.status(302).header(header::LOCATION, "/loop").body(empty())?,
        "compressed" => {
            let body = compress(argument).await?;
            let response = response.header(header::CONTENT_ENCODING, argument);
            response.header(header::CONTENT_TYPE, "text/plain").body(full(body))?
        }
        "cookies" => response
            .header(header::SET_COOKIE, "session=one; Path=/; HttpOnly")
            .header(header::SET_COOKIE, "theme=dark; Path=/")
            .body(text("set"))?,
        "trailers" => response.header("trailer", "x-sum").body(with_trailers())?,
        "chunks" => response.body(chunks(argument.parse()?))?,
        "sized" => response.body(full(vec![b'x'; argument.parse()?]))?,
        "latin1" => response
            .header(header::CONTENT_TYPE, "text/plain; charset=iso-8859-1")
            .body(full(b"gr\xfc\xdfe".to_vec()))?,
        "json" => response
            .header(header::CONTENT_TYPE, "application/json")
            .body(text(r#"{"name":"steadfast","number":3}"#))?,
        "never" => std::future::pending().await,
        "late" => {
            tokio::time::sleep(Duration::from_millis(argument.parse()?)).await;
            Response::new(text("late"))
        }
        "held" => {
            log.has_requests(argument.parse()?).await;
            Response::new(text("held"))
        }
        "drip" => response.body(drip(argument.parse()?))?,
        // The first bytes of a body, and no more.
        "stall" => {
            let response = match argument.parse::<u64>() {
                Ok(length) => response.header(header::CONTENT_LENGTH, length),
                Err(_) => response,
            };
            response.body(stalling())?
        }
        "breaks" => response.body(breaking())?,
        _ => response
            .header("x-answer", "one")
            .header("x-answer", "two")
            .header(header::CONTENT_TYPE, "text/plain; charset=utf-8")
            .body(text("hello"))?,
    })
}

/// Switches to a protocol that echoes.
fn upgrade(request: Request<Incoming>) -> Result<Response<Body>, BoxError> {
    let upgrade = hyper::upgrade::on(request);
    tokio::spawn(async move {
        let mut stream = TokioIo::new(upgrade.await?);
        let mut word = [0; 4];
        while stream.read_exact(&mut word).await.is_ok() {
            stream.write_all(&word).await?;
        }
        Ok::<_, BoxError>(())
    });
    let response = Response::builder().status(StatusCode::SWITCHING_PROTOCOLS);
    Ok(response.header(header::CONNECTION, "upgrade").header(header::UPGRADE, "echo").body(empty())?)
}

pub(super) fn empty() -> Body {
    Empty::new().map_err(|never| match never {}).boxed_unsync()
}

fn full(bytes: Vec<u8>) -> Body {
    Full::new(Bytes::from(bytes)).map_err(|never| match never {}).boxed_unsync()
}

fn text(text: &str) -> Body {
    full(text.as_bytes().to_vec())
}

fn with_trailers() -> Body {
    let trailer = (HeaderName::from_static("x-sum"), HeaderValue::from_static("42"));
    let trailers = HeaderMap::from_iter([trailer]);
    let frames = stream::iter([data(b"summed"), Ok(Frame::trailers(trailers))]);
    StreamBody::new(frames).boxed_unsync()
}

fn data(bytes: &'static [u8]) -> io::Result<Frame<Bytes>> {
    Ok(Frame::data(Bytes::from_static(bytes)))
}

/// A body without a stated length.
fn chunks(number: usize) -> Body {
    StreamBody::new(stream::iter((0..number).map(|_| data(b"chunk ")))).boxed_unsync()
}

/// Eight chunks, with a pause before each.
fn drip(pause: u64) -> Body {
    let chunks = stream::iter(0..8).then(move |_| async move {
        tokio::time::sleep(Duration::from_millis(pause)).await;
        data(b"drop ")
    });
    StreamBody::new(chunks).boxed_unsync()
}

fn stalling() -> Body {
    StreamBody::new(stream::iter([data(b"first")]).chain(stream::pending())).boxed_unsync()
}

fn breaking() -> Body {
    let parts = [data(b"first"), Err(io::Error::other("the body breaks"))];
    StreamBody::new(stream::iter(parts)).boxed_unsync()
}

async fn compress(coding: &str) -> Result<Vec<u8>, BoxError> {
    use async_compression::tokio::bufread::{BrotliEncoder, GzipEncoder, ZlibEncoder, ZstdEncoder};

    let plain = PLAIN.as_bytes();
    let mut compressed = Vec::new();
    match coding {
        "gzip" => GzipEncoder::new(plain).read_to_end(&mut compressed).await?,
        "br" => BrotliEncoder::new(plain).read_to_end(&mut compressed).await?,
        "deflate" => ZlibEncoder::new(plain).read_to_end(&mut compressed).await?,
        "zstd" => ZstdEncoder::new(plain).read_to_end(&mut compressed).await?,
        _ => return Err(format!("no coding `{coding}`").into()),
    };
    Ok(compressed)
}
