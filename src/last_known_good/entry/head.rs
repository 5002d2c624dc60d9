//! The head of a good response, as it is kept.

use std::sync::Arc;

use http::header::{AGE, CONNECTION, DATE, EXPIRES, HeaderName};
use http::{HeaderMap, HeaderValue, Response, StatusCode, Version};

use crate::http::fields::{detached, lists};
use crate::last_known_good::policy::rules::{Lifetime, Rules, is_of_the_body};
use crate::last_known_good::policy::vary::{RequestHeaders, Vary};

/// The head of a good response.
#[derive(Debug)]
pub(crate) struct Head {
    pub(crate) status: StatusCode,
    pub(crate) version: Version,
    /// Those that are about the response.
    pub(crate) headers: HeaderMap,
    pub(crate) vary: Vary,
    pub(crate) lifetime: Lifetime,
}

/// The head that is kept if the body is: that of what there is already, or one that is still to be made.
pub(crate) enum NextHead {
    Same(Arc<Head>),
    // Boxed, because it is the rarer one: it is moved with the response.
    New(Box<Draft>),
}

impl NextHead {
    pub(crate) fn into_head(self) -> Arc<Head> {
        match self {
            Self::Same(head) => head,
            Self::New(draft) => Arc::new(draft.into_head()),
        }
    }
}

/// What would be kept of a head, while it has yet to be seen whether it is: it still holds on to what the head was read into.
pub(crate) struct Draft {
    status: StatusCode,
    version: Version,
    headers: HeaderMap,
    vary: Vary,
    lifetime: Lifetime,
}

impl Draft {
    /// `None` if the response may not be kept.
    pub(crate) fn new<B>(
        response: &Response<B>,
        request: &RequestHeaders,
        rules: &Rules,
        is_private: bool,
    ) -> Option<Self> {
        Some(Self {
            lifetime: rules.lifetime(response.status(), response.headers(), is_private)?,
            vary: Vary::new(response.headers(), request)?,
            status: response.status(),
            version: response.version(),
            headers: response.headers().clone(),
        })
    }

    /// Whether it differs from a head in nothing but headers that no rule is about.
    pub(crate) fn is_like(&self, head: &Head) -> bool {
        (self.status, self.lifetime) == (head.status, head.lifetime) && self.vary == head.vary
    }

    pub(crate) fn into_head(self) -> Head {
        let Self { status, version, vary, lifetime, .. } = self;
        let mut headers = HeaderMap::with_capacity(self.headers.len());
        for (name, value) in end_to_end(&self.headers) {
            headers.append(name, detached(value));
        }
        Head { status, version, headers, vary, lifetime }
    }
}

impl Head {
    /// Whether what would be kept of a response is the same again, but for when it was made.
    pub(crate) fn is_of<B>(&self, response: &Response<B>, request: &RequestHeaders) -> bool {
        (self.status, self.version) == (response.status(), response.version())
            && lasting(response.headers()).eq(lasting(&self.headers))
            && self.vary.matches(request)
    }

    /// The response that it is the head of, with what a 304 says anew (RFC 9111 §3.2).
    pub(crate) fn updated(&self, not_modified: &HeaderMap) -> Response<()> {
        let mut response = Response::new(());
        *response.status_mut() = self.status;
        *response.version_mut() = self.version;
        let headers = response.headers_mut();
        headers.clone_from(&self.headers);
        let said = || end_to_end(not_modified).filter(|(name, _)| !is_of_the_body(name));
        for (name, _) in said() {
            headers.remove(name);
        }
        for (name, value) in said() {
            headers.append(name, value.clone());
        }
        response
    }

    /// What it takes in memory, in bytes, near enough.
    pub(crate) fn weight(&self) -> usize {
        let header = |(name, value): (&HeaderName, &HeaderValue)| name.as_str().len() + value.len() + 64;
        size_of::<Self>() + self.headers.iter().map(header).sum::<usize>() + self.vary.weight()
    }
}

/// The headers that are about the response and not about its connection (RFC 9111 §3.1, RFC 9110 §7.6.1).
pub(crate) fn end_to_end(headers: &HeaderMap) -> impl Iterator<Item = (&HeaderName, &HeaderValue)> {
    let listed = headers.get_all(CONNECTION);
    headers.iter().filter(move |(name, _)| {
        !is_of_a_connection(name) && !listed.iter().any(|line| lists(line, name.as_str()))
    })
}

/// Of those, the ones that do not merely say when the response was made; where it expires at a date, its own says for how
/// long it is fresh. A value is equal to another whether or not one of them is marked sensitive; here it is not.
fn lasting(headers: &HeaderMap) -> impl Iterator<Item = (&HeaderName, &[u8], bool)> {
    let expires = headers.contains_key(EXPIRES);
    end_to_end(headers)
        .filter(move |(name, _)| **name != AGE && (expires || **name != DATE))
        .map(|(name, value)| (name, value.as_bytes(), value.is_sensitive()))
}

fn is_of_a_connection(name: &HeaderName) -> bool {
    matches!(
        name.as_str(),
        "connection"
            | "keep-alive"
            | "proxy-authenticate"
            | "proxy-authentication-info"
            | "proxy-connection"
            | "te"
            | "trailer"
            | "transfer-encoding"
            | "upgrade"
    )
}
