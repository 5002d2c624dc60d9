//! The stack maker, a function that makes a stack of layers for each upstream.

use super::key::UpstreamKey;

/// Makes a stack of layers for each upstream.
///
/// Any `Fn(&UpstreamKey) -> (Layer, Handles)` is a stack maker. Implement the trait for a type of your own if the map
/// is small for the number of upstreams, and some upstreams should be kept longer than others:
///
/// ```
/// use steadfast::circuit_breaker::{CircuitBreaker, CircuitBreakerLayer, State};
/// use steadfast::per_upstream::{MakeStack, PerUpstreamLayer, UpstreamKey};
///
/// struct Breakers(CircuitBreaker);
///
/// impl MakeStack for Breakers {
///     type Layer = CircuitBreakerLayer;
///     type Handles = CircuitBreaker;
///
///     fn make(&self, upstream: &UpstreamKey) -> (CircuitBreakerLayer, CircuitBreaker) {
///         let circuit = self.0.fresh(upstream.to_string());
///         (CircuitBreakerLayer::new(circuit.clone()), circuit)
///     }
///
///     fn is_in_use(&self, circuit: &CircuitBreaker) -> bool {
///         circuit.state() != State::Closed
///     }
/// }
///
/// let layer = PerUpstreamLayer::new(Breakers(CircuitBreaker::default())).max_upstreams(100);
/// ```
#[doc(alias = "Recipe")]
pub trait MakeStack {
    /// The layers that are put around the service below.
    type Layer;
    /// The handles through which users inspect the stack.
    type Handles: Clone;

    /// Makes the layers for `upstream`, and their handles.
    ///
    /// Runs under a lock of the per-upstream service, so a stack maker must not call this service: the call can
    /// deadlock.
    fn make(&self, upstream: &UpstreamKey) -> (Self::Layer, Self::Handles);

    /// True if the upstream with these handles should not be evicted while another upstream can be evicted. Reasons
    /// are calls in flight, or a state worth keeping, such as an open circuit. If all upstreams are in use, the one
    /// that has been idle for longest is evicted anyway.
    ///
    /// Called for the upstreams that have been idle for longest, when a new upstream exceeds
    /// [`max_upstreams`](super::PerUpstreamLayer::max_upstreams). Like [`make`](Self::make), it runs under the lock.
    ///
    /// Default: `false`. Some calls in flight protect their upstream in any case; see [Bounds](super#bounds).
    fn is_in_use(&self, handles: &Self::Handles) -> bool {
        let _ = handles;
        false
    }
}

impl<F, L, H: Clone> MakeStack for F
where
    F: Fn(&UpstreamKey) -> (L, H),
{
    type Layer = L;
    type Handles = H;

    fn make(&self, upstream: &UpstreamKey) -> (L, H) {
        self(upstream)
    }
}
