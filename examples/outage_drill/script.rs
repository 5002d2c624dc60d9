//! The script of the outage: the server's behaviour in each phase.

use std::time::Duration;

/// How a server treats a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Behaviour {
    /// Answers at once.
    Healthy,
    /// Answers a share of the requests with 503 and `Retry-After: 1`.
    Unavailable { percent: u32 },
    /// Does not listen: the kernel refuses the connection.
    Refusing,
    /// Reads the request and never answers.
    Hanging,
    /// Answers after this delay.
    Slow(Duration),
    /// For a share of the requests, sends half of the announced body and closes the connection.
    CuttingShort { percent: u32 },
}

/// A phase, and the number of calls that each client starts in it.
#[derive(Debug, Clone, Copy)]
pub struct Phase {
    pub name: &'static str,
    pub behaviour: Behaviour,
    pub calls: u32,
}

/// The calls per second through each client.
pub const RATE: u32 = 50;

/// The phases with their shares of the time.
const SCRIPT: [(&str, Behaviour, u32); 7] = [
    (HEALTHY, Behaviour::Healthy, 4),
    ("503s", Behaviour::Unavailable { percent: 30 }, 6),
    (REFUSED, Behaviour::Refusing, 7),
    (HANGING, Behaviour::Hanging, 7),
    ("slow", Behaviour::Slow(Duration::from_millis(300)), 7),
    ("cut short", Behaviour::CuttingShort { percent: 50 }, 6),
    ("recovered", Behaviour::Healthy, 5),
];

pub const HEALTHY: &str = "healthy";
pub const REFUSED: &str = "refused";
pub const HANGING: &str = "hanging";

/// The phases of a drill of about this length. Each has a multiple of ten calls, so that the plot can use equal bins.
pub fn phases(seconds: u32) -> Vec<Phase> {
    let shares: u32 = SCRIPT.iter().map(|(_, _, share)| share).sum();
    let phase = |(name, behaviour, share)| {
        let calls = (seconds * RATE * share / shares + 5) / 10 * 10;
        Phase { name, behaviour, calls }
    };
    SCRIPT.into_iter().map(phase).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server::ITEMS;

    #[test]
    fn the_phases_share_the_seconds() {
        let calls: Vec<_> = phases(42).iter().map(|phase| phase.calls).collect();
        assert_eq!(calls, [200, 300, 350, 350, 350, 300, 250]);
    }

    #[test]
    fn the_first_phase_of_the_shortest_drill_gets_every_item() {
        assert!(phases(7)[0].calls >= ITEMS);
    }
}
