//! The classifier of the store's circuit breaker decides which results count as failures of Redis.

use ::redis::{ErrorKind, RedisError, ServerErrorKind, Value};

use super::connections::{Command, is_answer};
use crate::{Classify, Error, Judge, Outcome};

/// Counts a result as a success if Redis has answered and can serve its data. The error "out of memory" counts as a
/// success, because a full Redis still answers reads.
#[derive(Debug, Clone, Copy)]
pub(super) struct RedisClassifier;

impl Classify<Command, Value, RedisError> for RedisClassifier {
    type Judge = Self;

    fn judge(&self, _command: &Command) -> Self {
        *self
    }
}

impl Judge<Value, RedisError> for RedisClassifier {
    fn classify(&self, result: Result<&Value, &Error<RedisError>>) -> Outcome {
        match result.map_err(Error::inner) {
            Ok(_) => Outcome::Success,
            Err(Some(error)) if is_answer(error) && !is_down(error) => Outcome::Success,
            Err(_) => Outcome::transient(),
        }
    }
}

/// True if the error means that Redis cannot serve any command now.
fn is_down(error: &RedisError) -> bool {
    use ServerErrorKind::{BusyLoading, ClusterDown, MasterDown};
    matches!(error.kind(), ErrorKind::Server(BusyLoading | ClusterDown | MasterDown))
}
