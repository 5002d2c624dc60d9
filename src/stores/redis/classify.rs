//! The meaning of Redis' answers for the store's circuit breaker.

use ::redis::{ErrorKind, RedisError, ServerErrorKind, Value};

use super::connections::{Command, is_answer};
use crate::{Classify, Error, Judge, Outcome};

/// Whether Redis can be talked to, and has its data. One that is full, say, can still be read.
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
            Err(_) => Outcome::Failure,
        }
    }
}

/// Whether Redis says that it can do nothing now.
fn is_down(error: &RedisError) -> bool {
    use ServerErrorKind::{BusyLoading, ClusterDown, MasterDown};
    matches!(error.kind(), ErrorKind::Server(BusyLoading | ClusterDown | MasterDown))
}
