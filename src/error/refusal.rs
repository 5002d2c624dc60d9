//! Refusals: calls and attempts that a layer rejects locally, before anything is sent. `ErrorInfo::refusal` makes
//! every refusal of the circuit breaker and the bulkhead; to count or log them all, add code there.

use std::sync::Arc;

use super::Error;
use super::info::ErrorInfo;
use super::kind::ErrorKind;

impl ErrorKind {
    pub(super) const fn is_refusal(self) -> bool {
        matches!(
            self,
            Self::CircuitOpen { .. }
                | Self::BulkheadFull { .. }
                | Self::Overloaded
                | Self::NoRuntime
                | Self::NoEndpoint
        )
    }
}

impl ErrorInfo {
    /// Creates a refusal by a circuit breaker or a bulkhead. `upstream` is the name of the circuit breaker or
    /// bulkhead, if set.
    pub(crate) fn refusal(kind: ErrorKind, upstream: Option<&Arc<str>>) -> Self {
        Self { upstream: upstream.cloned(), ..Self::new(kind, None) }
    }

    /// True if the last attempt was refused locally: by the circuit breaker, by the bulkhead, by a load-shedding
    /// layer of tower, or for lack of a tokio runtime or of an endpoint.
    ///
    /// A refusal says nothing about the upstream: it is never retried, and never counted as a fault.
    pub const fn is_refusal(&self) -> bool {
        self.kind.is_refusal()
    }
}

impl<E> Error<E> {
    /// Takes a refusal out of the future that holds it, as an error.
    pub(crate) fn from_refusal(refusal: &mut Option<ErrorInfo>) -> Self {
        Self::from_info(refusal.take().expect("polled after it was ready"))
    }
}
