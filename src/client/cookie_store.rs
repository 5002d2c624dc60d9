//! The cookie store of a client, which reqwest and the layers share.

use std::fmt;
use std::sync::Arc;

use http::HeaderValue;
use reqwest::Url;

/// A user's cookie store of any type.
#[derive(Clone)]
pub(super) struct CookieStore(pub(super) Arc<dyn reqwest::cookie::CookieStore>);

impl CookieStore {
    /// Returns the value of the `Cookie` header for `url`; `None` without cookies.
    pub(super) fn cookies(&self, url: &Url) -> Option<HeaderValue> {
        self.0.cookies(url)
    }
}

impl reqwest::cookie::CookieStore for CookieStore {
    fn set_cookies(&self, cookies: &mut dyn Iterator<Item = &HeaderValue>, url: &Url) {
        self.0.set_cookies(cookies, url);
    }

    fn cookies(&self, url: &Url) -> Option<HeaderValue> {
        self.0.cookies(url)
    }
}

/// Shows no cookies.
impl fmt::Debug for CookieStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CookieStore")
    }
}
