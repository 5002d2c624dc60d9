//! The traits through which layers read and copy HTTP requests, for the request types of `http` and `reqwest`.

use std::sync::LazyLock;

use bytes::{Buf, Bytes};
use http::{HeaderMap, Method, Request, Uri, header::HOST};
use http_body::Body;
use http_body_util::{Empty, Full};

use super::idempotency;
use crate::{Call, CallOptions, HasCallOptions, RetrySafety, RetryableRequest};

/// An HTTP request: its method, its headers, and the parts of its URI.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not an HTTP request",
    note = "implemented for `http::Request<B>`, `reqwest::Request` (feature `reqwest`) and a `steadfast::Call` of them"
)]
pub trait HttpRequest {
    /// The method.
    fn method(&self) -> &Method;

    /// The headers.
    fn headers(&self) -> &HeaderMap;

    /// The scheme, `http` or `https`; empty for a URI without a scheme.
    fn scheme(&self) -> &str;

    /// The host without userinfo and port, spelled as in the URI; empty for a URI without a host.
    fn host(&self) -> &str;

    /// The port of the URI, or else the default port of the scheme; `None` if neither is known.
    fn port(&self) -> Option<u16>;

    /// The userinfo before the host, as `user:password`; `None` without userinfo.
    fn userinfo(&self) -> Option<&str> {
        None
    }

    /// The path. It begins with `/`, unless the URI is `*` or only an authority.
    fn path(&self) -> &str;

    /// The query, after the `?`; `None` without a `?`.
    fn query(&self) -> Option<&str>;

    /// The `Host` header, if it names a host or port other than the URI's. In a call through a sidecar, for example,
    /// the URI names the sidecar and the header names the upstream.
    fn host_header(&self) -> Option<&str> {
        let header = self.headers().get(HOST)?.to_str().ok()?;
        let (host, port) = match header.rsplit_once(':') {
            Some((host, port)) if !port.ends_with(']') => (host, port.parse().ok()),
            _ => (header, None),
        };
        let same = host.eq_ignore_ascii_case(self.host()) && (port.is_none() || port == self.port());
        (!same).then_some(header)
    }

    /// True if the request carries a body. Method and URI alone then do not identify the request.
    fn has_body(&self) -> bool;
}

impl<R: HttpRequest> HttpRequest for Call<R> {
    fn method(&self) -> &Method {
        self.request().method()
    }

    fn headers(&self) -> &HeaderMap {
        self.request().headers()
    }

    fn scheme(&self) -> &str {
        self.request().scheme()
    }

    fn host(&self) -> &str {
        self.request().host()
    }

    fn port(&self) -> Option<u16> {
        self.request().port()
    }

    fn userinfo(&self) -> Option<&str> {
        self.request().userinfo()
    }

    fn host_header(&self) -> Option<&str> {
        self.request().host_header()
    }

    fn path(&self) -> &str {
        self.request().path()
    }

    fn query(&self) -> Option<&str> {
        self.request().query()
    }

    fn has_body(&self) -> bool {
        self.request().has_body()
    }
}

// ===== http::Uri =====

/// A URI stands for a GET request for that URI, without headers.
impl HttpRequest for Uri {
    fn method(&self) -> &Method {
        &Method::GET
    }

    fn headers(&self) -> &HeaderMap {
        static NONE: LazyLock<HeaderMap> = LazyLock::new(HeaderMap::new);
        &NONE
    }

    fn scheme(&self) -> &str {
        self.scheme_str().unwrap_or_default()
    }

    fn host(&self) -> &str {
        self.host().unwrap_or_default()
    }

    fn port(&self) -> Option<u16> {
        self.port_u16().or_else(|| default_port(HttpRequest::scheme(self)))
    }

    fn userinfo(&self) -> Option<&str> {
        userinfo(self.authority()?.as_str())
    }

    fn path(&self) -> &str {
        self.path()
    }

    fn query(&self) -> Option<&str> {
        self.query()
    }

    fn has_body(&self) -> bool {
        false
    }
}

/// Returns the default port of `http` or `https`; `None` for any other scheme.
pub(crate) fn default_port(scheme: &str) -> Option<u16> {
    if scheme.eq_ignore_ascii_case("http") {
        Some(80)
    } else if scheme.eq_ignore_ascii_case("https") {
        Some(443)
    } else {
        None
    }
}

fn userinfo(authority: &str) -> Option<&str> {
    authority.rsplit_once('@').map(|(userinfo, _)| userinfo)
}

// ===== http::Request =====

impl<B: Body> HttpRequest for Request<B> {
    fn method(&self) -> &Method {
        self.method()
    }

    fn headers(&self) -> &HeaderMap {
        self.headers()
    }

    fn scheme(&self) -> &str {
        HttpRequest::scheme(self.uri())
    }

    fn host(&self) -> &str {
        HttpRequest::host(self.uri())
    }

