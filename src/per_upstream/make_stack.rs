//! The stack maker, a function that makes a stack of layers for each upstream.

use super::key::UpstreamKey;

/// Makes a stack of layers for each upstream.
///
/// Any `Fn(&UpstreamKey) -> (Layer, Handles)` is a stack maker.
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
