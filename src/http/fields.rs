//! Helpers for single header fields, used by the last-known-good cache.

use std::time::Duration;

use http::header::AGE;
use http::{HeaderMap, HeaderValue};

use super::cache_control::delta_seconds;

/// True if a comma-separated line lists `name`, in upper or lower case.
pub(crate) fn lists(line: &HeaderValue, name: &str) -> bool {
    line.to_str().unwrap_or_default().split(',').any(|it| it.trim().eq_ignore_ascii_case(name))
}

/// Copies a header value into memory of its own. A parsed value is a slice of the connection's read buffer: if the
/// cache stored the slice, the whole buffer would stay in memory.
pub(crate) fn detached(value: &HeaderValue) -> HeaderValue {
    let mut copy = HeaderValue::from_bytes(value.as_bytes()).unwrap_or_else(|_| value.clone());
    copy.set_sensitive(value.is_sensitive());
    copy
}

/// Returns the `Age` of a response. Of several values, the first counts. A value that is not a number counts as zero
/// (RFC 9111 §5.1).
pub(crate) fn stated_age(headers: &HeaderMap) -> Duration {
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
