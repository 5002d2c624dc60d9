//! The bulkhead's observer of response bodies: the permit of the call.

use super::handle::Permit;
use crate::http::body::BodyObserver;
use crate::sealed::Sealed;

impl Sealed for Option<Permit> {}

/// A body holds its permit until the body ends, is discarded, or is dropped. `None` without a bulkhead.
impl BodyObserver for Option<Permit> {}
