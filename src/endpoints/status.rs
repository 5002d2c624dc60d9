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
    pub(super) lane: Option<u16>,
    pub(super) latency: Option<Duration>,
    pub(super) in_flight: usize,
    pub(super) ejected: Option<(EjectionCause, Instant)>,
    pub(super) is_probing: bool,
    pub(super) is_silent: bool,
    pub(super) faults_in_row: u32,
}

impl<A> EndpointStatus<A> {
    /// Returns the number that names the endpoint in errors and in [`CallOptions`](crate::CallOptions).
    pub const fn id(&self) -> EndpointId {
        self.id
    }

    /// Returns the address, as the discovery has reported it.
    pub const fn address(&self) -> &A {
        &self.address
    }

    /// Returns the number of the [lane](super), from 1, if the address has lanes. A lane that gets a new connection keeps
    /// its number, and has another ID.
    pub const fn lane(&self) -> Option<u16> {
        self.lane
    }

    /// Returns the state: the reason if the endpoint gets no attempts.
    pub const fn state(&self) -> EndpointState {
        match (&self.ejected, self.is_probing) {
            (None, _) if self.is_silent => EndpointState::Silent,
            (None, _) => EndpointState::Available,
            (Some(_), false) => EndpointState::Ejected,
            (Some(_), true) => EndpointState::Probing,
        }
    }

    /// Returns the latency: the peak EWMA of the times until the head of an answer. A longer time raises the average
    /// at once, by at most a third. A shorter time lowers it slowly. `None` before the first answer.
    #[doc(alias = "ewma")]
    pub const fn latency(&self) -> Option<Duration> {
        self.latency
    }

    /// Returns the number of attempts in flight, bodies that are being read included.
    pub const fn in_flight(&self) -> usize {
        self.in_flight
    }

    /// Returns the number of faults in a row since the last success. After the first fault, the endpoint gets few
    /// attempts until it succeeds. Zero for an ejected endpoint.
    pub const fn faults_in_row(&self) -> u32 {
        self.faults_in_row
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
        let Self { id, address, lane, latency, in_flight, ejected, is_probing, is_silent, faults_in_row } =
            self;
        let address = map(address);
        EndpointStatus {
            id,
            address,
            lane,
            latency,
            in_flight,
            ejected,
            is_probing,
            is_silent,
            faults_in_row,
        }
    }
}

/// The state of an endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum EndpointState {
    /// The endpoint gets attempts; few if it has [faults](EndpointStatus::faults_in_row) or answers slowly.
    Available,
    /// An attempt has waited for unusually long, and no other attempt was answered meanwhile. The endpoint gets no
    /// attempts while an available endpoint remains that the call has not tried.
    Silent,
    /// The endpoint gets only probes while an available endpoint remains that is not silent, and that the call has
    /// not tried. Otherwise, the cheapest endpoint gets the attempt, ejected ones included.
    Ejected,
    /// The endpoint is ejected, and one call finds out whether it has recovered.
    Probing,
}

impl EndpointState {
    /// Returns the state in one word, for logs and labels.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Available => "available",
            Self::Silent => "silent",
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
    /// The time limit of an attempt has passed, and no other attempt was answered meanwhile.
    Timeout,
    /// No connection could be established, or the endpoint's service failed before it was called.
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
