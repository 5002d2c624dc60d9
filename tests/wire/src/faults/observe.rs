//! One call through one of the two clients, and what its caller and its server observed.

use std::error::Error as StdError;
use std::fmt;

use steadfast::ErrorKind;

use super::case::Case;
use super::clients::{self, Setting};
use super::errors::Text;
use super::fault::Fault;
use super::log::Log;
use super::server::{Count, Server};
use crate::BoxError;

/// The caller's view of a call.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) enum Answer {
    /// The body was read whole.
    Whole(u16),
    /// The body ended before its stated length, without an error.
    Short(u16),
    /// The head arrived, and reading the body failed.
    Broken(u16),
    /// The head arrived, and reading the body took too long.
    Stalled(u16),
    Error(String),
    /// No answer within the limit of a row.
    #[default]
    Hung,
}

/// A call through bare reqwest.
#[derive(Debug, Clone, Default)]
pub(crate) struct Bare {
    pub(crate) answer: Answer,
    pub(crate) requests: Count,
}

/// A call through steadfast.
#[derive(Debug, Clone, Default)]
pub(crate) struct Steadfast {
    pub(crate) answer: Answer,
    pub(crate) requests: Count,
    /// True if the circuit has opened, which the first failure does under [`Setting::OneFailureOpens`].
    pub(crate) has_tripped: bool,
    /// The tokens that the call took from the retry budget, in tenths.
    pub(crate) tokens_lost: i64,
    pub(crate) retries: u64,
    /// The texts of the error, if there was one.
    pub(crate) error: Option<Text>,
    /// The lines of the log.
    pub(crate) log: Vec<String>,
}

impl Answer {
    /// True if the caller has the whole answer of a healthy upstream.
    pub(crate) const fn is_good(&self) -> bool {
        matches!(self, Self::Whole(200..300))
    }
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Whole(status) => write!(f, "{status}"),
            Self::Short(status) => write!(f, "{status}, body short"),
            Self::Broken(status) => write!(f, "{status}, body fails"),
            Self::Stalled(status) => write!(f, "{status}, body times out"),
            Self::Error(kind) => f.write_str(kind),
            Self::Hung => f.write_str("hung"),
        }
    }
}

/// The row's call through bare reqwest.
pub(crate) async fn bare(case: &Case) -> Result<Bare, BoxError> {
    let server = Server::start(case.fault, case.times, case.protocol).await?;
    let client = clients::bare(case.protocol)?;
    if case.fault.is_of_reuse() {
        client.get(server.url()).send().await?.bytes().await?;
        wait_until_idle(&server, case.fault).await;
    }
    let request = client.request(case.method.clone(), server.url());
    let request = if case.body().is_empty() { request } else { request.body(case.body()) };
    let before = server.script().requests.count();
    let answer = match request.send().await {
        Ok(response) => read(response).await.0,
        Err(error) => Answer::Error(of_reqwest(&error).to_owned()),
    };
    Ok(Bare { answer, requests: server.script().requests.count().since(before) })
}

/// The row's call through steadfast.
pub(crate) async fn steadfast(case: &Case, setting: Setting) -> Result<Steadfast, BoxError> {
    let log = Log::default();
    let _listening = log.listen();
    let server = Server::start(case.fault, case.times, case.protocol).await?;
    let client = clients::steadfast(case.protocol, setting)?;
    if case.fault.is_of_reuse() {
        client.get(server.url()).send().await?.bytes().await?;
        wait_until_idle(&server, case.fault).await;
    }
    let request = client.request(case.method.clone(), server.url());
    let request = if case.body().is_empty() { request } else { request.body(case.body()) };
    let before = server.script().requests.count();
    let upstream = client.upstream_at(server.url())?;
    let budget = upstream.retry_budget().ok_or("a budget by default")?;
    let tokens = budget.tokens();
    let (answer, error) = match request.send().await {
        Ok(response) => {
            let (answer, error) = read(response).await;
            (answer, error.map(|error| Text::of_reading(&error)))
        }
        Err(error) => (Answer::Error(of_steadfast(&error)), Some(Text::of_call(&error))),
    };
    let breaker = upstream.circuit_breaker().ok_or("a circuit breaker by default")?;
    Ok(Steadfast {
        answer,
        requests: server.script().requests.count().since(before),
        has_tripped: breaker.snapshot().trips > 0,
        tokens_lost: tenths(tokens - budget.tokens()),
        retries: budget.retries(),
        error,
        log: log.lines(),
    })
}

/// Waits until both sides of an idle connection have closed it, if the server closes it.
async fn wait_until_idle(server: &Server, fault: Fault) {
    if fault == Fault::IdleClosed {
        server.script().idle_closed.notified().await;
    }
}

async fn read(response: reqwest::Response) -> (Answer, Option<reqwest::Error>) {
    let status = response.status().as_u16();
    let stated = response.headers().get("content-length").and_then(|length| length.to_str().ok());
    let stated: Option<usize> = stated.and_then(|length| length.parse().ok());
    match response.bytes().await {
        Ok(body) if stated.is_some_and(|stated| body.len() < stated) => (Answer::Short(status), None),
        Ok(_) => (Answer::Whole(status), None),
        Err(error) => {
            let answer = if is_timeout(&error) { Answer::Stalled(status) } else { Answer::Broken(status) };
            (answer, Some(error))
        }
    }
}

/// True for a timeout of reqwest or of steadfast.
fn is_timeout(error: &reqwest::Error) -> bool {
    let mut sources = std::iter::successors(error.source(), |&error| error.source());
    error.is_timeout()
        || sources.any(|source| {
            source.downcast_ref::<steadfast::ErrorInfo>().is_some_and(steadfast::ErrorInfo::is_timeout)
        })
}

fn of_reqwest(error: &reqwest::Error) -> &'static str {
    if error.is_connect() {
        "connect error"
    } else if error.is_timeout() {
        "timeout"
    } else if error.is_body() || error.is_decode() {
        "body error"
    } else {
        "request error"
    }
}

fn of_steadfast(error: &steadfast::ClientError) -> String {
    let kind = match error.kind() {
        ErrorKind::Upstream => error.inner().map_or("error", of_reqwest).to_owned(),
        ErrorKind::Body => "body error".to_owned(),
        ErrorKind::Timeout { scope, .. } => format!("timeout ({scope})"),
        kind => kind.to_string(),
    };
    let s = if error.attempts() == 1 { "" } else { "s" };
    format!("{kind}, {} attempt{s}", error.attempts())
}

#[allow(clippy::cast_possible_truncation)]
fn tenths(tokens: f64) -> i64 {
    (tokens * 10.0).round() as i64
}
