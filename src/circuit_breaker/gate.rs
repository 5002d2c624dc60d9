//! The gate, a word that every call reads, and the ticket, a value that every admitted call gets.

use std::time::Duration;

use super::machine::{Machine, Phase, ProbeId};
use super::state::State;

/// The phase and the generation of a circuit in one word. The lowest three bits are the phase.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Gate(pub(super) u64);

impl Gate {
    pub(super) fn new(machine: &Machine) -> Self {
        let tag = match machine.phase() {
            Phase::Closed => 0,
            Phase::Open(_) => 1,
            Phase::HalfOpen(_) => 2,
            Phase::ForcedOpen => 3,
            Phase::ForcedClosed => 4,
        };
        Self(machine.generation() << 3 | tag)
    }

    pub(super) fn state(self) -> State {
        match self.0 & 7 {
            0 => State::Closed,
            1 => State::Open,
            2 => State::HalfOpen,
            3 => State::ForcedOpen,
            _ => State::ForcedClosed,
        }
    }

    pub(super) fn generation(self) -> u64 {
        self.0 >> 3
    }
}

/// The refusal of a call, with the time to wait, if known.
#[derive(Debug, Clone, Copy)]
pub(super) struct Refusal {
    pub(super) retry_after: Option<Duration>,
}

/// The ticket of an admitted call. It decides how the outcome of the call counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ticket {
    /// The outcome counts if the circuit has the same generation when the call ends.
    Counted(u64),
    /// The call is a probe: the outcome is the result of the probe.
    Probe(ProbeId),
    /// The outcome does not count. The circuit was forced closed, or only shadow mode let the call through, or the
    /// circuit left the closed state during the admission, or the verdict is recorded already.
    Unjudged,
}
