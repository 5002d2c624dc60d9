//! The view of an endpoint from outside: its address, state, load, and why it is ejected.

use std::fmt;
use std::time::Duration;

use tokio::time::Instant;

use crate::EndpointId;

/// The state of one endpoint at one moment.
///
/// ```
/// # fn report(endpoints: &[steadfast::endpoints::EndpointStatus<std::net::SocketAddr>]) {
/// for endpoint in endpoints {
///     println!("{}: {}, {} in flight", endpoint.address(), endpoint.state(), endpoint.in_flight());
/// }
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct EndpointStatus<A> {
    pub(super) id: EndpointId,
    pub(super) address: A,
    pub(super) latency: Option<Duration>,
    pub(super) in_flight: usize,
    pub(super) ejected: Option<(EjectionCause, Instant)>,
    pub(super) is_probing: bool,
}

impl<A> EndpointStatus<A> {
    /// Returns the number that names the endpoint in errors and in [`CallOptions`](crate::CallOptions).
    pub const fn id(&self) -> EndpointId {
        self.id
    }

    /// Returns the address.
    pub const fn address(&self) -> &A {
        &self.address
    }

    /// Returns the state.
    pub const fn state(&self) -> EndpointState {
        match (&self.ejected, self.is_probing) {
            (None, _) => EndpointState::Available,
            (Some(_), false) => EndpointState::Ejected,
            (Some(_), true) => EndpointState::Probing,
        }
    }

    /// Returns the average time until the head of an answer, in which a longer time counts at once, by a third of the
    /// average at most, and a shorter one slowly (peak EWMA). `None` before the first answer.
    #[doc(alias = "ewma")]
    pub const fn latency(&self) -> Option<Duration> {
        self.latency
    }

    /// Returns the number of attempts in flight, bodies that are being read included.
    pub const fn in_flight(&self) -> usize {
        self.in_flight
    }

    /// Returns the time until which the endpoint is ejected; `None` if the endpoint is available. After this time, a
    /// call probes the endpoint.
    pub fn ejected_until(&self) -> Option<Instant> {
        self.ejected.map(|(_, until)| until)
    }

    /// Returns why the endpoint is ejected; `None` if the endpoint is available.
    pub fn ejection_cause(&self) -> Option<EjectionCause> {
        self.ejected.map(|(cause, _)| cause)
    }

    #[cfg(feature = "reqwest")]
    pub(crate) fn map_address<B>(self, map: impl FnOnce(A) -> B) -> EndpointStatus<B> {
        let Self { id, address, latency, in_flight, ejected, is_probing } = self;
        EndpointStatus { id, address: map(address), latency, in_flight, ejected, is_probing }
    }
}

/// The state of an endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum EndpointState {
    /// The endpoint gets attempts.
    Available,
    /// The endpoint gets no attempts while another endpoint is available.
    Ejected,
    /// The endpoint is ejected, and one call finds out whether it has recovered.
    Probing,
}

impl EndpointState {
    /// Returns the state in one word, for logs and labels.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Available => "available",
            Self::Ejected => "ejected",
            Self::Probing => "probing",
        }
    }
}

impl fmt::Display for EndpointState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The reason why an endpoint is ejected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum EjectionCause {
    /// Several attempts in a row failed.
    ConsecutiveFaults,
    /// A large share of the attempts failed.
    FaultShare,
    /// An attempt was cut by its time limit.
    Timeout,
    /// No connection could be established.
    Unreachable,
    /// The endpoint asked for a pause, with `Retry-After`.
    RetryAfter,
}

impl EjectionCause {
    /// Returns the cause in one word, for logs and labels.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ConsecutiveFaults => "consecutive_faults",
            Self::FaultShare => "fault_share",
            Self::Timeout => "timeout",
            Self::Unreachable => "unreachable",
            Self::RetryAfter => "retry_after",
        }
    }
}

impl fmt::Display for EjectionCause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
