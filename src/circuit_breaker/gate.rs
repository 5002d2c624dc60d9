//! The word that every call reads: phase and generation of a circuit. And the ticket of an admitted call.

use super::machine::{Machine, Phase, ProbeId};
use super::state::State;

/// The phase and the generation in one word.
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

/// What an admitted call has to say when it ends, and to whom.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ticket {
    /// One of many, admitted in this generation.
    Counted(u64),
    /// A probe.
    Probe(ProbeId),
    /// Nothing: the circuit was forced closed, or is in shadow.
    Unjudged,
}
