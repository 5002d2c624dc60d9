//! The scenarios, and the cases in which they are played.

use std::fmt;
use std::time::Duration;

use super::load::GETS;

/// A fault of replicas or connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Scenario {
    Healthy,
    OneFails,
    OneHalfFails,
    TwoFail,
    ThreeDown,
    OneHangs,
    /// All connections lead to one replica, which fails. New connections can lead to the others.
    OnlyOneFails,
    OnlyOneHangs,
    OneIsSlow,
    OneComesBack,
    ConnectionDies,
    RollingRestart,
    RollingKill,
    Scaled,
    AllDown,
    AllFail,
    KilledInFlight,
}

/// The arrangement that makes several replicas one upstream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Behind {
    /// A name has the addresses of all replicas.
    Name,
    /// A name has the address of a balancer, which chooses a replica for each connection.
    Balancer,
}

/// A scenario behind an arrangement, at a number of calls in flight.
#[derive(Debug, Clone, Copy)]
pub(super) struct Case {
    pub(super) scenario: Scenario,
    pub(super) behind: Behind,
    /// The calls in flight while all replicas are healthy.
    in_flight: u32,
}

// ===== impl Scenario =====

impl Scenario {
    /// The number of replicas.
    pub(super) const fn replicas(self) -> usize {
        if matches!(self, Self::Scaled) { 6 } else { 4 }
    }

    /// The number of replicas that the name stands for at the beginning.
    pub(super) const fn named(self) -> usize {
        match self {
            Self::OnlyOneFails | Self::OnlyOneHangs => 1,
            Self::Scaled => 2,
            _ => 4,
        }
    }

    pub(super) const fn has_posts(self) -> bool {
        matches!(self, Self::RollingRestart | Self::RollingKill)
    }
}

impl fmt::Display for Scenario {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Healthy => "healthy",
            Self::OneFails => "one of four answers 503",
            Self::OneHalfFails => "one answers half of its calls with 503",
            Self::TwoFail => "two of four answer 503",
            Self::ThreeDown => "three of four are killed",
            Self::OneHangs => "one hangs",
            Self::OnlyOneFails => "all connections lead to one, which answers 503",
            Self::OnlyOneHangs => "all connections lead to one, which hangs",
            Self::OneIsSlow => "one is ten times slower",
            Self::OneComesBack => "one comes back",
            Self::ConnectionDies => "a connection dies silently",
            Self::RollingRestart => "rolling restart, graceful",
            Self::RollingKill => "rolling restart by kill",
            Self::Scaled => "scaled from two to six",
            Self::AllDown => "all four down, then back",
            Self::AllFail => "all four answer 503, then recover",
            Self::KilledInFlight => "60 in flight, one killed",
        })
    }
}

// ===== impl Behind =====

impl Behind {
    pub(super) const ALL: [Self; 2] = [Self::Name, Self::Balancer];
}

impl fmt::Display for Behind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Name => "behind a name",
            Self::Balancer => "behind a balancer",
        })
    }
}

// ===== impl Case =====

impl Case {
    /// The cases of an arrangement.
    pub(super) fn all(behind: Behind) -> Vec<Self> {
        let cases: &[(Scenario, u32)] = match behind {
            Behind::Name => &NAME,
            Behind::Balancer => &BALANCER,
        };
        cases.iter().map(|&(scenario, in_flight)| Self { scenario, behind, in_flight }).collect()
    }

    /// True for the cases of the quick form.
    pub(super) const fn is_quick(self) -> bool {
        match self.behind {
            Behind::Name => matches!(
                self.scenario,
                Scenario::OneFails
                    | Scenario::OneHangs
                    | Scenario::RollingRestart
                    | Scenario::RollingKill
                    | Scenario::KilledInFlight
            ),
            Behind::Balancer => {
                self.in_flight == 10
                    && matches!(
                        self.scenario,
                        Scenario::Healthy
                            | Scenario::OneFails
                            | Scenario::OneHangs
                            | Scenario::ConnectionDies
                            | Scenario::RollingRestart
                    )
            }
        }
    }

    /// True for the cases of the long form only. New replicas get calls when connections are renewed, a minute later.
    pub(super) const fn is_long(self) -> bool {
        matches!((self.behind, self.scenario), (Behind::Balancer, Scenario::Scaled))
    }

    /// The time until a healthy replica answers.
    pub(super) fn delay(self) -> Duration {
        Duration::from_secs(1) * self.in_flight / GETS
    }
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.behind {
            Behind::Name => self.scenario.fmt(f),
            Behind::Balancer => write!(f, "{}, {} in flight", self.scenario, self.in_flight),
        }
    }
}

const NAME: [(Scenario, u32); 12] = [
    (Scenario::OneFails, 1),
    (Scenario::TwoFail, 1),
    (Scenario::ThreeDown, 1),
    (Scenario::OneHangs, 1),
    (Scenario::OneIsSlow, 1),
    (Scenario::OneComesBack, 1),
    (Scenario::RollingRestart, 1),
    (Scenario::RollingKill, 1),
    (Scenario::Scaled, 1),
    (Scenario::AllDown, 1),
    (Scenario::AllFail, 1),
    (Scenario::KilledInFlight, 60),
];

const BALANCER: [(Scenario, u32); 16] = [
    (Scenario::Healthy, 10),
    (Scenario::Healthy, 30),
    (Scenario::OneFails, 10),
    (Scenario::OneFails, 30),
    (Scenario::OneHalfFails, 10),
    (Scenario::OneHangs, 10),
    (Scenario::OneHangs, 30),
    (Scenario::OnlyOneFails, 10),
    (Scenario::OnlyOneHangs, 10),
    (Scenario::OneIsSlow, 10),
    (Scenario::ConnectionDies, 10),
    (Scenario::ConnectionDies, 30),
    (Scenario::RollingRestart, 10),
    (Scenario::RollingKill, 10),
    (Scenario::AllDown, 10),
    (Scenario::Scaled, 10),
];
