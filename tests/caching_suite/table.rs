//! The notation for cases.

/// A case of the suite, with the suite's id.
#[derive(Debug)]
pub(crate) struct Case {
    pub(crate) id: String,
    pub(crate) kind: Kind,
    pub(crate) steps: Vec<Step>,
}

/// The suite's verdict on a cache that deviates.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// The cache does not conform.
    Required,
    /// The cache is not as good as possible.
    Optimal,
    /// No verdict: the suite collects the behaviour of caches.
    Check,
}

pub(crate) fn required(id: impl Into<String>, steps: impl Into<Vec<Step>>) -> Case {
    Case { id: id.into(), kind: Kind::Required, steps: steps.into() }
}

pub(crate) fn optimal(id: impl Into<String>, steps: impl Into<Vec<Step>>) -> Case {
    Case { kind: Kind::Optimal, ..required(id, steps) }
}

pub(crate) fn check(id: impl Into<String>, steps: impl Into<Vec<Step>>) -> Case {
    Case { kind: Kind::Check, ..required(id, steps) }
}

/// A failure of the upstream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Failure {
    /// The upstream closes the connection in place of an answer.
    Closed,
    /// The upstream answers 503.
    Unavailable,
}

/// A request of a case, with the upstream's answer and the expected result.
#[derive(Debug, Clone)]
pub(crate) struct Step {
    pub(crate) method: &'static str,
    pub(crate) path: &'static str,
    pub(crate) sent: Vec<(&'static str, String)>,
    pub(crate) status: u16,
    pub(crate) answered: Vec<(&'static str, Value)>,
    pub(crate) expected: Expected,
    /// The failure that the case itself names.
    pub(crate) failure: Option<Failure>,
    /// The headers that the result must have, or must not have.
    pub(crate) shown: Vec<(&'static str, Shown)>,
    pub(crate) pauses: bool,
}

/// The expected source of the answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Expected {
    /// The upstream, which does not fail.
    Upstream,
    /// The cache: the answer to the first step, while the upstream fails.
    Cache,
    /// No source, while the upstream fails.
    Nowhere,
}

/// The value of a header that the upstream sends.
#[derive(Debug, Clone)]
pub(crate) enum Value {
    Text(String),
    /// A date, in seconds from now.
    Date(i64),
}

/// The expectation on a header.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Shown {
    Value(String),
    Anything,
    Nothing,
}

pub(crate) fn request(method: &'static str) -> Step {
    Step {
        method,
        path: "/",
        sent: Vec::new(),
        status: 200,
        answered: Vec::new(),
        expected: Expected::Upstream,
        failure: None,
        shown: Vec::new(),
        pauses: false,
    }
}

pub(crate) fn get() -> Step {
    request("GET")
}

impl Step {
    pub(crate) fn path(self, path: &'static str) -> Self {
        Self { path, ..self }
    }

    pub(crate) fn sends(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.sent.push((name, value.into()));
        self
    }

    pub(crate) fn status(self, status: u16) -> Self {
        Self { status, ..self }
    }

    pub(crate) fn answers(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.answered.push((name, Value::Text(value.into())));
        self
    }

    pub(crate) fn dates(mut self, name: &'static str, seconds: i64) -> Self {
        self.answered.push((name, Value::Date(seconds)));
        self
    }

    /// Lets time pass before the next step.
    pub(crate) fn pause(self) -> Self {
        Self { pauses: true, ..self }
    }

    /// Expects the entry: `cached` in the suite.
    pub(crate) fn cached(self) -> Self {
        Self { expected: Expected::Cache, ..self }
    }

    /// Expects the failure: `not_cached` in the suite.
    pub(crate) fn not_cached(self) -> Self {
        Self { expected: Expected::Nowhere, ..self }
    }

    pub(crate) fn fails_by(self, failure: Failure) -> Self {
        Self { failure: Some(failure), ..self }
    }

    pub(crate) fn shows(mut self, name: &'static str, shown: impl Into<Shown>) -> Self {
        self.shown.push((name, shown.into()));
        self
    }
}

impl From<&str> for Shown {
    fn from(value: &str) -> Self {
        Self::Value(value.to_owned())
    }
}

// ===== first steps of several files =====

/// An answer that stays fresh.
pub(crate) fn fresh() -> Step {
    get().answers("cache-control", "max-age=100000").dates("date", 0).pause()
}

/// An answer that is stale on arrival.
pub(crate) fn stale() -> Step {
    get().dates("expires", -5000).dates("last-modified", -100_000).dates("date", 0).pause()
}

/// An answer that is fresh on arrival, and stale at the next request.
pub(crate) fn becomes_stale() -> Step {
    get().answers("cache-control", "max-age=2").dates("date", 0).answers("template-a", "1").pause()
}
