//! The last-known-good cache under arbitrary headers of the upstream and the caller: storing and serving never
//! panics, and a response that the origin or the request forbids is never served.

#![no_main]

use std::convert::Infallible;
use std::time::Duration;

use bytes::Bytes;
use http::header::{
    ACCEPT, AGE, AUTHORIZATION, CACHE_CONTROL, CONNECTION, COOKIE, HeaderMap, HeaderName, HeaderValue, RANGE,
    SET_COOKIE, VARY,
};
use http::{Request, Response, StatusCode, Uri};
use http_body::Body;
use http_body_util::{BodyExt, Empty, Full};
use libfuzzer_sys::arbitrary::{self, Arbitrary};
use libfuzzer_sys::fuzz_target;
use steadfast::last_known_good::{LastKnownGood, LastKnownGoodLayer, Stale};
use steadfast::{BoxError, Error, ErrorKind};
use tower::{Service, ServiceBuilder, ServiceExt};

const BODY: &str = "the last good answer";

#[derive(Debug, Arbitrary)]
struct Input<'a> {
    answer: Vec<AnswerHeader<'a>>,
    first: RequestHeaders<'a>,
    second: RequestHeaders<'a>,
    /// The time between the two calls, in seconds.
    pause_secs: u16,
    /// True if the second call fails with a 503, false if it fails with an error.
    fails_with_503: bool,
}

