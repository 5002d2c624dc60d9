//! One origin, a scheme, a host and a port, and its endpoints.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use reqwest::Url;

use super::classifier::StackClassifier;
use super::discovery::NameDiscovery;
use super::pins::Target;
use super::reqwest_service::ReqwestService;
use crate::endpoints::{self, EndpointBody, EndpointsService};
use crate::http::HttpClassifier;
use crate::http::body::ObservedBody;
use crate::{Call, Http};

/// The body of a response of an endpoint.
pub(super) type OriginBody = ObservedBody<reqwest::Body, EndpointBody>;

/// The future of an attempt.
pub(super) type OriginFuture =
    endpoints::ResponseFuture<Target, ReqwestService, Call<reqwest::Request>, HttpClassifier, Http>;

/// One origin, with the endpoints of its host.
pub(super) struct OriginEndpoints {
    pub(super) name: OriginName,
    pub(super) service: EndpointsService<Target, ReqwestService, StackClassifier>,
    /// The endpoint without a pin, for the look-up after a long idle time.
    pub(super) unpinned: EndpointsService<Target, ReqwestService, StackClassifier>,
    /// `None` if the endpoints never change.
    pub(super) discovery: Option<Arc<NameDiscovery>>,
}

impl OriginEndpoints {
    #[inline]
    pub(super) fn send(&self, call: Call<reqwest::Request>) -> OriginFuture {
        let is_current = self.discovery.as_ref().is_none_or(|discovery| discovery.used());
        if is_current { self.service.send(call) } else { self.unpinned.send(call) }
    }
}

/// Scheme, host and port.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct OriginName {
    scheme: String,
    pub(super) host: String,
    pub(super) port: u16,
}

impl OriginName {
    pub(super) fn of(url: &Url) -> Self {
        Self {
            scheme: url.scheme().to_owned(),
            host: url.host_str().unwrap_or_default().to_owned(),
            port: url.port_or_known_default().unwrap_or_default(),
        }
    }

    pub(super) fn matches(&self, url: &Url) -> bool {
        url.host_str() == Some(&*self.host)
            && url.port_or_known_default() == Some(self.port)
            && url.scheme() == self.scheme
    }

    pub(super) fn is_encrypted(&self) -> bool {
        self.scheme == "https"
    }

    /// True if a resolver is asked for the host. reqwest ignores pins for IP addresses and for absolute names.
    pub(super) fn is_resolved(&self) -> bool {
        !self.host.is_empty() && !self.host.ends_with('.') && self.ip().is_none()
    }

    pub(super) fn ip(&self) -> Option<IpAddr> {
        self.host.trim_start_matches('[').trim_end_matches(']').parse().ok()
    }
}

impl fmt::Display for OriginName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", self.scheme, self.host)?;
        let is_default = crate::http::default_port(&self.scheme) == Some(self.port);
        if is_default { Ok(()) } else { write!(f, ":{}", self.port) }
    }
}
