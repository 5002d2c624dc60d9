//! Makes a permit an observer of the response body, so that the permit is held until the body ends.

use super::handle::Permit;
use crate::http::body::BodyObserver;
use crate::sealed::Sealed;

impl Sealed for Option<Permit> {}

/// The permit is dropped when the body ends, is discarded, or is dropped. `None` if there is no bulkhead.
impl BodyObserver for Option<Permit> {}
