//! Refusals: calls and attempts that a layer rejects locally, before anything is sent. To count or log every refusal
//! of the circuit breaker and the bulkhead, change `ErrorInfo::refusal`.

use std::sync::Arc;

use super::Error;
use super::info::ErrorInfo;
use super::kind::ErrorKind;

impl ErrorKind {
    pub(super) const fn is_refusal(self) -> bool {
        matches!(self, Self::CircuitOpen { .. } | Self::BulkheadFull { .. } | Self::Overloaded)
    }
}

impl ErrorInfo {
    /// Creates the refusal of a handle that may have a name.
    pub(crate) fn refusal(kind: ErrorKind, upstream: Option<&Arc<str>>) -> Self {
        Self { upstream: upstream.cloned(), ..Self::new(kind, None) }
    }

    /// True if the last attempt was refused locally, by the circuit breaker, the bulkhead, or a load-shedding layer
    /// of tower.
    ///
    /// A refusal says nothing about the upstream: it is never retried, and never counted as a fault.
    pub const fn is_refusal(&self) -> bool {
        self.kind.is_refusal()
    }
}

impl<E> Error<E> {
    /// Takes the error out of a refused future.
    pub(crate) fn from_refusal(refusal: &mut Option<ErrorInfo>) -> Self {
        Self::from_info(refusal.take().expect("polled after it was ready"))
    }
}
