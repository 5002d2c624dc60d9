//! The settings of body buffering.

use http::Response;
use http_body::Body;

use crate::http::media_type::is_of_type;

/// The bodies that are read.
#[derive(Debug, Clone, Copy)]
pub(super) struct BufferBodySettings {
    /// The longest body, in bytes.
    pub(super) limit: usize,
    /// True if a body of unstated length is read, too.
    pub(super) unsized_bodies: bool,
}

impl BufferBodySettings {
    /// Whether the body of this response is to be read.
    pub(super) fn reads<B: Body>(&self, response: &Response<B>) -> bool {
        let fits = match response.body().size_hint().exact() {
            Some(length) => length > 0 && length <= self.limit as u64,
            None => self.unsized_bodies && self.limit > 0,
        };
        fits && !is_of_type(response.headers(), "text/event-stream")
    }
}
