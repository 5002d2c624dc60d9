//! The predicates of reqwest's error, for the error of the client.

use super::ClientError;
use crate::ErrorKind;

impl ClientError {
    /// True if the request could not be built; see `reqwest::Error::is_builder`.
    pub fn is_builder(&self) -> bool {
        self.inner().is_some_and(reqwest::Error::is_builder)
    }

    /// True if a redirect was not followed; see `reqwest::Error::is_redirect`.
    pub fn is_redirect(&self) -> bool {
        self.inner().is_some_and(reqwest::Error::is_redirect)
    }

    /// True if a status was taken for an error; see `reqwest::Error::is_status`.
    pub fn is_status(&self) -> bool {
        self.inner().is_some_and(reqwest::Error::is_status)
    }

    /// True if the request could not be sent, or had no response in time; see `reqwest::Error::is_request`.
    pub fn is_request(&self) -> bool {
        matches!(self.kind(), ErrorKind::Timeout { .. })
            || self.inner().is_some_and(reqwest::Error::is_request)
    }

    /// True if a body of the request or of the response failed; see `reqwest::Error::is_body`.
    pub fn is_body(&self) -> bool {
        self.inner().is_some_and(reqwest::Error::is_body)
    }

    /// True if the name of the host was not resolved; see `reqwest::Error::is_dns`.
    pub fn is_dns(&self) -> bool {
        self.inner().is_some_and(reqwest::Error::is_dns)
    }

    /// True if the connection was not upgraded; see `reqwest::Error::is_upgrade`.
    pub fn is_upgrade(&self) -> bool {
        self.inner().is_some_and(reqwest::Error::is_upgrade)
    }

    /// True if a response could not be decoded; see `reqwest::Error::is_decode`.
    pub fn is_decode(&self) -> bool {
        self.inner().is_some_and(reqwest::Error::is_decode)
    }
}
