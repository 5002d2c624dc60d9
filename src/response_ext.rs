//! What is known of a response, read off its extensions.

use http::{Extensions, Response};

use crate::StopReason;
use crate::stale::Stale;
use crate::stop_reason::Attempts;

/// What steadfast knows of a response: an `http::Response`, or a `reqwest::Response`.
///
/// ```
/// use steadfast::ResponseExt;
///
/// fn report<B>(response: &http::Response<B>) {
///     if let Some(stale) = response.stale() {
///         println!("{} s old, since {}", stale.age.as_secs(), stale.cause);
///     } else {
///         println!("{} attempts", response.attempts());
///     }
/// }
/// ```
pub trait ResponseExt {
    /// The age and the cause, if this is a stored response, served because the upstream could not be used.
    fn stale(&self) -> Option<&Stale>;

    /// How many attempts the call took. For a stored response, those that were made in vain before it was served.
    fn attempts(&self) -> u32;

    /// Why there was no further attempt, where the last one had failed.
    fn stop_reason(&self) -> Option<StopReason>;
}

impl<B> ResponseExt for Response<B> {
    fn stale(&self) -> Option<&Stale> {
        self.extensions().get()
    }

    fn attempts(&self) -> u32 {
        attempts(self.extensions())
    }

    fn stop_reason(&self) -> Option<StopReason> {
        stop_reason(self.extensions())
    }
}

pub(crate) fn attempts(extensions: &Extensions) -> u32 {
    extensions.get::<Attempts>().map_or(1, |attempts| attempts.made)
}

pub(crate) fn stop_reason(extensions: &Extensions) -> Option<StopReason> {
    extensions.get::<Attempts>()?.stopped
}
