//! The errors of rustls.

use std::error::Error as StdError;

use super::facts::causes;

/// True if the upstream's certificate was rejected. Such a certificate stays untrusted, so no retry can help.
pub(super) fn is_untrusted_certificate(error: &(dyn StdError + 'static)) -> bool {
    causes(error).any(|error| matches!(error.downcast_ref(), Some(rustls::Error::InvalidCertificate(_))))
}