#[derive(Debug, Arbitrary)]
enum AnswerHeader<'a> {
    CacheControl(Vec<Directive<'a>>),
    VaryOnAccept,
    VaryOnEverything,
    Vary(&'a [u8]),
    Age(&'a [u8]),
    Connection(&'a [u8]),
    SetCookie,
}

#[derive(Debug, Arbitrary)]
struct RequestHeaders<'a> {
    accept: Option<Accept<'a>>,
    authorization: bool,
    cookie: bool,
    range: bool,
    cache_control: Vec<Directive<'a>>,
}

/// The `Accept` header of a request.
#[derive(Debug, Arbitrary)]
enum Accept<'a> {
    Json,
    Text,
    Raw(&'a [u8]),
}

#[derive(Debug, Arbitrary)]
enum Directive<'a> {
    NoStore,
    NoCache,
    Private,
    MustRevalidate,
    MaxAge(u64),
    SMaxAge(u64),
    StaleIfError(u64),
    Raw(&'a [u8]),
}

impl Directive<'_> {
    fn write(&self, line: &mut Vec<u8>) {
        let text = match self {
            Self::NoStore => "No-Store".to_owned(),
            Self::NoCache => "no-cache".to_owned(),
            Self::Private => "private".to_owned(),
            Self::MustRevalidate => "must-revalidate".to_owned(),
            Self::MaxAge(seconds) => format!("max-age={seconds}"),
            Self::SMaxAge(seconds) => format!("s-maxage={seconds}"),
            Self::StaleIfError(seconds) => format!("stale-if-error={seconds}"),
            Self::Raw(bytes) => return line.extend_from_slice(bytes),
        };
        line.extend_from_slice(text.as_bytes());
    }

    /// True if the directive may open a quoted string, which could swallow the directives after it.
    fn may_quote(&self) -> bool {
        matches!(self, Self::Raw(bytes) if bytes.contains(&b'"'))
    }

    /// True if the directive forbids storing the response. `private` forbids it only for a response that is not
    /// already limited to one caller.
    fn forbids(&self, is_private: bool) -> bool {
        matches!(self, Self::NoStore | Self::NoCache) || (matches!(self, Self::Private) && !is_private)
    }
}

/// The header value of the directives, or `None` if it contains bytes that cannot be sent.
fn line(directives: &[Directive<'_>]) -> Option<HeaderValue> {
    let mut line = Vec::new();
    for directive in directives {
        if !line.is_empty() {
            line.extend_from_slice(b" , ");
        }
        directive.write(&mut line);
    }
    HeaderValue::from_bytes(&line).ok()
}

fn append(headers: &mut HeaderMap, name: HeaderName, value: &[u8]) {
    if let Ok(value) = HeaderValue::from_bytes(value) {
        headers.append(name, value);
    }
}

/// The headers of the good answer, with true if the headers certainly forbid serving the answer again.
fn answer(lines: &[AnswerHeader<'_>], is_private: bool) -> (HeaderMap, bool) {
    let mut headers = HeaderMap::new();
    let mut forbidden = false;
    for header in lines {
        match header {
            AnswerHeader::CacheControl(directives) => {
                let Some(line) = line(directives) else { continue };
                headers.append(CACHE_CONTROL, line);
                forbidden |=
                    directives.iter().take_while(|it| !it.may_quote()).any(|it| it.forbids(is_private));
            }
            AnswerHeader::VaryOnAccept => append(&mut headers, VARY, b"x-tenant, Accept"),
            AnswerHeader::VaryOnEverything => {
                append(&mut headers, VARY, b"*");
                forbidden = true;
            }
            AnswerHeader::Vary(value) => append(&mut headers, VARY, value),
            AnswerHeader::Age(value) => append(&mut headers, AGE, value),
            AnswerHeader::Connection(value) => append(&mut headers, CONNECTION, value),
            AnswerHeader::SetCookie => {
                append(&mut headers, SET_COOKIE, b"session=1");
                forbidden = true;
            }
        }
    }
    (headers, forbidden)
}

fn request(from: &RequestHeaders<'_>) -> Request<Empty<Bytes>> {
    let mut request = Request::new(Empty::new());
    *request.uri_mut() = Uri::from_static("http://sku.internal/v1/items/42");
    let headers = request.headers_mut();
    match from.accept {
        Some(Accept::Json) => append(headers, ACCEPT, b"application/json"),
        Some(Accept::Text) => append(headers, ACCEPT, b"text/plain"),
        Some(Accept::Raw(value)) => append(headers, ACCEPT, value),
        None => {}
    }
    for (name, is_present) in
        [(AUTHORIZATION, from.authorization), (COOKIE, from.cookie), (RANGE, from.range)]
    {
        if is_present {
            append(headers, name, b"bytes=0-1");
        }
    }
    headers.extend(line(&from.cache_control).map(|line| (CACHE_CONTROL, line)));
    request
}

/// The presence of `Authorization` and of `Cookie` in the request.
fn credentials(request: &Request<Empty<Bytes>>) -> [bool; 2] {
    [AUTHORIZATION, COOKIE].map(|name| request.headers().contains_key(name))
}

/// A service that answers the first call with a good response, and fails later calls.
fn upstream(answer: HeaderMap, fails_with_503: bool) -> impl FnMut(Request<Empty<Bytes>>) -> Answer + Clone {
    let mut calls = 0;
    move |_| {
        calls += 1;
        let mut response = Response::new(Full::new(Bytes::from_static(BODY.as_bytes())));
        match calls {
            1 => response.headers_mut().clone_from(&answer),
            _ if fails_with_503 => *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE,
            _ => return std::future::ready(Err(Error::new(ErrorKind::Body))),
        }
        std::future::ready(Ok(response))
    }
}

/// Makes a call and reads its body, since an entry is stored at the end of the body.
async fn call<S, B>(
    service: &mut S,
    request: Request<Empty<Bytes>>,
) -> Result<Response<Bytes>, Error<Infallible>>
where
    S: Service<Request<Empty<Bytes>>, Response = Response<B>, Error = Error<Infallible>>,
    B: Body<Data = Bytes, Error = BoxError>,
{
    let (parts, body) = service.ready().await?.call(request).await?.into_parts();
    let body = body.collect().await.map_err(|_| Error::new(ErrorKind::Body))?.to_bytes();
    Ok(Response::from_parts(parts, body))
}

type Answer = std::future::Ready<Result<Response<Full<Bytes>>, Error<Infallible>>>;

fuzz_target!(|input: Input<'_>| {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    runtime.unwrap().block_on(async {
        let (first, second) = (request(&input.first), request(&input.second));
        let is_private = credentials(&first).contains(&true);
        let (headers, forbidden) = answer(&input.answer, is_private);
        let is_other_caller = credentials(&first) != credentials(&second);
        let is_range = [&first, &second].iter().any(|it| it.headers().contains_key(RANGE));
        let differs = first.headers().get(ACCEPT) != second.headers().get(ACCEPT);
        let varies = input.answer.iter().any(|header| matches!(header, AnswerHeader::VaryOnAccept));

        let mut service = ServiceBuilder::new()
            .layer(LastKnownGoodLayer::new(LastKnownGood::default()))
            .service_fn(upstream(headers, input.fails_with_503));
        let good = call(&mut service, first).await.unwrap();
        assert!(good.extensions().get::<Stale>().is_none());

        tokio::time::advance(Duration::from_secs(input.pause_secs.into())).await;
        let Ok(response) = call(&mut service, second).await else { return };
        let Some(stale) = response.extensions().get::<Stale>() else { return };

        assert!(!forbidden, "served although the origin forbids storing");
        assert!(!is_other_caller, "served to another caller");
        assert!(!is_range, "served for a range request");
        assert!(!(varies && differs), "served although `Vary` does not match");
        assert!(stale.age >= Duration::from_secs(input.pause_secs.into()));
        assert_eq!(response.status(), StatusCode::OK);
        assert_eq!(response.body(), BODY);
        assert!(response.headers().contains_key(AGE));
    });
});
