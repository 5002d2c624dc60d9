//! Parses `Keep-Alive` (RFC 2068 §19.7.1.1): the time for which a server keeps an idle HTTP/1 connection open.
//!
//! Node.js and Apache send this header by default. A request that is sent while the server closes the connection
//! fails, so a client should give a connection up first.

use std::time::Duration;

use http::HeaderMap;

/// Returns the timeout in `Keep-Alive`; `None` without a valid one, or for a timeout of zero.
pub(crate) fn keep_alive(headers: &HeaderMap) -> Option<Duration> {
    let parameters = headers.get("keep-alive")?.to_str().ok()?.split(',');
    let value_of = |parameter: &str| {
        let (name, value) = parameter.split_once('=')?;
        let is_timeout = name.trim().eq_ignore_ascii_case("timeout");
        value.trim().trim_matches('"').parse::<u32>().ok().filter(|seconds| is_timeout && *seconds > 0)
    };
    let seconds = parameters.filter_map(value_of).min()?;
    Some(Duration::from_secs(seconds.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_timeout_is_found_among_the_parameters() {
        let parsed = |value: &'static str| {
            keep_alive(&HeaderMap::from_iter([("keep-alive".parse().unwrap(), value.parse().unwrap())]))
        };
        let seconds = |seconds| Some(Duration::from_secs(seconds));
        for (value, expected) in [
            ("timeout=5", seconds(5)),
            ("max=100, Timeout = \"15\"", seconds(15)),
            ("timeout=7, timeout=5", seconds(5)),
            ("timeout=0", None),
            ("timeout=-1", None),
            ("timeout=soon", None),
            ("timeout", None),
            ("max=100", None),
            ("", None),
        ] {
            assert_eq!(parsed(value), expected, "{value}");
        }
        assert_eq!(keep_alive(&HeaderMap::new()), None);
    }
}
