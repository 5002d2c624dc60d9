//! The upstream's answers, and the caller's view of a response in a form that can be compared.

use std::io;
use std::time::Duration;

use bytes::Bytes;
use http::HeaderMap;
use steadfast::last_known_good::{Cause, Stale};
use steadfast::{Error, ErrorKind};

use crate::chance::Reply;
use crate::heads::header_map;
use crate::model::Entry;
use crate::support::{Script, Step, TestBody};

pub(crate) type Answer = Result<http::Response<TestBody>, Error<io::Error>>;

/// A caller's view of a response, in a form that can be compared.
#[derive(Debug, PartialEq)]
pub(crate) struct Observed {
    pub(crate) stale: Option<(Duration, Cause)>,
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
}

pub(crate) fn to_answer(reply: &Reply) -> Answer {
    let (response, content) = match reply {
        Reply::Answer(response, content) => (response, content),
        Reply::Fault(cause) => return Err(error_of(*cause)),
    };
    let mut steps: Vec<_> = content.pieces.iter().map(|it| Step::Data(Bytes::from(it.clone()))).collect();
    if let Some(at) = content.breaks_after {
        steps.insert(at, Step::Fail);
        steps.truncate(at + 1);
    }
    let script = Script::of(&steps);
    let script = if content.states_length { script.sized() } else { script };
    let mut http_response = http::Response::new(script.start());
    *http_response.status_mut() = response.status.try_into().unwrap();
    *http_response.headers_mut() = header_map(&response.headers);
    Ok(http_response)
}

pub(crate) fn error_of(cause: Cause) -> Error<io::Error> {
    match cause {
        Cause::Body => Error::from_body("cut short"),
        Cause::Timeout(scope) => {
            Error::new(ErrorKind::Timeout { scope, after: Some(Duration::from_secs(1)) })
        }
        Cause::CircuitOpen => Error::new(ErrorKind::CircuitOpen { retry_after: None }),
        Cause::BulkheadFull => Error::new(ErrorKind::BulkheadFull { max_concurrent: 1 }),
        _ => Error::from_upstream(io::ErrorKind::ConnectionRefused.into()),
    }
}

/// The stale response that an entry must lead to.
pub(crate) fn expected_stale(entry: &Entry, cause: Cause, now: i64) -> Observed {
    let age = entry.age(now);
    let mut headers = entry.headers.clone();
    headers.retain(|(name, _)| *name != "age");
    headers.push(("age", (age / 1000).to_string()));
    let ttl = entry.fresh_for / 1000 - age / 1000;
    let how = match cause {
        Cause::Status(status) => format!("fwd=stale; fwd-status={}; ttl={ttl}", status.as_u16()),
        Cause::Body => format!("fwd=stale; ttl={ttl}; detail=body"),
        Cause::Timeout(_) => format!("fwd=stale; ttl={ttl}; detail=timeout"),
        Cause::CircuitOpen => format!("hit; ttl={ttl}; detail=circuit-open"),
        _ => format!("fwd=stale; ttl={ttl}; detail=transport"),
    };
    headers.push(("cache-status", format!("steadfast; {how}")));
    let age = Duration::from_millis(age.unsigned_abs());
    Observed { stale: Some((age, cause)), status: entry.status, headers: lines(&header_map(&headers)) }
}

pub(crate) fn observe<B>(response: &http::Response<B>) -> Observed {
    let stale = response.extensions().get::<Stale>().map(|it| (it.age, it.cause));
    Observed { stale, status: response.status().as_u16(), headers: lines(response.headers()) }
}

/// The lines sorted by name. Lines with one name keep their order.
pub(crate) fn lines(headers: &HeaderMap) -> Vec<(String, String)> {
    let text = |value: &http::HeaderValue| value.to_str().unwrap().to_owned();
    let mut lines: Vec<_> = headers.iter().map(|(name, value)| (name.to_string(), text(value))).collect();
    lines.sort_by(|(one, _), (other, _)| one.cmp(other));
    lines
}
