//! The key of an upstream, and the ways to extract the key from a request.

use std::borrow::Cow;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::marker::PhantomData;

use crate::http::{HttpRequest, default_port};

/// The name of an upstream: its origin, such as `http://sku.internal`, or the result of a key function. `Display`
/// leaves out the default port of the scheme.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UpstreamKey(KeyRef<'static>);

/// The name of an upstream, borrowed from the request where possible.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum KeyRef<'a> {
    /// Scheme, host and port, in lower case and without userinfo. If a `Host` header differs from the URI, the key
    /// contains the header as well.
    #[non_exhaustive]
    Origin {
        /// `http` or `https`; empty if the request has no scheme.
        scheme: Cow<'a, str>,
        /// The URI's host; empty if the URI has none.
        host: Cow<'a, str>,
        /// The port, or else the default port of the scheme; `None` if neither is known.
        port: Option<u16>,
        /// The `Host` header, if it differs from the URI.
        virtual_host: Option<Cow<'a, str>>,
    },
    /// The result of a key function.
    Named(Cow<'a, str>),
}

impl<'a> KeyRef<'a> {
    /// Returns the origin of `request` as a key.
    pub fn origin(request: &'a impl HttpRequest) -> Self {
        Self::Origin {
            scheme: lower_case(request.scheme()),
            host: lower_case(request.host()),
            port: request.port(),
            virtual_host: request.host_header().map(lower_case),
        }
    }

    pub(super) fn to_key(&self) -> UpstreamKey {
        let owned = |part: &Cow<'a, str>| Cow::Owned(part.clone().into_owned());
        UpstreamKey(match self {
            Self::Origin { scheme, host, port, virtual_host } => KeyRef::Origin {
                scheme: owned(scheme),
                host: owned(host),
                port: *port,
                virtual_host: virtual_host.as_ref().map(owned),
            },
            Self::Named(name) => KeyRef::Named(owned(name)),
        })
    }
}

/// Converts `part` to lower case. Most parts have no upper-case letters, and are borrowed.
fn lower_case(part: &str) -> Cow<'_, str> {
    if part.bytes().any(|byte| byte.is_ascii_uppercase()) {
        part.to_ascii_lowercase().into()
    } else {
        part.into()
    }
}

impl Hash for KeyRef<'_> {
    /// Hashes only the parts that tell most upstreams apart, with as few writes to the hasher as possible.
    fn hash<H: Hasher>(&self, state: &mut H) {
        match self {
            Self::Origin { host, port, virtual_host, .. } => {
                state.write(host.as_bytes());
                state.write_u16(port.unwrap_or_default());
                if let Some(virtual_host) = virtual_host {
                    state.write(virtual_host.as_bytes());
                }
            }
            Self::Named(name) => state.write(name.as_bytes()),
        }
    }
}

impl Hash for UpstreamKey {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.hash(state);
    }
}

impl PartialEq<UpstreamKey> for KeyRef<'_> {
    fn eq(&self, key: &UpstreamKey) -> bool {
        *self == key.0
    }
}

impl fmt::Display for UpstreamKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            KeyRef::Origin { scheme, host, port, virtual_host } => {
                write!(f, "{scheme}://{host}")?;
                let spelled_out = port.filter(|port| Some(*port) != default_port(scheme));
                spelled_out.map_or(Ok(()), |port| write!(f, ":{port}"))?;
                virtual_host.as_ref().map_or(Ok(()), |host| write!(f, " ({host})"))
            }
            KeyRef::Named(name) => f.write_str(name),
        }
    }
}

/// Extracts the key of the upstream from a request. Implemented by [`Origin`] and [`KeyFn`].
#[doc(alias = "KeyOf")]
pub trait KeyExtractor<Req> {
    /// Passes the key of `request` to `with`.
    fn with_key<T>(&self, request: &Req, with: impl FnOnce(KeyRef<'_>) -> T) -> T;
}

/// The default: tells upstreams apart by the scheme and the authority of an HTTP request.
#[derive(Debug, Clone, Copy, Default)]
pub struct Origin;

impl<Req: HttpRequest> KeyExtractor<Req> for Origin {
    fn with_key<T>(&self, request: &Req, with: impl FnOnce(KeyRef<'_>) -> T) -> T {
        with(KeyRef::origin(request))
    }
}

/// Tells upstreams apart by the function that was given to
/// [`PerUpstreamLayer::key_by`](super::PerUpstreamLayer::key_by).
#[doc(alias = "By")]
pub struct KeyFn<F, Req, N> {
    function: F,
    signature: PhantomData<fn(&Req) -> N>,
}

impl<F, Req, N> KeyFn<F, Req, N> {
    pub(super) const fn new(function: F) -> Self {
        Self { function, signature: PhantomData }
    }
}

impl<F, Req, N> KeyExtractor<Req> for KeyFn<F, Req, N>
where
    F: Fn(&Req) -> N,
    N: AsRef<str>,
{
    fn with_key<T>(&self, request: &Req, with: impl FnOnce(KeyRef<'_>) -> T) -> T {
        with(KeyRef::Named((self.function)(request).as_ref().into()))
    }
}

impl<F, Req, N> fmt::Debug for KeyFn<F, Req, N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeyFn")
    }
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;

    fn key(uri: &str) -> String {
        KeyRef::origin(&Request::get(uri).body(String::new()).unwrap()).to_key().to_string()
    }

    #[test]
    fn an_upstream_is_its_scheme_host_and_port() {
        assert_eq!(key("http://sku.internal/v1?x"), "http://sku.internal");
        assert_eq!(key("http://sku.internal:80/"), "http://sku.internal");
        assert_eq!(key("https://sku.internal:80/"), "https://sku.internal:80");
        assert_eq!(key("HTTPS://user:secret@SKU.internal/"), "https://sku.internal");
        assert_eq!(key("http://[::1]:8080/"), "http://[::1]:8080");
        assert_eq!(key("/only/a/path"), "://");
        let sidecar = Request::get("http://127.0.0.1:4140/").header("host", "SKU.internal");
        let sidecar = sidecar.body(String::new()).unwrap();
        assert_eq!(KeyRef::origin(&sidecar).to_key().to_string(), "http://127.0.0.1:4140 (sku.internal)");
        for host in ["sku.internal", "SKU.internal:80"] {
            let same = Request::get("http://sku.internal/").header("host", host).body(String::new()).unwrap();
            assert_eq!(KeyRef::origin(&same).to_key().to_string(), "http://sku.internal");
        }
    }
}
