//! The four subjects of the drill: two clients in two arrangements.

/// The way to the replicas.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Arrangement {
    /// The name resolves to the address of each replica.
    Name,
    /// The name resolves to the address of a balancer, which picks a replica for each connection.
    Balancer,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    Bare,
    Steadfast,
}

/// A client in an arrangement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Subject {
    pub arrangement: Arrangement,
    pub side: Side,
}

pub const ARRANGEMENTS: [Arrangement; 2] = [Arrangement::Name, Arrangement::Balancer];

pub const SIDES: [Side; 2] = [Side::Bare, Side::Steadfast];

/// All subjects, in the order of [`Subject::index`].
pub const SUBJECTS: [Subject; 4] = [
    Subject { arrangement: Arrangement::Name, side: Side::Bare },
    Subject { arrangement: Arrangement::Name, side: Side::Steadfast },
    Subject { arrangement: Arrangement::Balancer, side: Side::Bare },
    Subject { arrangement: Arrangement::Balancer, side: Side::Steadfast },
];

impl Arrangement {
    pub fn name(self) -> &'static str {
        match self {
            Self::Name => "name",
            Self::Balancer => "balancer",
        }
    }

    pub fn title(self) -> &'static str {
        match self {
            Self::Name => "Behind a name",
            Self::Balancer => "Behind a balancer",
        }
    }
}

impl Side {
    pub fn name(self) -> &'static str {
        match self {
            Self::Bare => "bare",
            Self::Steadfast => "steadfast",
        }
    }
}

impl Subject {
    pub fn index(self) -> usize {
        self.arrangement as usize * SIDES.len() + self.side as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn subjects_stand_in_the_order_of_their_indices() {
        let indices = SUBJECTS.map(Subject::index);
        assert_eq!(indices, [0, 1, 2, 3]);
    }
}
