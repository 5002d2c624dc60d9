//! The endpoints that a call has tried. A failed attempt reports its endpoint to the retry, and the retry passes the
//! last four endpoints to the next attempt.

use std::num::NonZeroU16;

/// One address of an upstream, as a number. The layer that chooses endpoints assigns the numbers. A number is unique
/// among the current endpoints of one [`Endpoints`](crate::endpoints::Endpoints), and can be used again after the
/// endpoint is removed.
///
/// A failed attempt names its endpoint, a good one does not: in an error with
/// [`Error::at_endpoint`](crate::Error::at_endpoint), in a response with an `EndpointId` among the extensions. A
/// retry adds each endpoint to the [`EndpointSet`] in the [`CallOptions`](crate::CallOptions::tried_endpoints) of the
/// next attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct EndpointId(NonZeroU16);

impl EndpointId {
    /// Creates the ID with this number.
    pub const fn new(number: NonZeroU16) -> Self {
        Self(number)
    }

    /// Returns the number.
    pub const fn get(self) -> u16 {
        self.0.get()
    }
}

/// The terms on which a retry may follow the fault of an endpoint. The layer that chooses endpoints states them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum RetryTerms {
    /// As for any fault: the policy decides, and the budget pays.
    #[default]
    Charged,
    /// The policy decides, and the budget pays. Another endpoint is better, so the `Retry-After` of this one does
    /// not delay the retry.
    Elsewhere,
    /// The policy decides. Another endpoint is better, and another fault of this one has just been charged to the
    /// budget.
    Free,
    /// At once, and without a token: the attempt was a probe, which its caller did not ask for.
    AtOnce,
}

impl RetryTerms {
    /// True if the retry budget pays for the fault and for the retry.
    pub(crate) const fn is_charged(self) -> bool {
        matches!(self, Self::Charged | Self::Elsewhere)
    }

    /// True if a retry waits for as long as the endpoint asks for.
    pub(crate) const fn keeps_retry_after(self) -> bool {
        matches!(self, Self::Charged)
    }
}

/// The endpoints that a call has tried, at most the last four. Four are enough for the default three retries.
///
/// ```
/// use std::num::NonZeroU16;
/// use steadfast::{EndpointId, EndpointSet};
///
/// let endpoint = |number| EndpointId::new(NonZeroU16::new(number).unwrap());
/// let tried = EndpointSet::new().with(endpoint(7));
/// assert!(tried.contains(endpoint(7)) && !tried.contains(endpoint(8)));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct EndpointSet([Option<EndpointId>; 4]);

impl EndpointSet {
    /// Creates an empty set.
    pub const fn new() -> Self {
        Self([None; 4])
    }

    /// Returns the set with `endpoint` added. A fifth endpoint replaces the oldest.
    #[must_use]
    pub fn with(mut self, endpoint: EndpointId) -> Self {
        if !self.contains(endpoint) {
            self.0.rotate_right(1);
            self.0[0] = Some(endpoint);
        }
        self
    }

    /// True if `endpoint` is in the set.
    pub fn contains(&self, endpoint: EndpointId) -> bool {
        self.0.contains(&Some(endpoint))
    }

    /// True if the set is empty.
    pub const fn is_empty(&self) -> bool {
        self.0[0].is_none()
    }

    /// Iterates over the endpoints, the last added first. An endpoint that is added again keeps its place.
    pub fn iter(&self) -> impl Iterator<Item = EndpointId> {
        self.0.into_iter().flatten()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(numbers: &[u16]) -> EndpointSet {
        let ids = numbers.iter().map(|number| EndpointId::new(NonZeroU16::new(*number).unwrap()));
        ids.fold(EndpointSet::new(), EndpointSet::with)
    }

    #[test]
    fn a_set_keeps_the_last_four_endpoints_and_each_once() {
        let numbers = |set: EndpointSet| set.iter().map(EndpointId::get).collect::<Vec<_>>();
        assert!(set(&[]).is_empty());
        assert_eq!(numbers(set(&[1, 2, 1])), [2, 1]);
        assert_eq!(numbers(set(&[1, 2, 3, 4, 5])), [5, 4, 3, 2]);
    }
}
