//! The function that makes the stack of one upstream.

use super::key::UpstreamKey;

/// How the stack of one upstream is made.
///
/// Any `Fn(&UpstreamKey) -> (Layer, Handles)` is a recipe.
pub trait MakeStack {
    /// What is put around the service below.
    type Layer;
    /// What the stack can be looked at by.
    type Handles: Clone;

    /// Makes the layers of one upstream, and the handles to look at them.
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