    fn port(&self) -> Option<u16> {
        HttpRequest::port(self.uri())
    }

    fn userinfo(&self) -> Option<&str> {
        self.uri().userinfo()
    }

    fn path(&self) -> &str {
        self.uri().path()
    }

    fn query(&self) -> Option<&str> {
        self.uri().query()
    }

    fn has_body(&self) -> bool {
        !self.body().is_end_stream()
    }
}

impl<B> HasCallOptions for Request<B> {
    fn options(&self) -> CallOptions {
        self.extensions().get().copied().unwrap_or_default()
    }

    fn set_options(&mut self, options: CallOptions) {
        match self.extensions_mut().get_mut() {
            Some(before) => *before = options,
            None => drop(self.extensions_mut().insert(options)),
        }
    }
}

impl<B: TryCloneBody> RetryableRequest for Request<B> {
    fn retry_safety(&self) -> RetrySafety {
        let own = self.options().get_retry_safety();
        own.unwrap_or_else(|| idempotency::retry_safety(self.method(), self.headers()))
    }

    fn try_clone(&self) -> Option<Self> {
        let mut copy = Request::new(self.body().try_clone()?);
        copy.method_mut().clone_from(self.method());
        copy.uri_mut().clone_from(self.uri());
        copy.headers_mut().clone_from(self.headers());
        copy.extensions_mut().clone_from(self.extensions());
        *copy.version_mut() = self.version();
        Some(copy)
    }

    fn take_over(&self) -> bool {
        self.body().take_over()
    }
}

/// A request body that can be copied for a retry.
///
/// Implemented for bodies in memory, and for [`ReplayBody`](super::ReplayBody), which wraps any other body.
#[diagnostic::on_unimplemented(
    message = "the request body `{Self}` cannot be copied for a retry",
    note = "put a `steadfast::http::ReplayBodyLayer` above the retry, or use a body in memory: `Full<Bytes>`, `Bytes`, `String`"
)]
pub trait TryCloneBody: Sized {
    /// Returns a copy to send later; `None` if the body cannot be copied.
    fn try_clone(&self) -> Option<Self>;

    /// True if this copy can be sent whole; see [`RetryableRequest::take_over`].
    fn take_over(&self) -> bool {
        true
    }
}

impl TryCloneBody for () {
    fn try_clone(&self) -> Option<Self> {
        Some(())
    }
}

impl TryCloneBody for Bytes {
    fn try_clone(&self) -> Option<Self> {
        Some(self.clone())
    }
}

impl TryCloneBody for String {
    fn try_clone(&self) -> Option<Self> {
        Some(self.clone())
    }
}

impl<D> TryCloneBody for Empty<D> {
    fn try_clone(&self) -> Option<Self> {
        Some(Self::new())
    }
}

impl<D: Buf + Clone> TryCloneBody for Full<D> {
    fn try_clone(&self) -> Option<Self> {
        Some(self.clone())
    }
}

// ===== reqwest::Request =====

#[cfg(feature = "reqwest")]
impl HttpRequest for reqwest::Request {
    fn method(&self) -> &Method {
        self.method()
    }

    fn headers(&self) -> &HeaderMap {
        self.headers()
    }

    fn scheme(&self) -> &str {
        self.url().scheme()
    }

    fn host(&self) -> &str {
        self.url().host_str().unwrap_or_default()
    }

    fn port(&self) -> Option<u16> {
        self.url().port_or_known_default()
    }

    fn userinfo(&self) -> Option<&str> {
        userinfo(self.url().authority())
    }

    fn path(&self) -> &str {
        self.url().path()
    }

    fn query(&self) -> Option<&str> {
        self.url().query()
    }

    fn has_body(&self) -> bool {
        self.body().is_some_and(|body| !body.is_end_stream())
    }
}

#[cfg(feature = "reqwest")]
impl RetryableRequest for reqwest::Request {
    fn retry_safety(&self) -> RetrySafety {
        idempotency::retry_safety(self.method(), self.headers())
    }

    fn try_clone(&self) -> Option<Self> {
        if self.body().is_some() || self.timeout().is_some() {
            return self.try_clone();
        }
        // reqwest's own copy would create the extensions of the request for a timeout that is not set. reqwest reads
        // nothing but the timeout from the extensions.
        let mut copy = Self::new(self.method().clone(), self.url().clone());
        copy.headers_mut().clone_from(self.headers());
        *copy.version_mut() = self.version();
        Some(copy)
    }
}

// A `reqwest::Request` gives no access to its extensions, so it carries only its timeout. A `Call` around it carries
// all options.
#[cfg(feature = "reqwest")]
impl HasCallOptions for reqwest::Request {
    fn options(&self) -> CallOptions {
        self.timeout().map_or_else(CallOptions::new, |timeout| CallOptions::new().timeout(*timeout))
    }
}
