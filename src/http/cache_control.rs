//! The directives of `Cache-Control` (RFC 9111 §5.2) that the last-known-good cache needs.

use std::time::Duration;

use http::{HeaderMap, header::CACHE_CONTROL};

/// The directives of one request or response.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[allow(clippy::struct_excessive_bools)] // Each directive is either present or absent.
pub(crate) struct CacheControl {
    pub(crate) no_store: bool,
    pub(crate) private: bool,
    pub(crate) no_cache: bool,
    /// True if the response must not be served stale: with `must-revalidate`, with `proxy-revalidate`, or with
    /// `s-maxage`, which implies `proxy-revalidate`.
    pub(crate) must_revalidate: bool,
    /// The freshness lifetime: the value of `s-maxage`, or else of `max-age`.
    pub(crate) fresh_for: Option<Duration>,
    /// How long after the freshness lifetime the response may be served if the origin fails (RFC 5861 §4).
    pub(crate) stale_if_error: Option<Duration>,
    /// How long after the freshness lifetime the request accepts a response; `Duration::MAX` if `max-stale` has no
    /// value.
    pub(crate) max_stale: Option<Duration>,
    /// How long a response must stay fresh from now on, for the request to accept it.
    pub(crate) min_fresh: Option<Duration>,
}

impl CacheControl {
    /// Parses every `Cache-Control` line. Unknown directives are ignored, as RFC 9111 §5.2.3 asks. A qualified
    /// `no-cache="…"` or `private="…"` counts as unqualified.
    pub(crate) fn parse(headers: &HeaderMap) -> Self {
        let mut found = Self::default();
        let mut max_age = None;
        let mut s_maxage = None;
        for line in headers.get_all(CACHE_CONTROL) {
            for directive in (Directives { rest: line.as_bytes(), quotes: true }) {
                let (name, value) = match directive.iter().position(|byte| *byte == b'=') {
                    Some(at) => (&directive[..at], Some(&directive[at + 1..])),
                    None => (directive, None),
                };
                let seconds = || value.and_then(seconds);
                match name.trim_ascii().to_ascii_lowercase().as_slice() {
                    b"no-store" => found.no_store = true,
                    b"private" => found.private = true,
                    b"no-cache" => found.no_cache = true,
                    b"must-revalidate" | b"proxy-revalidate" => found.must_revalidate = true,
                    // Of duplicate directives, the most restrictive counts, and a value that is not a number counts
                    // as zero (§4.2.1).
                    b"max-age" => max_age = Some(shortest(max_age, seconds())),
                    b"s-maxage" => {
                        found.must_revalidate = true;
                        s_maxage = Some(shortest(s_maxage, seconds()));
                    }
                    b"stale-if-error" => {
                        found.stale_if_error = Some(shortest(found.stale_if_error, seconds()));
                    }
                    b"max-stale" => {
                        let seconds = if value.is_some() { seconds() } else { Some(Duration::MAX) };
                        found.max_stale = Some(shortest(found.max_stale, seconds));
                    }
                    b"min-fresh" => found.min_fresh = found.min_fresh.max(seconds()),
                    _ => {}
                }
            }
        }
        found.fresh_for = s_maxage.or(max_age);
        found
    }
}

fn shortest(known: Option<Duration>, next: Option<Duration>) -> Duration {
    let next = next.unwrap_or_default();
    known.map_or(next, |known| known.min(next))
}

/// Parses the value of a directive: a number of seconds, with or without quotes.
fn seconds(value: &[u8]) -> Option<Duration> {
    delta_seconds(std::str::from_utf8(value).ok()?.trim().trim_matches('"'))
}

/// Parses `delta-seconds` (RFC 9111 §1.2.2): digits only, capped at 2³¹ seconds.
pub(crate) fn delta_seconds(digits: &str) -> Option<Duration> {
    const MAX_SECONDS: u64 = 1 << 31;
    let all_digits = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    all_digits.then(|| Duration::from_secs(digits.parse().unwrap_or(MAX_SECONDS).min(MAX_SECONDS)))
}

/// The members of a comma-separated list. A comma inside a quoted string does not separate members.
struct Directives<'a> {
    rest: &'a [u8],
    /// True while quotes delimit strings. False once a quote was found that is never closed.
    quotes: bool,
}

impl<'a> Iterator for Directives<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        if self.rest.is_empty() {
            return None;
        }
        let (mut quoted, mut escaped) = (false, false);
        let end = self.rest.iter().position(|byte| {
            let was_escaped = std::mem::take(&mut escaped);
            match byte {
                b'\\' if quoted && !was_escaped => escaped = true,
                b'"' if self.quotes && !was_escaped => quoted = !quoted,
                b',' => return !quoted,
                _ => {}
            }
            false
        });
        if end.is_none() && quoted {
            // Ignore an unclosed quote and all quotes after it: the text after the unclosed quote may hold a
            // `no-store`.
            self.quotes = false;
            return self.next();
        }
        let end = end.unwrap_or(self.rest.len());
        let member = &self.rest[..end];
        self.rest = self.rest.get(end + 1..).unwrap_or_default();
        Some(member)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(lines: &[&str]) -> CacheControl {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(CACHE_CONTROL, line.parse().unwrap());
        }
        CacheControl::parse(&headers)
    }

    #[test]
    fn directives_are_read_whatever_their_case_and_spacing() {
        let found = parse(&["No-Store ,  MUST-revalidate", "max-age=60 , stale-if-error=\"300\""]);
        assert!(found.no_store && found.must_revalidate && !found.private);
        assert_eq!(found.fresh_for, Some(Duration::from_secs(60)));
        assert_eq!(found.stale_if_error, Some(Duration::from_secs(300)));
    }

    #[test]
    fn a_comma_in_a_quoted_string_ends_nothing() {
        let found = parse(&[r#"private="set-cookie, no-store", extension="a\", no-cache""#]);
        assert!(found.private && !found.no_store && !found.no_cache);
    }

    #[test]
    fn a_quote_that_is_never_closed_hides_nothing() {
        assert!(parse(&[r#"extension="a, no-store"#]).no_store);
        assert!(parse(&[r#"extension="a\", no-store, max-age=60"#]).no_store);
    }

    #[test]
    fn the_shared_lifetime_goes_before_the_private_one_and_forbids_staleness() {
        let found = parse(&["max-age=60, s-maxage=10"]);
        assert_eq!(found.fresh_for, Some(Duration::from_secs(10)));
        assert!(found.must_revalidate);
    }

    #[test]
    fn an_invalid_time_is_zero_and_of_two_times_the_shorter_counts() {
        assert_eq!(parse(&["max-age=abc"]).fresh_for, Some(Duration::ZERO));
        assert_eq!(parse(&["max-age=-1"]).fresh_for, Some(Duration::ZERO));
        assert_eq!(parse(&["max-age=9, max-age=5"]).fresh_for, Some(Duration::from_secs(5)));
        let huge = parse(&["max-age=99999999999999999999999"]).fresh_for;
        assert_eq!(huge, Some(Duration::from_secs(1 << 31)));
    }

    #[test]
    fn nonsense_is_ignored() {
        assert_eq!(parse(&["", ",,,", "=", "\"", "no-storee", "x=\\"]), CacheControl::default());
    }
}
