//! The settings of body buffering, and the decision whether to read a body.

use std::time::Duration;

use http::{Response, StatusCode};
use http_body::Body;

use crate::http::media_type::is_of_type;
use crate::response_kind::NoBody;

/// The settings of the layer.
#[derive(Debug, Clone, Copy)]
pub(super) struct BufferBodySettings {
    /// The length, in bytes, of the largest body that the layer reads.
    pub(super) limit: usize,
    /// True if bodies of unstated length are read, too.
    pub(super) unsized_bodies: bool,
    /// The time without data after which a body no longer arrives.
    pub(super) idle_timeout: Duration,
}

impl BufferBodySettings {
    /// True if the body of `response` is to be read.
    pub(super) fn reads<B: Body>(&self, response: &Response<B>) -> bool {
        let fits = match response.body().size_hint().exact() {
            Some(length) => length > 0 && length <= self.limit as u64,
            None => self.unsized_bodies && self.limit > 0,
        };
        // A 204, a 304 and the response to a HEAD request have no body, whatever length they state (RFC 9110 §6.4.1).
        let is_empty = matches!(response.status(), StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED)
            || fits && response.extensions().get::<NoBody>().is_some();
        fits && !is_empty && !is_of_type(response.headers(), "text/event-stream")
    }
}
