//! The script of the outage: what the server does, phase by phase.

use std::time::Duration;

/// How a server treats a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Behaviour {
    /// Answers at once.
    Healthy,
    /// Answers some with 503 and `Retry-After: 1`.
    Unavailable { percent: u32 },
    /// Does not listen: the kernel refuses the connection.
    Refusing,
    /// Reads the request, and says nothing.
    Hanging,
    /// Answers after this time.
    Slow(Duration),
    /// States the length of the body, sends half of some, and closes the connection.
    CuttingShort { percent: u32 },
}

/// One phase, and how many calls are started during it.
#[derive(Debug, Clone, Copy)]
pub struct Phase {
    pub name: &'static str,
    pub behaviour: Behaviour,
    pub calls: u32,
}

/// How many calls a second are made through each client.
pub const RATE: u32 = 50;

/// Each phase with its share of the time.
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

/// The script, told in about this many seconds: in whole tens of calls, which the plot can cut into equal steps.
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
    fn the_shortest_drill_asks_for_every_item_while_all_is_well() {
        assert!(phases(7)[0].calls >= ITEMS);
    }
}
