//! Plays a case with a client, through a socket.

use std::time::{Duration, SystemTime};

use http::{HeaderMap, Method, StatusCode};
use httpdate::fmt_http_date;
use steadfast::last_known_good::LastKnownGood;
use steadfast::{Client, ResponseExt};
use tokio::time::Instant;

use super::server::{Reply, Server};
use super::table::{Case, Expected, Failure, Shown, Step, Value};

const PAUSE: Duration = Duration::from_secs(3);
/// A timeout that no case reaches.
const MINUTE: Duration = Duration::from_secs(60);

/// A difference from the suite's expectation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Deviation {
    /// An entry is served where the suite forbids one.
    Served,
    /// No entry is served where the suite expects one.
    NotServed,
    /// The right answer has a wrong header.
    Header,
}

impl Case {
    /// The failures to play the case with: the failure that the case names, or all.
    pub(crate) fn failures(&self) -> Vec<Failure> {
        let named = self.steps.iter().find_map(|step| step.failure);
        named.map_or_else(|| vec![Failure::Closed, Failure::Unavailable], |failure| vec![failure])
    }

    /// Plays the case. Panics if anything but the cache deviates.
    pub(crate) async fn play(&self, failure: Failure) -> Result<(), Deviation> {
        let play = Play::begin();
        for (number, step) in (1..).zip(&self.steps) {
            match step.expected {
                Expected::Upstream => play.answered(step, number).await?,
                Expected::Cache => play.served_stale(step, failure).await?,
                Expected::Nowhere => {
                    play.not_served(step, failure).await?;
                    // A later step may need the answer.
                    if step.failure.is_none() {
                        play.answered(step, number).await?;
                    }
                }
            }
            if step.pauses {
                pause().await;
            }
        }
        Ok(())
    }
}

/// Advances tokio's time without a real wait. The clock runs on afterwards, since a paused clock would not wait for
/// data on the wire.
async fn pause() {
    tokio::time::pause();
    tokio::time::advance(PAUSE).await;
    tokio::time::resume();
}

/// A scripted upstream, and a client that has made no call yet.
struct Play {
    server: Server,
    client: Client,
    /// The start time, by the system's clock and by tokio's.
    began: (SystemTime, Instant),
}

/// The result of a request.
struct Observed {
    /// `None` if the call failed.
    status: Option<StatusCode>,
    headers: HeaderMap,
    body: String,
    is_stale: bool,
}

impl Play {
    #[allow(clippy::disallowed_methods)] // Date headers need the system's clock, which is read once.
    fn begin() -> Self {
        let client = Client::builder()
            .last_known_good(LastKnownGood::builder())
            .total_timeout(MINUTE)
            .attempt_timeout(MINUTE)
            .without_retry();
        Self {
            server: Server::new([Reply::closed()]),
            client: client.build().unwrap(),
            began: (SystemTime::now(), Instant::now()),
        }
    }

    async fn answered(&self, step: &Step, number: usize) -> Result<(), Deviation> {
        self.server.replies([Reply::Answer(self.answer(step, number))]);
        let observed = self.ask(step).await;
        assert_eq!(observed.status.map(|it| it.as_u16()), Some(step.status));
        assert!(!observed.is_stale);
        assert_eq!(observed.body, if has_body(step) { body(number) } else { String::new() });
        observed.shows(step)
    }

    async fn served_stale(&self, step: &Step, failure: Failure) -> Result<(), Deviation> {
        let observed = self.ask_failing(step, failure).await;
        if !observed.is_stale {
            observed.assert_failure(failure);
            return Err(Deviation::NotServed);
        }
        assert_eq!((observed.status, observed.body.clone()), (Some(StatusCode::OK), body(1)));
        observed.shows(step)
    }

    async fn not_served(&self, step: &Step, failure: Failure) -> Result<(), Deviation> {
        let observed = self.ask_failing(step, failure).await;
        if observed.is_stale {
            return Err(Deviation::Served);
        }
        observed.assert_failure(failure);
        Ok(())
    }

    async fn ask_failing(&self, step: &Step, failure: Failure) -> Observed {
        self.server.replies([match failure {
            Failure::Closed => Reply::closed(),
            Failure::Unavailable => Reply::unavailable(),
        }]);
        self.ask(step).await
    }

    async fn ask(&self, step: &Step) -> Observed {
        let requests_before = self.server.requests();
        let method: Method = step.method.parse().unwrap();
        let body = if method.is_safe() { "" } else { "abc" };
        let request = self.client.request(method, self.server.url(step.path));
        let request = step.sent.iter().fold(request, |it, (name, value)| it.header(*name, value));
        let result = if body.is_empty() { request } else { request.body(body) }.send().await;
        assert_eq!(self.server.requests(), requests_before + 1, "the upstream is always asked, once");
        match result {
            Err(error) => {
                assert!(error.inner().is_some(), "{error:?}");
                Observed { status: None, headers: HeaderMap::new(), body: String::new(), is_stale: false }
            }
            Ok(response) => Observed {
                status: Some(response.status()),
                headers: response.headers().clone(),
                is_stale: response.stale().is_some(),
                body: response.text().await.unwrap(),
            },
        }
    }

    /// The upstream's answer to a step, as bytes on the wire.
    fn answer(&self, step: &Step, number: usize) -> Vec<u8> {
        let (system, at) = self.began;
        let now = system + at.elapsed();
        let body = body(number);
        let mut lines = String::new();
        for (name, value) in &step.answered {
            let value = match value {
                Value::Text(text) => text,
                Value::Date(seconds) => &fmt_http_date(moved(now, *seconds)),
            };
            lines.extend([*name, ": ", value, "\r\n"]);
        }
        // A 304 has no length of its own.
        if step.status != 304 {
            lines.extend(["content-length: ", &body.len().to_string(), "\r\n"]);
        }
        let body = if has_body(step) { &body } else { "" };
        format!("HTTP/1.1 {} Status\r\n{lines}\r\n{body}", step.status).into_bytes()
    }
}

impl Observed {
    fn assert_failure(&self, failure: Failure) {
        let status = match failure {
            Failure::Closed => None,
            Failure::Unavailable => Some(StatusCode::SERVICE_UNAVAILABLE),
        };
        assert_eq!(self.status, status);
    }

    fn shows(&self, step: &Step) -> Result<(), Deviation> {
        let is_shown = |(name, shown): &(&str, Shown)| match (self.headers.get(*name), shown) {
            (Some(value), Shown::Value(expected)) => value == &**expected,
            (value, Shown::Anything) => value.is_some(),
            (value, Shown::Nothing) => value.is_none(),
            (None, Shown::Value(_)) => false,
        };
        if step.shown.iter().all(is_shown) { Ok(()) } else { Err(Deviation::Header) }
    }
}

/// The body of the answer to a step, which names the step.
pub(crate) fn body(number: usize) -> String {
    format!("what the upstream answered step {number}")
}

fn has_body(step: &Step) -> bool {
    step.method != "HEAD" && step.status != 304
}

fn moved(time: SystemTime, seconds: i64) -> SystemTime {
    let by = Duration::from_secs(seconds.unsigned_abs());
    if seconds < 0 { time - by } else { time + by }
}
