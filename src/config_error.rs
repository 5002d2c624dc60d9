//! The error for a configuration that cannot work, and the check of a value against its range.

use std::convert::Infallible;
use std::fmt;
use std::time::Duration;

use crate::BoxError;

/// A configuration that cannot work, usually found by `build()`.
///
/// The error names the field, the given value, and the allowed values.
///
/// ```
/// use steadfast::circuit_breaker::CircuitBreaker;
///
/// let error = CircuitBreaker::builder().probes(0).build().unwrap_err();
/// assert_eq!(error.field(), "circuit_breaker.probes");
/// assert_eq!(error.to_string(), "circuit_breaker.probes is 0: it must be between 1 and 1000");
/// ```
#[derive(Debug, thiserror::Error)]
#[error("{field} is {value}: it must be {allowed}")]
pub struct ConfigError {
    field: &'static str,
    value: String,
    allowed: String,
    source: Option<BoxError>,
}

impl ConfigError {
    pub(crate) fn new(field: &'static str, value: impl fmt::Debug, allowed: impl Into<String>) -> Self {
        Self { field, value: format!("{value:?}"), allowed: allowed.into(), source: None }
    }

    /// Appends `what`, the origin of the upper bound, to the text of the allowed values.
    pub(crate) fn bounded_by(mut self, what: &str) -> Self {
        self.allowed = format!("{}, {what}", self.allowed);
        self
    }

    pub(crate) fn with_source(mut self, source: impl Into<BoxError>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// Returns the name of the field, with its section, for example `retry.max_retries`.
    pub fn field(&self) -> &'static str {
        self.field
    }

    /// Returns the given value.
    pub fn value(&self) -> &str {
        &self.value
    }

    /// Returns the allowed values, in words.
    pub fn allowed(&self) -> &str {
        &self.allowed
    }

    /// Returns `value`, or an error if it is outside `allowed`.
    pub(crate) fn check<T: PartialOrd + fmt::Debug>(
        field: &'static str,
        value: T,
        allowed: std::ops::RangeInclusive<T>,
    ) -> Result<T, Self> {
        if allowed.contains(&value) {
            return Ok(value);
        }
        let allowed = format!("between {:?} and {:?}", allowed.start(), allowed.end());
        let allowed = allowed.replace(&format!("{MAX_DURATION:?}"), "a year");
        Err(Self::new(field, value, allowed))
    }
}

impl From<Infallible> for ConfigError {
    fn from(never: Infallible) -> Self {
        match never {}
    }
}

/// The longest duration that a builder allows, a year. An instant plus a year never overflows.
pub(crate) const MAX_DURATION: Duration = Duration::from_secs(60 * 60 * 24 * 365);
