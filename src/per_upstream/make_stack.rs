//! The stack maker: the function that makes the stack of an upstream.

use super::key::UpstreamKey;

/// Makes the stack of an upstream.
///
/// Any `Fn(&UpstreamKey) -> (Layer, Handles)` is a stack maker.
#[doc(alias = "Recipe")]
pub trait MakeStack {
    /// The layers that are put around the service below.
    type Layer;
    /// The handles through which users inspect the stack.
    type Handles: Clone;

    /// Makes the layers of `upstream` and their handles.
    ///
    /// Runs under a lock of the per-upstream service, so a stack maker must not call this service.
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
