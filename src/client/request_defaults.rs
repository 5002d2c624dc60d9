//! The request parts that reqwest adds by itself: default headers, and cookies.
//!
//! The layers must see these parts. The cache, the key of an upstream and the classifier need them, because a
//! response may depend on them. So the client adds these parts before the layers run. reqwest then adds only the
//! parts that are missing.
//!
//! The cookies are removed again below the layers. A redirect or an earlier attempt can change the cookies, and
//! reqwest adds the current ones to each request.

use http::HeaderMap;
#[cfg(feature = "cookies")]
use http::header::COOKIE;
use http::header::Entry;

#[cfg(feature = "cookies")]
use super::cookie_store::CookieStore;
use crate::Call;

/// The default headers, and the cookie store.
#[derive(Default)]
pub(super) struct RequestDefaults {
    pub(super) headers: HeaderMap,
    #[cfg(feature = "cookies")]
    pub(super) cookies: Option<CookieStore>,
}

impl RequestDefaults {
    /// Adds the missing parts to the request.
    pub(super) fn apply(&self, call: &mut Call<reqwest::Request>) {
        for (name, value) in &self.headers {
            if let Entry::Vacant(missing) = call.request_mut().headers_mut().entry(name) {
                missing.insert(value.clone());
            }
        }
        #[cfg(feature = "cookies")]
        if let Some(cookies) = &self.cookies {
            let request = call.request_mut();
            if !request.headers().contains_key(COOKIE) {
                if let Some(value) = cookies.cookies(request.url()) {
                    request.headers_mut().insert(COOKIE, value);
                    call.mark_cookies_of_store();
                }
            }
        }
    }
}
