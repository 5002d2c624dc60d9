//! The bulkhead's hold on the body of a response.

use super::handle::Permit;
use crate::http::body::BodyObserver;
use crate::sealed::Sealed;

/// A permit is held while the body is read; without a bulkhead there is none. Dropping it is all there is to do.
impl Sealed for Option<Permit> {}

impl BodyObserver for Option<Permit> {}
