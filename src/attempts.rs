//! The number of attempts of a call, for the extensions of its response.

use crate::stop_reason::StopReason;

/// The number of attempts of a call, in the extensions of the response. An error has [its own
/// count](crate::ErrorInfo::attempts).
///
/// If the extension is absent, one attempt was made and no retry was wanted. A healthy call thus writes nothing.
///
/// ```
/// use steadfast::retry::Attempts;
///
/// fn attempts<B>(response: &http::Response<B>) -> u32 {
///     response.extensions().get::<Attempts>().map_or(1, |attempts| attempts.made)
/// }
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Attempts {
    /// The number of requests handed to a connector, including the request that this response answers. For a stale
    /// response, only failed requests count, and the number can be 0. For `Cause::Slow` the number is 0, because the
    /// call continues in the background.
    pub made: u32,
    /// The reason why the last attempt was not retried. `None` if no retry was wanted: after a success, after a
    /// failure that is never retried (such as a 500), or under a policy without retries.
    pub stop_reason: Option<StopReason>,
}

impl Attempts {
    pub(crate) const fn new(made: u32, stop_reason: Option<StopReason>) -> Self {
        Self { made, stop_reason }
    }
}
