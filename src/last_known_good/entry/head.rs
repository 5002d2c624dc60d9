//! The head of an entry: status, HTTP version, end-to-end headers, `Vary` and lifetime.
//!
//! A parsed header value is a slice of the connection's read buffer, and a stored slice would keep the whole buffer
//! in memory. A head is therefore copied when it is stored. If the upstream sends the same head again, the next entry
//! shares the copy.

use std::sync::Arc;

use http::header::{AGE, CONNECTION, DATE, EXPIRES, HeaderName};
use http::{HeaderMap, HeaderValue, Response, StatusCode, Version};

use crate::http::fields::{detached, lists};
use crate::last_known_good::policy::rules::{Lifetime, Rules, is_of_the_body};
use crate::last_known_good::policy::vary::{RequestHeaders, Vary};

/// The stored head of a response.
#[derive(Debug)]
pub(crate) struct Head {
    pub(crate) status: StatusCode,
    pub(crate) version: Version,
    /// The end-to-end headers.
    pub(crate) headers: HeaderMap,
    pub(crate) vary: Vary,
    pub(crate) lifetime: Lifetime,
}

/// The head of the entry that is being recorded: shared with the previous entry, or new.
pub(crate) enum NextHead {
    Same(Arc<Head>),
    // Boxed: a new head is rare, and a small enum is cheap to move with the response.
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

/// A head that may be stored later. Until then, its headers are slices of the connection's read buffer.
pub(crate) struct Draft {
    status: StatusCode,
    version: Version,
    headers: HeaderMap,
    vary: Vary,
    lifetime: Lifetime,
}

impl Draft {
    /// Returns `None` if the response must not be stored.
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

    /// True if status, lifetime and `Vary` are equal. The other headers may differ: they have no effect on storing or
    /// serving.
    pub(crate) fn differs_insignificantly_from(&self, head: &Head) -> bool {
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
    /// True if the head of `response` equals this one, apart from the headers that only tell the time of generation.
    pub(crate) fn is_of<B>(&self, response: &Response<B>, request: &RequestHeaders) -> bool {
        (self.status, self.version) == (response.status(), response.version())
            && lasting(response.headers()).eq(lasting(&self.headers))
            && self.vary.matches(request)
    }

    /// Returns the stored head, updated by the headers of a 304 (RFC 9111 §3.2).
    pub(crate) fn updated(&self, not_modified: &HeaderMap) -> Response<()> {
        let mut response = Response::new(());
        *response.status_mut() = self.status;
        *response.version_mut() = self.version;
        let headers = response.headers_mut();
        headers.clone_from(&self.headers);
        let replacing = || end_to_end(not_modified).filter(|(name, _)| !is_of_the_body(name));
        for (name, _) in replacing() {
            headers.remove(name);
        }
        for (name, value) in replacing() {
            headers.append(name, value.clone());
        }
        response
    }

    /// The approximate size in memory, in bytes.
    pub(crate) fn weight(&self) -> usize {
        let header = |(name, value): (&HeaderName, &HeaderValue)| name.as_str().len() + value.len() + 64;
        size_of::<Self>() + self.headers.iter().map(header).sum::<usize>() + self.vary.weight()
    }
}

/// Returns the end-to-end headers: those that describe the response and not its connection (RFC 9111 §3.1, RFC 9110
/// §7.6.1).
pub(crate) fn end_to_end(headers: &HeaderMap) -> impl Iterator<Item = (&HeaderName, &HeaderValue)> {
    let listed = headers.get_all(CONNECTION);
    headers.iter().filter(move |(name, _)| {
        !is_of_a_connection(name) && !listed.iter().any(|line| lists(line, name.as_str()))
    })
}

/// Returns the end-to-end headers without `Age` and `Date`, which only tell the time of generation. `Date` is kept if
/// the response has `Expires`, since the two determine the freshness lifetime.
///
/// The `bool` is the value's mark as sensitive, which a comparison of `HeaderValue`s would ignore.
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
