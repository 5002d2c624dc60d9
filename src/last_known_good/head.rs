//! The head of a good response, as it is kept.

use std::sync::Arc;
use std::time::Duration;

use http::header::{AGE, CONNECTION, DATE, EXPIRES, HeaderName};
use http::{HeaderMap, HeaderValue, Response, StatusCode, Version};

use super::rules::{Lifetime, Rules, is_of_the_body};
use super::vary::{RequestHeaders, Vary};
use crate::http::cache_control::delta_seconds;

/// The head of a good response.
#[derive(Debug)]
pub(super) struct Head {
    pub(super) status: StatusCode,
    pub(super) version: Version,
    /// Those that are about the response.
    pub(super) headers: HeaderMap,
    pub(super) vary: Vary,
    pub(super) lifetime: Lifetime,
}

/// The head that is kept if the body is: that of what there is already, or one that is still to be made.
pub(super) enum NextHead {
    Same(Arc<Head>),
    // Boxed, because it is the rarer one: it is moved with the response.
    New(Box<Draft>),
}

impl NextHead {
    pub(super) fn into_head(self) -> Arc<Head> {
        match self {
            Self::Same(head) => head,
            Self::New(draft) => Arc::new(draft.into_head()),
        }
    }
}

/// What would be kept of a head, while it has yet to be seen whether it is: it still holds on to what the head was read into.
pub(super) struct Draft {
    status: StatusCode,
    version: Version,
    headers: HeaderMap,
    vary: Vary,
    lifetime: Lifetime,
}

impl Draft {
    /// `None` if the response may not be kept.
    pub(super) fn new<B>(
        response: &Response<B>,
        request: &RequestHeaders,
        rules: &Rules,
        is_somebodys: bool,
    ) -> Option<Self> {
        Some(Self {
            lifetime: rules.lifetime(response.status(), response.headers(), is_somebodys)?,
            vary: Vary::new(response.headers(), request)?,
            status: response.status(),
            version: response.version(),
            headers: response.headers().clone(),
        })
    }

    /// Whether it differs from a head in nothing but headers that no rule is about.
    pub(super) fn is_like(&self, head: &Head) -> bool {
        (self.status, self.lifetime) == (head.status, head.lifetime) && self.vary == head.vary
    }

    pub(super) fn into_head(self) -> Head {
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
    pub(super) fn is_of<B>(&self, response: &Response<B>, request: &RequestHeaders) -> bool {
        (self.status, self.version) == (response.status(), response.version())
            && lasting(response.headers()).eq(lasting(&self.headers))
            && self.vary.matches(request)
    }

    /// The response that it is the head of, with what a 304 says anew (RFC 9111 §3.2).
    pub(super) fn updated(&self, not_modified: &HeaderMap) -> Response<()> {
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
    pub(super) fn weight(&self) -> usize {
        let header = |(name, value): (&HeaderName, &HeaderValue)| name.as_str().len() + value.len() + 64;
        size_of::<Self>() + self.headers.iter().map(header).sum::<usize>() + self.vary.weight()
    }
}

/// The headers that are about the response and not about its connection (RFC 9111 §3.1, RFC 9110 §7.6.1).
pub(super) fn end_to_end(headers: &HeaderMap) -> impl Iterator<Item = (&HeaderName, &HeaderValue)> {
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

pub(super) fn lists(line: &HeaderValue, name: &str) -> bool {
    line.to_str().unwrap_or_default().split(',').any(|it| it.trim().eq_ignore_ascii_case(name))
}

/// A value as parsed is a part of the buffer that the connection was read into, and would hold on to all of it.
pub(super) fn detached(value: &HeaderValue) -> HeaderValue {
    let mut copy = HeaderValue::from_bytes(value.as_bytes()).unwrap_or_else(|_| value.clone());
    copy.set_sensitive(value.is_sensitive());
    copy
}

/// The age that a response says it has: the first, if it says several; what is not a number is none (RFC 9111 §5.1).
pub(super) fn stated_age(headers: &HeaderMap) -> Duration {
    let age = headers.get(AGE).and_then(|age| age.to_str().ok()?.split(',').next());
    age.and_then(|age| delta_seconds(age.trim())).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_age_is_a_number_of_seconds() {
        for (value, seconds) in [
            ("0", 0),
            (" 7200 ", 7200),
            ("7200, 0", 7200),
            ("4294967296", 1 << 31),
            ("99999999999999999999999", 1 << 31),
            ("+7200", 0),
            ("-1", 0),
            ("\"7200\"", 0),
            ("soon", 0),
            ("", 0),
        ] {
            let headers = HeaderMap::from_iter([(AGE, value.parse().unwrap())]);
            assert_eq!(stated_age(&headers), Duration::from_secs(seconds), "{value}");
        }
    }
}
