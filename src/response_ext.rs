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

/// A response of either crate.
pub trait HasExtensions {
    /// Its extensions.
    fn extensions(&self) -> &Extensions;
}

impl<B> HasExtensions for Response<B> {
    fn extensions(&self) -> &Extensions {
        self.extensions()
    }
}

#[cfg(feature = "reqwest")]
impl HasExtensions for reqwest::Response {
    fn extensions(&self) -> &Extensions {
        self.extensions()
    }
}

impl<R: HasExtensions> ResponseExt for R {
    fn stale(&self) -> Option<&Stale> {
        self.extensions().get()
    }

    fn attempts(&self) -> u32 {
        self.extensions().get::<Attempts>().map_or(1, |attempts| attempts.made)
    }

    fn stop_reason(&self) -> Option<StopReason> {
        self.extensions().get::<Attempts>()?.stopped
    }
}
