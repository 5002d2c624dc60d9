//! Which endpoints a call has tried: what a retry tells a choice of endpoints, and what a failed attempt tells a retry.

use std::num::NonZeroU16;

/// One address of an upstream, by a number that whoever chooses endpoints gives it.
///
/// A failed attempt names its endpoint: an error by [`Error::at_endpoint`](crate::Error::at_endpoint), a response by an
/// `EndpointId` in its extensions. A retry collects them in the [`EndpointSet`] of the next attempt's
/// [`CallOptions`](crate::CallOptions::tried_endpoints).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct EndpointId(NonZeroU16);

impl EndpointId {
    /// The endpoint of this number.
    pub const fn new(number: NonZeroU16) -> Self {
        Self(number)
    }

    /// Its number.
    pub const fn get(self) -> u16 {
        self.0.get()
    }
}

/// The endpoints that a call has tried: the last four of them, which is one more than a call tries by default.
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
    /// The empty set.
    pub const fn new() -> Self {
        Self([None; 4])
    }

    /// The set with `endpoint` in it. A fifth endpoint takes the place of the one that was added first.
    #[must_use]
    pub fn with(mut self, endpoint: EndpointId) -> Self {
        if !self.contains(endpoint) {
            self.0.rotate_right(1);
            self.0[0] = Some(endpoint);
        }
        self
    }

    /// Whether `endpoint` is in the set.
    pub fn contains(&self, endpoint: EndpointId) -> bool {
        self.0.contains(&Some(endpoint))
    }

    /// Whether the set is empty.
    pub const fn is_empty(&self) -> bool {
        self.0[0].is_none()
    }

    /// The endpoints, the last tried first.
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
