//! Reads steadfast's facts about a response from its extensions.

use http::{Extensions, Response};

use crate::StopReason;
use crate::attempts::Attempts;
use crate::stale::Stale;

/// Facts about a response, for `http::Response` and `reqwest::Response`.
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
    /// Returns the age and the cause of a stale response; `None` for any other response.
    fn stale(&self) -> Option<&Stale>;

    /// Returns the number of attempts of the call. For a stale response, only failed attempts count, and the number
    /// can be 0. For [`Cause::Slow`](crate::last_known_good::Cause::Slow), the number is 0, because the call
    /// continues in the background.
    fn attempts(&self) -> u32;

    /// Returns why the last attempt was not retried; `None` if no retry was wanted.
    fn stop_reason(&self) -> Option<StopReason>;
}

/// A response with extensions, of `http` or of reqwest.
pub trait HasExtensions {
    /// Returns the extensions.
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
        self.extensions().get::<Attempts>()?.stop_reason
    }
}
