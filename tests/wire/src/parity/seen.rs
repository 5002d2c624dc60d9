//! The observations of a row.

use std::fmt::Display;

use reqwest::Response;

use super::bench::Over;
use crate::clients::Failure;
use crate::server::{Log, body, headers};

/// The length of an observation in a cell of the table.
const SHORT: usize = 60;

fn shortened(text: &str) -> String {
    match text.char_indices().nth(SHORT) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

/// Named observations, in their order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Seen {
    observations: Vec<(String, String)>,
    /// True if a call or the reading of a body failed.
    pub(crate) failed: bool,
}

impl Seen {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    pub(crate) fn note(&mut self, name: impl Into<String>, value: impl Display) {
        self.observations.push((name.into(), value.to_string()));
    }

    /// Notes the requests that arrived at a server.
    pub(crate) fn arrived(&mut self, at: &str, log: &Log) {
        self.note(format!("arrived at {at}"), log.lines());
    }

    /// Notes the number of connections of calls one after another. Over HTTP/1, a connection may return to the pool
    /// later than the answer to the caller, so a small number varies.
    pub(crate) fn reuse(&mut self, at: &str, log: &Log, over: Over) {
        const FEW: usize = 5;
        match (over, log.connections()) {
            (Over::Http1, 0..=FEW) => self.note(format!("connections of {at}"), "few"),
            (_, connections) => self.note(format!("connections of {at}"), connections),
        }
    }

    /// Notes a failed call.
    pub(crate) fn failure(&mut self, name: &str, failure: &Failure) {
        self.failed = true;
        self.note(name, failure);
    }

    /// Notes the status, or the failure.
    pub(crate) fn status(&mut self, name: &str, result: &Result<Response, Failure>) {
        match result {
            Ok(response) => self.note(name, response.status().as_u16()),
            Err(failure) => self.failure(name, failure),
        }
    }

    /// Notes all of a response, with its body, or the failure.
    pub(crate) async fn response(&mut self, name: &str, result: Result<Response, Failure>) {
        let response = match result {
            Ok(response) => response,
            Err(failure) => return self.failure(name, &failure),
        };
        self.note(name, format_args!("{:?} {}", response.version(), response.status()));
        self.note(format!("{name}: url"), response.url());
        self.note(format!("{name}: headers"), headers(response.headers()));
        self.note(format!("{name}: content_length"), format_args!("{:?}", response.content_length()));
        match response.bytes().await {
            Ok(bytes) => self.note(format!("{name}: body"), body(&bytes)),
            Err(error) => self.body_error(name, &error),
        }
    }

    /// Notes an error of a body.
    pub(crate) fn body_error(&mut self, name: &str, error: &reqwest::Error) {
        self.failed = true;
        let kind = if error.is_timeout() {
            "error (timeout)"
        } else if error.is_decode() {
            "error (decode)"
        } else {
            "error"
        };
        self.note(format!("{name}: body"), kind);
    }

    /// The differing observations of `self` and of `other`.
    pub(crate) fn difference(&self, other: &Self) -> Option<(String, String)> {
        let only_in = |one: &Self, two: &Self| {
            let mut lines = Vec::new();
            for observation in &one.observations {
                if !two.observations.contains(observation) {
                    lines.push(format!("{}: {}", observation.0, shortened(&observation.1)));
                }
            }
            if lines.is_empty() { "nothing more".to_owned() } else { lines.join("; ") }
        };
        (self.observations != other.observations).then(|| (only_in(self, other), only_in(other, self)))
    }

    /// All observations, a line each.
    pub(crate) fn lines(&self) -> Vec<String> {
        self.observations.iter().map(|(name, value)| format!("{name}: {value}")).collect()
    }
}
